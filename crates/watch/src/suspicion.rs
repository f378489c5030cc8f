//! The suspicion: between a file event and the verdict on it, a request may come from somebody who has just saved, so it waits
//! a millisecond or two until it is known whether code has changed. Knows no files. The wait is bounded, whatever happens.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use devhost_sys::inotify::Queue;

/// How long a request waits before it checks again whether events have been read.
const UNREAD_PAUSE: Duration = Duration::from_millis(1);

/// How long a request waits for a verdict: longer than the longest batch.
const SUSPICION_TIME_MAX: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Level {
    #[default]
    Clear,
    /// A file that may be code had an event, at this time.
    Raised(Instant),
    /// Code has changed, and nobody has acted on it yet. Since the first event.
    Confirmed(Instant),
}

/// Whether code may have changed without anybody having acted on it.
#[derive(Debug, Default)]
pub struct Suspicion {
    level: Mutex<Level>,
    settled: Notify,
    /// The kernel's queue of events.
    queue: RwLock<Option<Queue>>,
}

impl Suspicion {
    fn lock(&self) -> MutexGuard<'_, Level> {
        self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes unread events in this queue count as a suspicion.
    pub(crate) fn look_at(&self, queue: Option<Queue>) {
        *self.queue.write().unwrap_or_else(PoisonError::into_inner) = queue;
    }

    fn has_unread(&self) -> bool {
        self.queue.read().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(Queue::has_unread)
    }

    /// Raises the suspicion: a file that may be code had an event.
    pub(crate) fn raise(&self) {
        let mut level = self.lock();
        if *level == Level::Clear {
            *level = Level::Raised(Instant::now());
        }
    }

    /// Confirms the suspicion: it was a change, and was reported.
    pub(crate) fn confirm(&self) {
        let mut level = self.lock();
        if let Level::Raised(at) = *level {
            *level = Level::Confirmed(at);
        }
    }

    /// Drops the suspicion unless it was confirmed.
    pub(crate) fn dismiss(&self) {
        self.clear(|level| matches!(level, Level::Raised(_)));
    }

    /// Drops the suspicion: the change was acted on.
    pub fn settle(&self) {
        self.clear(|level| level != Level::Clear);
    }

    fn clear(&self, when: impl FnOnce(Level) -> bool) {
        let mut level = self.lock();
        if when(*level) {
            *level = Level::Clear;
            self.settled.notify_waiters();
        }
    }

    /// Waits until there is no suspicion, at most a tenth of a second. The kernel queues an event before the system call
    /// that caused it returns, so nothing that was saved before this call is missed.
    pub async fn settled(&self) {
        let began = Instant::now();
        while self.has_unread() && began.elapsed() < SUSPICION_TIME_MAX {
            tokio::time::sleep(UNREAD_PAUSE).await;
        }
        // Before looking at the level, so that no notification is missed.
        let settled = self.settled.notified();
        let at = match *self.lock() {
            Level::Clear => return,
            Level::Raised(at) | Level::Confirmed(at) => at,
        };
        let left = SUSPICION_TIME_MAX.saturating_sub(at.elapsed());
        // The request goes on when the time is up, too.
        let _ = tokio::time::timeout(left, settled).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_request_waits_for_the_verdict() {
        let suspicion = Suspicion::default();
        suspicion.settled().now_or_never().unwrap();
        suspicion.raise();
        assert!(suspicion.settled().now_or_never().is_none());
        suspicion.dismiss();
        suspicion.settled().now_or_never().unwrap();
    }

    #[tokio::test]
    async fn what_is_confirmed_is_settled_by_whoever_acts_on_it() {
        let suspicion = Suspicion::default();
        suspicion.raise();
        suspicion.confirm();
        suspicion.dismiss();
        assert!(suspicion.settled().now_or_never().is_none(), "it was dismissed");
        suspicion.settle();
        suspicion.settled().now_or_never().unwrap();
    }

    #[tokio::test]
    async fn a_verdict_that_does_not_come_holds_nobody_for_ever() {
        let suspicion = Suspicion::default();
        suspicion.raise();
        tokio::time::timeout(Duration::from_secs(30), suspicion.settled()).await.unwrap();
    }
}
