//! The kernel's file events, through `notify`, and whether some were not handed on yet. Does not know which of them matter.
//!
//! An event counts as unheard until it was handed on, also while it is between the kernel and its receiver. So whoever asks
//! after a save never finds the queue empty and the event not handed on yet.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use devhost_sys::epoll_thread::EpollThread;
use devhost_sys::inotify;
use notify::{RecursiveMode, Watcher as _};

use crate::hint::{Hint, hint_of};

/// How long the first event may take.
const PROBE_TIME_MAX: Duration = Duration::from_secs(5);

/// What the kernel says.
#[derive(Debug)]
pub(crate) enum Report {
    /// Something happened at the place.
    Event(PathBuf, Hint),
    /// Events were lost.
    Lost,
    /// An event could not be read.
    Failed(notify::Error),
}

/// Events on their way from the kernel to their receiver.
#[derive(Debug)]
pub(crate) struct Unheard {
    queue: Option<inotify::Queue>,
    thread: Option<EpollThread>,
}

impl Unheard {
    /// Returns true if there are any.
    pub(crate) fn is_any(&self) -> bool {
        // In this order: what has left the queue by now is in the thread's hands, or was handed on.
        self.queue.as_ref().is_some_and(inotify::Queue::has_unread)
            || self.thread.as_ref().is_some_and(EpollThread::is_busy)
    }
}

/// Starts to hand on the events of directories that will be watched. `probe` is any directory.
///
/// # Errors
/// A limit of the system is reached, or the probe cannot be watched.
pub(crate) fn open(
    probe: &Path,
    mut receiver: impl FnMut(Report) + Send + 'static,
) -> notify::Result<(notify::RecommendedWatcher, Arc<Unheard>)> {
    let before = inotify::descriptors();
    let (sender, told) = mpsc::sync_channel(1);
    let mut sender = Some(sender);
    let mut watcher = notify::recommended_watcher(move |event| {
        if let Some(sender) = sender.take() {
            // Nobody waits any more if it took very long.
            let _ = sender.send(EpollThread::current());
        }
        hand_on(event, &mut receiver);
    })?;
    // The library hides its queue and its thread. The first event, which opening the directory causes, shows both.
    watcher.watch(probe, RecursiveMode::NonRecursive)?;
    let queue = inotify::Queue::watching(probe, &before);
    let _ = File::open(probe);
    let thread = told.recv_timeout(PROBE_TIME_MAX).ok().flatten();
    if queue.is_none() || thread.is_none() {
        tracing::warn!(
            "it cannot be seen whether file events wait: a request right after a save may get old code"
        );
    }
    // It may have been removed meanwhile.
    let _ = watcher.unwatch(probe);
    Ok((watcher, Arc::new(Unheard { queue, thread })))
}

fn hand_on(event: notify::Result<notify::Event>, receiver: &mut impl FnMut(Report)) {
    let event = match event {
        Ok(event) => event,
        Err(error) => return receiver(Report::Failed(error)),
    };
    if event.need_rescan() {
        receiver(Report::Lost);
    }
    if let Some(hint) = hint_of(event.kind) {
        for path in event.paths {
            receiver(Report::Event(path, hint));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn wait_until_heard(unheard: &Unheard) {
        let began = Instant::now();
        while unheard.is_any() {
            assert!(began.elapsed() < DEADLINE, "an event is unheard for ever");
            std::thread::yield_now();
        }
    }

    #[test]
    fn an_event_is_unheard_until_it_was_handed_on() {
        let directory = tempfile::tempdir().unwrap();
        let (sender, reports) = mpsc::channel();
        let (go, gate) = mpsc::channel::<()>();
        let (mut watcher, unheard) = open(directory.path(), move |report| {
            sender.send(report).unwrap();
            gate.recv_timeout(DEADLINE).unwrap();
        })
        .unwrap();
        assert!(unheard.queue.is_some() && unheard.thread.is_some(), "what the library hides is found");
        watcher.watch(directory.path(), RecursiveMode::NonRecursive).unwrap();
        wait_until_heard(&unheard);
        std::fs::create_dir(directory.path().join("a")).unwrap();
        assert!(unheard.is_any());
        let report = reports.recv_timeout(DEADLINE).unwrap();
        assert!(matches!(report, Report::Event(path, Hint::Finished) if path == directory.path().join("a")));
        assert!(unheard.is_any(), "its receiver has not returned");
        go.send(()).unwrap();
        wait_until_heard(&unheard);
    }

    #[test]
    fn renamed_files_are_finished_under_both_names() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        std::fs::write(place("a"), "").unwrap();
        let (sender, reports) = mpsc::channel();
        let (mut watcher, _unheard) =
            open(directory.path(), move |report| sender.send(report).unwrap()).unwrap();
        watcher.watch(directory.path(), RecursiveMode::NonRecursive).unwrap();
        std::fs::rename(place("a"), place("b")).unwrap();
        let mut finished = Vec::new();
        while finished.len() < 2 {
            if let Report::Event(place, Hint::Finished) = reports.recv_timeout(DEADLINE).unwrap()
                && !finished.contains(&place)
            {
                finished.push(place);
            }
        }
        finished.sort();
        assert_eq!(finished, [place("a"), place("b")]);
    }
}
