//! The unit of access to shared memory.

pub(crate) const WORD_BYTES: usize = 8;

pub(crate) const fn round_up(length: usize) -> usize {
    length.next_multiple_of(WORD_BYTES)
}
