//! The header of a frame: sixteen bytes in front of each payload, and the limits that it has to keep.
//!
//! Decoding takes bytes that were copied out of shared memory already, and validates every field, so that what
//! follows can rely on the limits.

use super::fault::PeerFault;
use super::ring::round_up;

/// The length of a frame's header.
pub(super) const FRAME_HEADER_BYTES: usize = 16;
/// The most bytes of a body in one DATA frame.
pub const DATA_LENGTH_MAX_BYTES: usize = 16 * 1024;
/// The most bytes of an encoded head in one HEADERS frame.
pub const HEAD_LENGTH_MAX_BYTES: usize = 64 * 1024;
/// How many bytes may be on their way, for each stream and direction.
pub const CREDIT_MAX_BYTES: usize = 64 * 1024;

const _: () = {
    assert!(FRAME_HEADER_BYTES.is_multiple_of(super::copy::WORD_BYTES));
    // A sender can always fill a frame from a full credit, and lengths and credits fit their fields.
    assert!(DATA_LENGTH_MAX_BYTES <= CREDIT_MAX_BYTES);
    assert!(HEAD_LENGTH_MAX_BYTES <= u32::MAX as usize && CREDIT_MAX_BYTES <= u32::MAX as usize);
};

const FLAG_END_STREAM: u8 = 1;

/// The kinds of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The head of a request, which opens a stream, or of a response.
    Headers = 1,
    /// Bytes of a body.
    Data = 2,
    /// Credit: the peer may send `aux` bytes more.
    Window = 3,
    /// The stream is over, both ways.
    Reset = 4,
    /// No new stream will come.
    GoAway = 5,
}

/// A validated header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) kind: Kind,
    /// No more comes from this end on this stream.
    pub(super) end: bool,
    /// The stream; 0 for GOAWAY only.
    pub(super) stream: u32,
    /// The length of the payload in bytes.
    pub(super) length: usize,
    /// The credit of a WINDOW in bytes.
    pub(super) credit: usize,
}

impl FrameHeader {
    /// A head of `length` bytes.
    pub(super) fn headers(stream: u32, length: usize, end: bool) -> Self {
        Self { kind: Kind::Headers, end, stream, length, credit: 0 }
    }

    /// A piece of a body of `length` bytes.
    pub(super) fn data(stream: u32, length: usize, end: bool) -> Self {
        Self { kind: Kind::Data, end, stream, length, credit: 0 }
    }

    /// `credit` bytes more may be sent.
    pub(super) fn window(stream: u32, credit: usize) -> Self {
        Self { kind: Kind::Window, end: false, stream, length: 0, credit }
    }

    /// The stream is over.
    pub(super) fn reset(stream: u32) -> Self {
        Self { kind: Kind::Reset, end: false, stream, length: 0, credit: 0 }
    }

    /// No new stream will come.
    pub(super) fn go_away() -> Self {
        Self { kind: Kind::GoAway, end: false, stream: 0, length: 0, credit: 0 }
    }

    /// The room that header and payload take in a ring, in bytes.
    pub(super) fn size(&self) -> usize {
        FRAME_HEADER_BYTES + round_up(self.length)
    }

    /// The header as it is written.
    pub(super) fn encode(&self) -> [u8; FRAME_HEADER_BYTES] {
        // Both are within limits far below 4 GiB.
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        let credit = u32::try_from(self.credit).unwrap_or(u32::MAX);
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[0..4].copy_from_slice(&length.to_le_bytes());
        bytes[4] = self.kind as u8;
        bytes[5] = if self.end { FLAG_END_STREAM } else { 0 };
        bytes[8..12].copy_from_slice(&self.stream.to_le_bytes());
        bytes[12..16].copy_from_slice(&credit.to_le_bytes());
        bytes
    }

