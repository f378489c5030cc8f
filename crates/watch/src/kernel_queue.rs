//! The kernel's queue of file events (inotify), and the thread that empties it. Knows which directory each watch belongs to;
//! does not know which events matter.
//!
//! An event counts as unheard until it was handed on, also while it is between the kernel and its receiver. So whoever asks
//! after a save never finds the queue empty and the event not handed on yet.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

use crate::hint::{Hint, hint_of};

/// What the kernel says.
#[derive(Debug)]
pub(crate) enum Report {
    /// Something happened at the place.
    Event(PathBuf, Hint),
    /// Events were lost.
    Lost,
    /// No more events will come.
    Failed(io::Error),
}

/// The kernel's queue.
#[derive(Debug)]
pub(crate) struct KernelQueue {
    inotify: Inotify,
    watches: Mutex<Watches>,
    /// Events have been taken out and not handed on yet.
    hands_on: AtomicBool,
}

/// Which directory each watch belongs to.
#[derive(Debug, Default)]
struct Watches {
    directories: HashMap<WatchDescriptor, PathBuf>,
    numbers: HashMap<PathBuf, WatchDescriptor>,
}

impl Watches {
    /// Returns the watch whose directory no longer has this name.
    fn add(&mut self, directory: &Path, number: WatchDescriptor) -> Option<WatchDescriptor> {
        if let Some(other_name) = self.directories.insert(number, directory.to_owned())
            && other_name != directory
        {
            self.numbers.remove(&other_name);
        }
        let before = self.numbers.insert(directory.to_owned(), number).filter(|before| *before != number)?;
        self.directories.remove(&before);
        Some(before)
    }

    fn remove(&mut self, directory: &Path) -> Option<WatchDescriptor> {
        let number = self.numbers.remove(directory)?;
        self.directories.remove(&number);
        Some(number)
    }

    /// Forgets a watch that the kernel has removed. Its directory may be watched anew by now.
    fn forget(&mut self, number: WatchDescriptor) {
        if let Some(directory) = self.directories.remove(&number)
            && self.numbers.get(&directory) == Some(&number)
        {
            self.numbers.remove(&directory);
        }
    }

    fn place_of(&self, number: WatchDescriptor, name: Option<OsString>) -> Option<PathBuf> {
        let directory = self.directories.get(&number)?;
        Some(name.map_or_else(|| directory.clone(), |name| directory.join(name)))
    }
}

impl KernelQueue {
    pub(crate) fn new() -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        Ok(Self { inotify, watches: Mutex::default(), hands_on: AtomicBool::new(false) })
    }

    fn watches(&self) -> MutexGuard<'_, Watches> {
        // Nothing panics while it holds the lock.
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches a directory, without those below it. If another one had its name before, that one is left alone from now on.
    pub(crate) fn watch(&self, directory: &Path) -> io::Result<()> {
        let looks = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        // Under the lock, so that no event comes from a watch without a directory.
        let mut watches = self.watches();
        let number = self.inotify.add_watch(directory, looks)?;
        if let Some(before) = watches.add(directory, number) {
            // Fails if that directory is gone, which has ended its watch.
            let _ = self.inotify.rm_watch(before);
        }
        Ok(())
    }

    /// Stops watching a directory.
    pub(crate) fn unwatch(&self, directory: &Path) {
        if let Some(number) = self.watches().remove(directory) {
            // A removed directory has lost its watch already.
            let _ = self.inotify.rm_watch(number);
        }
    }

    /// Returns true if there are events that were not handed on yet.
    pub(crate) fn has_unheard(&self) -> bool {
        // In this order: whoever takes the last events out says so first.
        self.has_unread() || self.hands_on.load(Ordering::SeqCst)
    }

    fn has_unread(&self) -> bool {
        let mut polled = [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO).is_ok_and(|count| count > 0)
    }

    /// Waits for events or the stop, and hands them on.
    fn hand_on(&self, stop: &EventFd, mut receiver: impl FnMut(Report)) {
        let mut moved = None;
        loop {
            let mut polled = [
                PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN),
                PollFd::new(stop.as_fd(), PollFlags::POLLIN),
            ];
            if poll(&mut polled, PollTimeout::NONE).is_err_and(|errno| errno != Errno::EINTR) {
                return;
            }
            if polled[1].any() == Some(true) {
                return;
            }
            self.hands_on.store(true, Ordering::SeqCst);
            let read = self.inotify.read_events();
            let goes_on = matches!(&read, Ok(_) | Err(Errno::EAGAIN | Errno::EINTR));
            match read {
                Ok(events) => {
                    for event in events {
                        self.translate(event, &mut moved, &mut receiver);
                    }
                }
                Err(errno) if !goes_on => receiver(Report::Failed(errno.into())),
                Err(_) => {}
            }
            self.hands_on.store(false, Ordering::SeqCst);
            if !goes_on {
                return;
            }
        }
    }

    /// `moved` is the last name that something had before it was renamed.
    fn translate(
        &self,
        event: InotifyEvent,
        moved: &mut Option<(u32, PathBuf)>,
        receiver: &mut impl FnMut(Report),
    ) {
        let InotifyEvent { wd, mask, cookie, name } = event;
        if mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            return receiver(Report::Lost);
        }
        if mask.contains(AddWatchFlags::IN_IGNORED) {
            return self.watches().forget(wd);
        }
        let Some(place) = self.watches().place_of(wd, name) else { return };
        let Some(hint) = hint_of(mask) else { return };
        if mask.contains(AddWatchFlags::IN_MOVED_FROM) {
            *moved = Some((cookie, place.clone()));
        }
        if mask.contains(AddWatchFlags::IN_MOVED_TO)
            && let Some((_, from)) = moved.take_if(|(of, _)| *of == cookie)
        {
            // It is not coming back under its old name.
            receiver(Report::Event(from, Hint::Finished));
        }
        receiver(Report::Event(place, hint));
    }
}

