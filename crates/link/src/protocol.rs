//! What both ends of a link agree on: the kinds of frames, and the limits.

use crate::word::WORD_BYTES;

pub(crate) const FRAME_HEADER_BYTES: usize = 16;
/// The most bytes of a body in one DATA frame.
pub const DATA_LENGTH_MAX_BYTES: usize = 16 * 1024;
/// The most bytes of an encoded head in one HEADERS frame.
pub const HEAD_LENGTH_MAX_BYTES: usize = 64 * 1024;
/// How many bytes may be in flight for each stream and direction.
pub const CREDIT_MAX_BYTES: usize = 64 * 1024;

const _: () = {
    assert!(FRAME_HEADER_BYTES.is_multiple_of(WORD_BYTES));
    // A full credit always fills a frame, and lengths and credits fit their fields.
    assert!(DATA_LENGTH_MAX_BYTES <= CREDIT_MAX_BYTES);
    assert!(HEAD_LENGTH_MAX_BYTES <= u32::MAX as usize && CREDIT_MAX_BYTES <= u32::MAX as usize);
};

/// How many streams may be open on a link at once. Together with the credit, this bounds what the front keeps for clients that
/// do not read.
pub const STREAMS_COUNT_MAX: usize = 2304;

/// The kinds of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
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
