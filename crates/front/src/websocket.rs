//! Enough of RFC 6455 to end a WebSocket between two frames: frame boundaries, and close frames for both
//! sides. Never looks at payloads.

use bytes::Bytes;

/// A server's close frame with code 1012 (Service Restart, IANA registry of RFC 6455 §11.7).
pub(crate) const CLOSE_SERVICE_RESTART: Bytes = Bytes::from_static(b"\x88\x02\x03\xf4");

/// A client's close frame, hence masked, with code 1001 (Going Away, RFC 6455 §7.4.1), as browsers send it on
/// leaving a page.
pub(crate) const CLOSE_GOING_AWAY: Bytes = Bytes::from_static(b"\x88\x82\x37\xfa\x21\x3d\x34\x13");

/// The longest frame header: 2 bytes, 8 of length, 4 of mask.
const HEADER_SIZE_MAX: usize = 14;

const OPCODE_CLOSE: u8 = 8;

/// Tracks frame boundaries in one direction of a WebSocket.
#[derive(Debug, Clone)]
pub(crate) struct FrameTracker {
    place: Place,
    close_seen: bool,
}

#[derive(Debug, Clone)]
enum Place {
    Header { bytes: [u8; HEADER_SIZE_MAX], len: usize },
    Payload { left: u64 },
}

const BOUNDARY: Place = Place::Header { bytes: [0; HEADER_SIZE_MAX], len: 0 };

impl Default for FrameTracker {
    fn default() -> Self {
        Self { place: BOUNDARY, close_seen: false }
    }
}

impl FrameTracker {
    pub(crate) fn is_at_boundary(&self) -> bool {
        matches!(self.place, Place::Header { len: 0, .. })
    }

    /// Returns true once a close frame has begun.
    pub(crate) fn has_seen_close(&self) -> bool {
        self.close_seen
    }

    /// Advances over all of `bytes`.
    pub(crate) fn advance(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = &rest[self.advance_to_boundary(rest)..];
        }
    }

    /// Advances to the end of the current frame or of `bytes`. Returns the number of bytes used: at least
    /// one, unless `bytes` is empty.
    pub(crate) fn advance_to_boundary(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0;
        while used < bytes.len() {
            match &mut self.place {
                Place::Header { bytes: header, len } => {
                    header[*len] = bytes[used];
                    *len += 1;
                    used += 1;
                    if let Some(left) = payload_length(&header[..*len]) {
                        self.close_seen |= header[0] & 0x0f == OPCODE_CLOSE;
                        if left == 0 {
                            self.place = BOUNDARY;
                            return used;
                        }
                        self.place = Place::Payload { left };
                    }
                }
                Place::Payload { left } => {
                    let here = u64::try_from(bytes.len() - used).unwrap_or(u64::MAX).min(*left);
                    *left -= here;
                    // `here` is at most the length of a slice.
                    used += usize::try_from(here).unwrap_or(usize::MAX);
                    if *left == 0 {
                        self.place = BOUNDARY;
                        return used;
                    }
                }
            }
        }
        used
    }
}

/// Returns the length of the payload, or `None` if the header is incomplete.
fn payload_length(header: &[u8]) -> Option<u64> {
    let [_, second, rest @ ..] = header else { return None };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let (length_size, short) = match second & 0x7f {
        126 => (2, None),
        127 => (8, None),
        short => (0, Some(u64::from(short))),
    };
    if rest.len() < length_size + mask {
        return None;
    }
    Some(short.unwrap_or_else(|| rest[..length_size].iter().fold(0, |n, byte| n << 8 | u64::from(*byte))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, len: usize, masked: bool) -> Vec<u8> {
        let mut out = vec![0x80 | opcode];
        let mask = if masked { 0x80 } else { 0 };
        match len {
            0..=125 => out.push(mask | u8::try_from(len).unwrap()),
            126..=65535 => {
                out.push(mask | 0x7e);
                out.extend(u16::try_from(len).unwrap().to_be_bytes());
            }
            _ => {
                out.push(mask | 127);
                out.extend((len as u64).to_be_bytes());
            }
        }
        if masked {
            out.extend([1, 2, 3, 4]);
        }
        // Would read as close frames.
        out.extend(std::iter::repeat_n(0x88, len));
        out
    }

    #[test]
    fn boundaries_are_found_however_the_bytes_are_cut() {
        for masked in [false, true] {
            let frames: Vec<Vec<u8>> =
                [0, 1, 125, 126, 200, 65535, 65536].iter().map(|len| frame(2, *len, masked)).collect();
            let whole = frames.concat();
            let ends: Vec<usize> = frames
                .iter()
                .scan(0, |at, frame| {
                    *at += frame.len();
                    Some(*at)
                })
                .collect();
            for piece in [1, 3, 7, 4096, whole.len()] {
                let mut tracker = FrameTracker::default();
                let mut found = Vec::new();
                let mut at = 0;
                for chunk in whole.chunks(piece) {
                    let mut rest = chunk;
                    while !rest.is_empty() {
                        let used = tracker.advance_to_boundary(rest);
                        at += used;
                        rest = &rest[used..];
                        if tracker.is_at_boundary() {
                            found.push(at);
                        }
                    }
                }
                assert_eq!(found, ends, "pieces of {piece}");
                assert!(!tracker.has_seen_close());
            }
        }
    }

    #[test]
    fn a_close_frame_is_seen() {
        let mut tracker = FrameTracker::default();
        tracker.advance(&frame(1, 300, true));
        assert!(!tracker.has_seen_close());
        tracker.advance(&frame(8, 2, true));
        assert!(tracker.has_seen_close() && tracker.is_at_boundary());
        for close in [CLOSE_SERVICE_RESTART, CLOSE_GOING_AWAY] {
            let mut tracker = FrameTracker::default();
            tracker.advance(&close);
            assert!(tracker.has_seen_close() && tracker.is_at_boundary());
        }
        let masked = CLOSE_GOING_AWAY;
        let code = [masked[6] ^ masked[2], masked[7] ^ masked[3]];
        assert_eq!(u16::from_be_bytes(code), 1001);
    }
}