/// The thread that hands the events on. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Reader {
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    pub(crate) fn start(
        queue: Arc<KernelQueue>,
        receiver: impl FnMut(Report) + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let told = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("devhost-events".into())
            .spawn(move || queue.hand_on(&told, receiver))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.stop.write(1).is_ok()
            && let Some(thread) = self.thread.take()
        {
            // If it panicked, the panic has been printed.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn next(reports: &mpsc::Receiver<Report>) -> (PathBuf, Hint) {
        match reports.recv_timeout(DEADLINE).unwrap() {
            Report::Event(place, hint) => (place, hint),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_event_is_unheard_until_it_was_handed_on() {
        let directory = tempfile::tempdir().unwrap();
        let queue = Arc::new(KernelQueue::new().unwrap());
        queue.watch(directory.path()).unwrap();
        assert!(!queue.has_unheard());
        let (sender, reports) = mpsc::channel();
        let (go, gate) = mpsc::channel::<()>();
        let reader = Reader::start(Arc::clone(&queue), move |report| {
            sender.send(report).unwrap();
            gate.recv_timeout(DEADLINE).unwrap();
        });
        std::fs::create_dir(directory.path().join("a")).unwrap();
        assert!(queue.has_unheard());
        assert_eq!(next(&reports), (directory.path().join("a"), Hint::Finished));
        assert!(queue.has_unheard(), "its receiver has not returned");
        go.send(()).unwrap();
        let began = Instant::now();
        while queue.has_unheard() {
            assert!(began.elapsed() < DEADLINE, "it is unheard for ever");
            std::thread::yield_now();
        }
        drop(reader);
    }

    #[test]
    fn a_directory_that_takes_a_name_keeps_its_watch_when_the_one_before_it_is_reported_gone() {
        let outer = tempfile::tempdir().unwrap();
        let directory = outer.path().join("a");
        let queue = Arc::new(KernelQueue::new().unwrap());
        for round in 0..100 {
            std::fs::create_dir(&directory).unwrap();
            queue.watch(&directory).unwrap();
            // Nobody reads yet: the new one is watched before the end of the old one is known.
            std::fs::remove_dir(&directory).unwrap();
            std::fs::create_dir(&directory).unwrap();
            queue.watch(&directory).unwrap();
            let (sender, reports) = mpsc::channel();
            let reader = Reader::start(Arc::clone(&queue), move |report| sender.send(report).unwrap());
            std::fs::write(directory.join("file"), "").unwrap();
            while next(&reports).0 != directory.join("file") {}
            std::fs::remove_dir_all(&directory).unwrap();
            drop(reader);
            assert!(queue.watches().directories.len() <= 1 + round, "watches are left");
        }
    }

    #[test]
    fn a_renamed_file_is_finished_under_both_names() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        std::fs::write(place("a"), "").unwrap();
        let queue = Arc::new(KernelQueue::new().unwrap());
        queue.watch(directory.path()).unwrap();
        let (sender, reports) = mpsc::channel();
        let _reader = Reader::start(Arc::clone(&queue), move |report| sender.send(report).unwrap());
        std::fs::rename(place("a"), place("b")).unwrap();
        let expected =
            [(place("a"), Hint::Unfinished), (place("a"), Hint::Finished), (place("b"), Hint::Finished)];
        assert_eq!([(); 3].map(|()| next(&reports)), expected);
    }
}
