//! The tail of a worker's output, standard output and error together, for the pages that show its failure.
//!
//! The worker's streams stay the user's own: the interposer also copies each `write` to a ring in shared
//! memory, which the front reads with plain system calls when needed. Whatever a worker writes there is read
//! as text of bounded size.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use crate::memory;

/// Where the ring begins. At offset 0 is the count of all bytes ever written, in native byte order.
/// `interpose.c` has the same number.
const RING_OFFSET: usize = 64;

const OUTPUT_KEPT_SIZE: usize = 64 * 1024;

/// A position in a worker's output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position(u64);

/// The tail of a worker's output.
#[derive(Debug)]
pub struct Output(File);

impl Output {
    /// Allocates the ring for a new worker.
    ///
    /// # Errors
    /// The system is out of descriptors or memory.
    pub fn create() -> io::Result<Self> {
        memory::allocate(c"devhost-output", RING_OFFSET + OUTPUT_KEPT_SIZE).map(Self)
    }

    /// Returns the last output: at most 64 KiB, beginning with a whole line.
    pub fn last(&self) -> String {
        self.last_since(Position::default())
    }

    /// Returns the last output since `position`; see [`Output::last`].
    pub fn last_since(&self, position: Position) -> String {
        self.read(position).unwrap_or_default()
    }

    /// Returns the current end of the output. One system call.
    pub fn position(&self) -> Position {
        self.total().map(Position).unwrap_or_default()
    }

    /// Returns how many bytes were ever written.
    fn total(&self) -> io::Result<u64> {
        let mut total = [0; 8];
        self.0.read_exact_at(&mut total, 0)?;
        Ok(u64::from_ne_bytes(total))
    }

    fn read(&self, since: Position) -> io::Result<String> {
        let total = self.total()?;
        let mut ring = vec![0; OUTPUT_KEPT_SIZE];
        self.0.read_exact_at(&mut ring, RING_OFFSET as u64)?;
        let kept = match usize::try_from(total).ok().filter(|total| *total <= OUTPUT_KEPT_SIZE) {
            Some(total) => total,
            None => {
                // The oldest byte is where the next one goes.
                let next = usize::try_from(total % OUTPUT_KEPT_SIZE as u64).unwrap_or_default();
                ring.rotate_left(next);
                OUTPUT_KEPT_SIZE
            }
        };
        let wanted = usize::try_from(total.saturating_sub(since.0)).unwrap_or(usize::MAX);
        let text = &ring[kept.saturating_sub(wanted)..kept];
        // If the beginning is lost, the first remaining line is incomplete.
        let is_cut = kept < wanted.min(usize::try_from(total).unwrap_or(usize::MAX));
        let cut = if is_cut { text.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1) } else { 0 };
        Ok(String::from_utf8_lossy(&text[cut..]).into_owned())
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Like the interposer.
    fn write(output: &Output, text: &str) {
        let mut total = [0; 8];
        output.0.read_exact_at(&mut total, 0).unwrap();
        let mut total = u64::from_ne_bytes(total);
        for byte in text.bytes() {
            output.0.write_all_at(&[byte], RING_OFFSET as u64 + total % OUTPUT_KEPT_SIZE as u64).unwrap();
            total += 1;
        }
        output.0.write_all_at(&total.to_ne_bytes(), 0).unwrap();
    }

    #[test]
    fn the_last_whole_lines_are_kept() {
        let output = Output::create().unwrap();
        assert_eq!(output.last(), "");
        write(&output, "one\ntwo");
        assert_eq!(output.last(), "one\ntwo");
        let lines = (OUTPUT_KEPT_SIZE / 10) + 100;
        (0..lines).for_each(|line| write(&output, &format!("{line:09}\n")));
        let last = output.last();
        assert!(last.len() <= OUTPUT_KEPT_SIZE && last.len() > OUTPUT_KEPT_SIZE - 20);
        assert!(last.ends_with(&format!("{:09}\n", lines - 1)));
        assert!(last.lines().all(|line| line.len() == 9), "a line is cut");
    }

    #[test]
    fn what_was_written_before_a_position_is_left_out() {
        let output = Output::create().unwrap();
        assert_eq!(output.last_since(output.position()), "");
        write(&output, "before\n");
        let position = output.position();
        assert_eq!(output.last_since(position), "");
        write(&output, "after\n");
        assert_eq!(output.last_since(position), "after\n");
        let lines = OUTPUT_KEPT_SIZE / 10 + 1;
        (0..lines).for_each(|line| write(&output, &format!("{line:09}\n")));
        assert!(!output.last_since(position).contains("after"));
        let position = output.position();
        write(&output, "the end");
        assert_eq!(output.last_since(position), "the end");
    }

    #[test]
    fn whatever_a_worker_leaves_there_is_read_as_text() {
        let output = Output::create().unwrap();
        output.0.write_all_at(&u64::MAX.to_ne_bytes(), 0).unwrap();
        assert!(output.last().len() <= OUTPUT_KEPT_SIZE);
        output.0.write_all_at(&[0xff; 100], RING_OFFSET as u64).unwrap();
        output.0.write_all_at(&10u64.to_ne_bytes(), 0).unwrap();
        assert_eq!(output.last(), "\u{fffd}".repeat(10));
        output.0.set_len(0).unwrap();
        assert_eq!(output.last(), "");
    }
}
