//! Whether the kernel has unread file events. The library that reads them hides its descriptor, so it is
//! searched for among this process's. If none is found, nothing ever counts as unread.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

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
    /// Finds the queue that was not there `before` and has a watch on the path.
    pub fn watching(path: &Path, before: &[RawFd]) -> Option<Self> {
        let inode = std::fs::metadata(path).ok()?.ino();
        // proc_pid_fdinfo(5): `inotify wd:1 ino:9e7e sdev:800013 …`, a line for each watch.
        let watch = format!(" ino:{inode:x} ");
        let has_watch = |descriptor: &RawFd| {
            std::fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}"))
                .is_ok_and(|text| text.contains(&watch))
        };
        let new = descriptors().into_iter().filter(|descriptor| !before.contains(descriptor));
        new.filter(has_watch).find_map(Self::of)
    }

    /// Duplicates one of [`descriptors`], so it stays open when its reader closes it.
    fn of(descriptor: RawFd) -> Option<Self> {
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
        assert!(Queue::watching(directory.path(), &[number]).is_none(), "it was there before");
        assert!(Queue::watching(Path::new("/"), &[]).is_none(), "that is not watched");
        let queue = Queue::watching(directory.path(), &[]).unwrap();
        assert!(!queue.has_unread());
        std::fs::write(directory.path().join("file"), "").unwrap();
        assert!(queue.has_unread());
        inotify.read_events().unwrap();
        assert!(!queue.has_unread());
    }
}
