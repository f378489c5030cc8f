//! The header of a frame: sixteen bytes before each payload.
//!
//! Decoding takes bytes already copied out of shared memory and validates every field, so that later code can
//! rely on the limits.

use crate::fault::PeerFault;
use crate::protocol::{
    CREDIT_MAX_BYTES, DATA_LENGTH_MAX_BYTES, FRAME_HEADER_BYTES, FrameKind, HEAD_LENGTH_MAX_BYTES,
};
use crate::word::round_up;

const FLAG_END_STREAM: u8 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: FrameKind,
    /// This end sends no more on this stream.
    pub(crate) end: bool,
    /// The stream; 0 for GOAWAY only.
    pub(crate) stream: u32,
    /// The length of the payload in bytes.
    pub(crate) length: usize,
    /// The credit of a WINDOW in bytes.
    pub(crate) credit: usize,
}

impl FrameHeader {
    pub(crate) fn headers(stream: u32, length: usize, end: bool) -> Self {
        Self { kind: FrameKind::Headers, end, stream, length, credit: 0 }
    }

    pub(crate) fn data(stream: u32, length: usize, end: bool) -> Self {
        Self { kind: FrameKind::Data, end, stream, length, credit: 0 }
    }

    pub(crate) fn window(stream: u32, credit: usize) -> Self {
        Self { kind: FrameKind::Window, end: false, stream, length: 0, credit }
    }

    pub(crate) fn reset(stream: u32) -> Self {
        Self { kind: FrameKind::Reset, end: false, stream, length: 0, credit: 0 }
    }

    pub(crate) fn go_away() -> Self {
        Self { kind: FrameKind::GoAway, end: false, stream: 0, length: 0, credit: 0 }
    }

    /// Returns the size of header and payload in a ring, in bytes.
    pub(crate) fn size(&self) -> usize {
        FRAME_HEADER_BYTES + round_up(self.length)
    }

    pub(crate) fn encode(&self) -> [u8; FRAME_HEADER_BYTES] {
        // Both have limits far below 4 GiB.
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

    /// Decodes and validates a peer's header.
    pub(crate) fn decode(bytes: &[u8; FRAME_HEADER_BYTES]) -> Result<Self, PeerFault> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (length, flags, reserved) = (word(0), bytes[5], u16::from_le_bytes([bytes[6], bytes[7]]));
        let (stream, aux) = (word(8), word(12));
        let kind = match bytes[4] {
            1 => FrameKind::Headers,
            2 => FrameKind::Data,
            3 => FrameKind::Window,
            4 => FrameKind::Reset,
            5 => FrameKind::GoAway,
            other => return Err(PeerFault::UnknownKind(other)),
        };
        let check = |holds: bool, field, value| {
            if holds { Ok(()) } else { Err(PeerFault::Field { kind, field, value }) }
        };
        let end = flags & FLAG_END_STREAM != 0;
        let may_end = matches!(kind, FrameKind::Headers | FrameKind::Data);
        check(flags & !FLAG_END_STREAM == 0 && (may_end || !end), "flags", flags.into())?;
        check(reserved == 0, "reserved field", reserved.into())?;
        check((stream == 0) == (kind == FrameKind::GoAway), "stream", stream)?;
        let length_max = match kind {
            FrameKind::Headers => HEAD_LENGTH_MAX_BYTES,
            FrameKind::Data => DATA_LENGTH_MAX_BYTES,
            FrameKind::Window | FrameKind::Reset | FrameKind::GoAway => 0,
        };
        check(length as usize <= length_max, "length", length)?;
        // An empty piece that ends nothing would cost the reader work, but the writer no credit.
        check(kind != FrameKind::Data || end || length > 0, "length", length)?;
        let credit_range = if kind == FrameKind::Window { 1..=CREDIT_MAX_BYTES } else { 0..=0 };
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
