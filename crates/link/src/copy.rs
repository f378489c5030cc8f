//! The only place that reads or writes shared memory.
//!
//! A peer may write to any word at any moment, so every access is an atomic one of a whole word. A race
//! yields a stale or torn value, which the callers validate, but never undefined behaviour. Nothing refers to
//! plain data in shared memory. Bulk data is copied with relaxed ordering; the positions that publish it
//! carry the ordering.

use std::ptr::NonNull;

use crate::sync::Ordering;
use crate::word::WORD_BYTES;

/// Memory that another process may write concurrently.
///
/// Offsets are in bytes from the start, and multiples of [`WORD_BYTES`].
pub(crate) trait Words {
    fn load(&self, offset: usize, order: Ordering) -> u64;

    fn store(&self, offset: usize, word: u64, order: Ordering);

    /// Copies bytes out.
    fn read(&self, offset: usize, out: &mut [u8]) {
        for (index, chunk) in out.chunks_mut(WORD_BYTES).enumerate() {
            let word = self.load(offset + index * WORD_BYTES, Ordering::Relaxed).to_ne_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    /// Copies bytes in, padding an incomplete last word with zeros.
    fn write(&self, offset: usize, data: &[u8]) {
        for (index, chunk) in data.chunks(WORD_BYTES).enumerate() {
            let mut word = [0; WORD_BYTES];
            word[..chunk.len()].copy_from_slice(chunk);
            self.store(offset + index * WORD_BYTES, u64::from_ne_bytes(word), Ordering::Relaxed);
        }
    }
}

/// How this end accesses a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// A mapping shared with another process.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    base: NonNull<u8>,
    length: usize,
    access: Access,
}

// SAFETY: all access goes through atomics, so threads may share the mapping as processes do.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Wraps a mapping.
    ///
    /// # Safety
    ///
    /// `base` is the page-aligned start of a mapping of `length` bytes that allows `access`. It stays mapped
    /// while the value lives, its file cannot shrink, and this process accesses it only through this value.
    pub(crate) unsafe fn new(base: NonNull<u8>, length: usize, access: Access) -> Self {
        Self { base, length, access }
    }

    /// Returns the start of the mapping, to unmap it.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Returns the words that cover a range. Checks the bounds once for all of them, as the copies are on the
    /// hot path.
    fn words(&self, offset: usize, length: usize) -> &[std::sync::atomic::AtomicU64] {
        let count = length.div_ceil(WORD_BYTES);
        let is_inside = self.length.checked_sub(offset).is_some_and(|left| count <= left / WORD_BYTES);
        assert!(
            offset.is_multiple_of(WORD_BYTES) && is_inside,
            "{length} bytes at offset {offset} are out of bounds"
        );
        // SAFETY: as in `word`, for each of them.
        unsafe { std::slice::from_raw_parts(self.base.add(offset).cast().as_ptr(), count) }
    }

    fn word(&self, offset: usize) -> &std::sync::atomic::AtomicU64 {
        assert!(
            offset.is_multiple_of(WORD_BYTES) && offset < self.length,
            "offset {offset} is out of bounds"
        );
        // SAFETY: the offset is inside the mapping and aligned (the base is page-aligned, the length a
        // multiple of a word), and this process accesses the mapping only through such atomics. Whatever the
        // other process does is not undefined behaviour here: it is outside of this program, and an atomic
        // may change at any time.
        unsafe { std::sync::atomic::AtomicU64::from_ptr(self.base.add(offset).cast().as_ptr()) }
    }
}

impl Words for SharedMemory {
    fn load(&self, offset: usize, order: Ordering) -> u64 {
        self.word(offset).load(order)
    }

    fn store(&self, offset: usize, word: u64, order: Ordering) {
        assert_eq!(self.access, Access::Write, "a read-only mapping is written");
        self.word(offset).store(word, order);
    }

    fn read(&self, offset: usize, out: &mut [u8]) {
        let words = self.words(offset, out.len());
        let (whole, rest) = out.as_chunks_mut::<WORD_BYTES>();
        for (out, word) in whole.iter_mut().zip(words) {
            *out = word.load(Ordering::Relaxed).to_ne_bytes();
        }
        if let Some(word) = words.get(whole.len()) {
            rest.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes()[..rest.len()]);
        }
    }

    fn write(&self, offset: usize, data: &[u8]) {
        assert_eq!(self.access, Access::Write, "a read-only mapping is written");
        let words = self.words(offset, data.len());
        let (whole, rest) = data.as_chunks::<WORD_BYTES>();
        for (data, word) in whole.iter().zip(words) {
            word.store(u64::from_ne_bytes(*data), Ordering::Relaxed);
        }
        if let Some(word) = words.get(whole.len()) {
            let mut last = [0; WORD_BYTES];
            last[..rest.len()].copy_from_slice(rest);
            word.store(u64::from_ne_bytes(last), Ordering::Relaxed);
        }
    }
}

/// Private memory, for tests and for loom.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct LocalMemory(Vec<crate::sync::AtomicU64>);

#[cfg(test)]
impl LocalMemory {
    pub(crate) fn new(length: usize) -> Self {
        Self((0..length / WORD_BYTES).map(|_| crate::sync::AtomicU64::new(0)).collect())
    }
}

#[cfg(test)]
impl Words for LocalMemory {
    fn load(&self, offset: usize, order: Ordering) -> u64 {
        assert!(offset.is_multiple_of(WORD_BYTES));
        self.0[offset / WORD_BYTES].load(order)
    }

    fn store(&self, offset: usize, word: u64, order: Ordering) {
        assert!(offset.is_multiple_of(WORD_BYTES));
        self.0[offset / WORD_BYTES].store(word, order);
    }
}

/// Private memory in the form of a mapping, whose bounds Miri knows.
#[cfg(all(test, not(devhost_loom)))]
pub(crate) struct Backing(Vec<u64>);

#[cfg(all(test, not(devhost_loom)))]
impl Backing {
    pub(crate) fn new(length: usize) -> Self {
        Self(vec![0; length / WORD_BYTES])
    }

    pub(crate) fn share(&mut self, access: Access) -> SharedMemory {
        let base = NonNull::new(self.0.as_mut_ptr().cast()).unwrap();
        // SAFETY: it is aligned to words, as the accesses need, has this length, and outlives the test's
        // threads; all access is through atomics until then.
        unsafe { SharedMemory::new(base, self.0.len() * WORD_BYTES, access) }
    }
}

#[cfg(all(test, not(devhost_loom)))]
mod tests {
    use super::*;

    const LENGTH_BYTES: usize = 256;

    #[test]
    #[should_panic(expected = "out of bounds")]
    fn an_offset_beyond_the_end_is_refused() {
        Backing::new(LENGTH_BYTES).share(Access::Read).load(LENGTH_BYTES, Ordering::Relaxed);
    }

    #[test]
    #[should_panic(expected = "a read-only mapping is written")]
    fn a_mapping_to_read_is_not_written() {
        Backing::new(LENGTH_BYTES).share(Access::Read).store(0, 1, Ordering::Relaxed);
    }
}