    /// Decodes and validates what the peer wrote.
    pub(super) fn decode(bytes: &[u8; FRAME_HEADER_BYTES]) -> Result<Self, PeerFault> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (length, flags, reserved) = (word(0), bytes[5], u16::from_le_bytes([bytes[6], bytes[7]]));
        let (stream, aux) = (word(8), word(12));
        let kind = match bytes[4] {
            1 => Kind::Headers,
            2 => Kind::Data,
            3 => Kind::Window,
            4 => Kind::Reset,
            5 => Kind::GoAway,
            other => return Err(PeerFault::UnknownKind(other)),
        };
        let check = |holds: bool, field, value| {
            if holds { Ok(()) } else { Err(PeerFault::Field { kind, field, value }) }
        };
        let end = flags & FLAG_END_STREAM != 0;
        let may_end = matches!(kind, Kind::Headers | Kind::Data);
        check(flags & !FLAG_END_STREAM == 0 && (may_end || !end), "flags", flags.into())?;
        check(reserved == 0, "reserved field", reserved.into())?;
        check((stream == 0) == (kind == Kind::GoAway), "stream", stream)?;
        let length_max = match kind {
            Kind::Headers => HEAD_LENGTH_MAX_BYTES,
            Kind::Data => DATA_LENGTH_MAX_BYTES,
            Kind::Window | Kind::Reset | Kind::GoAway => 0,
        };
        check(length as usize <= length_max, "length", length)?;
        // An empty piece that ends nothing would cost the reader work and the writer no credit.
        check(kind != Kind::Data || end || length > 0, "length", length)?;
        let credit_range = if kind == Kind::Window { 1..=CREDIT_MAX_BYTES } else { 0..=0 };
        check(credit_range.contains(&(aux as usize)), "credit", aux)?;
        Ok(Self { kind, end, stream, length: length as usize, credit: aux as usize })
    }
}

#[cfg(all(test, not(devhost_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_decode_within_limits_or_not_at_all(bytes in any::<[u8; FRAME_HEADER_BYTES]>()) {
            if let Ok(header) = FrameHeader::decode(&bytes) {
                prop_assert!(header.length <= HEAD_LENGTH_MAX_BYTES && header.credit <= CREDIT_MAX_BYTES);
                prop_assert_eq!(header.encode(), bytes);
            }
        }

        #[test]
        fn nearly_valid_bytes_decode_within_limits_or_not_at_all(
            kind in 0_u8..8, flags in 0_u8..3, length in 0_u32..70_000, stream in 0_u32..3, aux in 0_u32..70_000,
        ) {
            let mut bytes = [0; FRAME_HEADER_BYTES];
            bytes[0..4].copy_from_slice(&length.to_le_bytes());
            bytes[4] = kind;
            bytes[5] = flags;
            bytes[8..12].copy_from_slice(&stream.to_le_bytes());
            bytes[12..16].copy_from_slice(&aux.to_le_bytes());
            if let Ok(header) = FrameHeader::decode(&bytes) {
                prop_assert_eq!(header.encode(), bytes);
            }
        }
    }

    #[test]
    fn each_kind_survives_the_way() {
        let headers = [
            FrameHeader::headers(1, HEAD_LENGTH_MAX_BYTES, false),
            FrameHeader::headers(2, 0, true),
            FrameHeader::data(3, DATA_LENGTH_MAX_BYTES, false),
            FrameHeader::data(u32::MAX, 0, true),
            FrameHeader::window(4, CREDIT_MAX_BYTES),
            FrameHeader::reset(5),
            FrameHeader::go_away(),
        ];
        for header in headers {
            assert_eq!(FrameHeader::decode(&header.encode()), Ok(header));
        }
    }

    #[test]
    fn what_exceeds_a_limit_is_a_fault() {
        let refused = [
            FrameHeader::headers(1, HEAD_LENGTH_MAX_BYTES + 1, false),
            FrameHeader::data(1, DATA_LENGTH_MAX_BYTES + 1, false),
            FrameHeader::data(1, 0, false),
            FrameHeader::window(1, 0),
            FrameHeader::window(1, CREDIT_MAX_BYTES + 1),
            FrameHeader::reset(0),
            FrameHeader { stream: 1, ..FrameHeader::go_away() },
            FrameHeader { end: true, ..FrameHeader::reset(1) },
            FrameHeader { length: 1, ..FrameHeader::reset(1) },
            FrameHeader { credit: 1, ..FrameHeader::reset(1) },
        ];
        for header in refused {
            assert!(FrameHeader::decode(&header.encode()).is_err(), "{header:?} was accepted");
        }
    }
}
