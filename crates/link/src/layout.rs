//! The layout of a region: the offsets of its words, and the check of its header. All words are
//! little-endian.
//!
//! Positions count bytes from the start and never wrap. A position modulo the ring length is an offset in the
//! ring. Only the owner of a region writes its control words.

use crate::copy::Words;
use crate::fault::RegionError;
use crate::protocol::{FRAME_HEADER_BYTES, HEAD_LENGTH_MAX_BYTES};
use crate::sync::Ordering;
use crate::word::WORD_BYTES;

/// The first word of each region.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"devhost\0");
/// The version of the layout and of the frames.
pub(crate) const VERSION: u64 = 1;

/// The length of rings made by [`crate::LinkFds::create`].
pub(crate) const RING_LENGTH_BYTES: usize = 1 << 20;
/// The smallest length of a ring: the largest frame fits twice.
pub(crate) const RING_LENGTH_MIN_BYTES: usize = 1 << 18;
pub(crate) const RING_LENGTH_MAX_BYTES: usize = 1 << 26;

/// The offsets of the header's words.
const MAGIC_OFFSET_BYTES: usize = 0;
const VERSION_OFFSET_BYTES: usize = 8;
const RING_LENGTH_OFFSET_BYTES: usize = 16;
const GENERATION_OFFSET_BYTES: usize = 24;
const HEADER_LENGTH_BYTES: usize = 32;

/// How far this end has written its own ring. Control words are 128 bytes apart, so that no two share a cache
/// line or a pair of lines prefetched together.
pub(crate) const WRITE_POS_OFFSET_BYTES: usize = 4096;
/// How far this end has read the opposite ring.
pub(crate) const READ_POS_OFFSET_BYTES: usize = 4096 + 128;
/// Nonzero while this end sleeps and the next frame must wake it.
pub(crate) const PARKED_OFFSET_BYTES: usize = 4096 + 256;
/// Nonzero while this end must be woken once its ring has more room.
pub(crate) const SPACE_WANTED_OFFSET_BYTES: usize = 4096 + 384;
/// Nonzero once this end will write no more.
pub(crate) const CLOSING_OFFSET_BYTES: usize = 4096 + 512;
pub(crate) const RING_OFFSET_BYTES: usize = 8192;

pub(crate) const CONTROL_OFFSETS_BYTES: [usize; 5] = [
    WRITE_POS_OFFSET_BYTES,
    READ_POS_OFFSET_BYTES,
    PARKED_OFFSET_BYTES,
    SPACE_WANTED_OFFSET_BYTES,
    CLOSING_OFFSET_BYTES,
];

const _: () = {
    // No two control words share a pair of cache lines, and none lies in the header or the ring.
    let words = CONTROL_OFFSETS_BYTES;
    let mut index = 0;
    while index < words.len() {
        assert!(words[index].is_multiple_of(WORD_BYTES) && words[index] >= HEADER_LENGTH_BYTES);
        assert!(words[index] + 128 <= RING_OFFSET_BYTES);
        assert!(index == 0 || words[index] >= words[index - 1] + 128);
        index += 1;
    }
    assert!(RING_OFFSET_BYTES.is_multiple_of(4096));
    assert!(RING_LENGTH_MIN_BYTES.is_power_of_two() && RING_LENGTH_MAX_BYTES.is_power_of_two());
    assert!(RING_LENGTH_MIN_BYTES <= RING_LENGTH_BYTES && RING_LENGTH_BYTES <= RING_LENGTH_MAX_BYTES);
    // A frame that waits for room gets it once the peer has read, whatever precedes it.
    let frame_max = FRAME_HEADER_BYTES + HEAD_LENGTH_MAX_BYTES;
    assert!(2 * frame_max <= RING_LENGTH_MIN_BYTES);
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RegionHeader {
    /// The length of the ring in bytes, a power of two.
    pub(crate) ring_length: usize,
    pub(crate) generation: u64,
}

impl RegionHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER_LENGTH_BYTES] {
        let mut bytes = [0; HEADER_LENGTH_BYTES];
        let words = [
            (MAGIC_OFFSET_BYTES, MAGIC),
            (VERSION_OFFSET_BYTES, VERSION),
            (RING_LENGTH_OFFSET_BYTES, self.ring_length as u64),
            (GENERATION_OFFSET_BYTES, self.generation),
        ];
        for (offset, word) in words {
            bytes[offset..offset + 8].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Reads and checks the header of a region of `size` bytes.
    pub(crate) fn read(memory: &impl Words, size: usize, region: &'static str) -> Result<Self, RegionError> {
        let malformed = |what| RegionError::Malformed { region, what };
        let word = |offset| u64::from_le(memory.load(offset, Ordering::Relaxed));
        if word(MAGIC_OFFSET_BYTES) != MAGIC {
            return Err(malformed("it is no region"));
        }
        if word(VERSION_OFFSET_BYTES) != VERSION {
            return Err(malformed("it has another version"));
        }
        let ring_length = usize::try_from(word(RING_LENGTH_OFFSET_BYTES)).unwrap_or(usize::MAX);
        if !ring_length_is_valid(ring_length) {
            return Err(malformed("its ring length is out of range"));
        }
        if region_size(ring_length) != size {
            return Err(malformed("its size does not match its ring length"));
        }
        Ok(Self { ring_length, generation: word(GENERATION_OFFSET_BYTES) })
    }
}

/// Returns the size of a region with this ring length, in bytes.
pub(crate) fn region_size(ring_length: usize) -> usize {
    RING_OFFSET_BYTES + ring_length
}

pub(crate) fn ring_length_is_valid(ring_length: usize) -> bool {
    ring_length.is_power_of_two() && (RING_LENGTH_MIN_BYTES..=RING_LENGTH_MAX_BYTES).contains(&ring_length)
}
