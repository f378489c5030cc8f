//! Whether the kernel has unread file events. The library that reads them hides its descriptor, so it is
//! searched for among this process's. If none is found, nothing ever counts as unread.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Returns the inotify descriptors of this process.
pub fn descriptors() -> Vec<RawFd> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            std::fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == "anon_inode:inotify")
        })
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// A queue of file events read by somebody else.
#[derive(Debug)]
pub struct Queue(OwnedFd);

impl Queue {
    /// Duplicates one of [`descriptors`], so it stays open when its reader closes it.
    pub fn of(descriptor: RawFd) -> Option<Self> {
        // SAFETY: it is only duplicated, which fails if it was closed. At worst it was reused, and
        // `has_unread` speaks of another descriptor.
        let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
        borrowed.try_clone_to_owned().ok().map(Self)
    }

    /// Returns true if there are unread events.
    pub fn has_unread(&self) -> bool {
        let mut length: libc::c_int = 0;
        // SAFETY: the descriptor is open, and the call writes one int.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::FIONREAD, &raw mut length) };
        result == 0 && length > 0
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

    use super::*;

    #[test]
    fn events_are_unread_until_they_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
        inotify.add_watch(directory.path(), AddWatchFlags::IN_CREATE).unwrap();
        let number = std::os::fd::AsFd::as_fd(&inotify).as_raw_fd();
        assert!(descriptors().contains(&number));
        let queue = Queue::of(number).unwrap();
        assert!(!queue.has_unread());
        std::fs::write(directory.path().join("file"), "").unwrap();
        assert!(queue.has_unread());
        inotify.read_events().unwrap();
        assert!(!queue.has_unread());
    }
}
