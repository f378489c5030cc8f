//! The suspicion between the first event of a file and the verdict on it: a request that comes in then may be one of somebody
//! who has saved just before, so it waits the millisecond or so until it is known whether code has changed. Knows no
//! files; the wait is bounded, whatever becomes of the verdict.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use devhost_sys::inotify::Queue;

/// How long a request waits before it looks again whether events have been read.
const UNREAD_PAUSE: Duration = Duration::from_millis(1);

/// How long a request waits for a verdict: longer than the longest batch takes.
const SUSPICION_TIME_MAX: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Level {
    #[default]
    Clear,
    /// Something has happened to a file.
    Raised(Instant),
    /// Code has changed, and whoever acts on it has not done so yet.
    Confirmed(Instant),
}

/// Whether something may have changed that nobody has acted on yet.
#[derive(Debug, Default)]
pub struct Suspicion {
    state: Mutex<Level>,
    settled: Notify,
    /// Where events wait to be read.
    queue: RwLock<Option<Queue>>,
}

impl Suspicion {
    fn lock(&self) -> MutexGuard<'_, Level> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, events in this queue are a reason to wait for what they will turn out to be.
    pub(crate) fn look_at(&self, queue: Option<Queue>) {
        *self.queue.write().unwrap_or_else(PoisonError::into_inner) = queue;
    }

    fn has_unread(&self) -> bool {
        self.queue.read().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(Queue::has_unread)
    }

    /// Something has happened to a file that may be code.
    pub(crate) fn raise(&self) {
        let mut state = self.lock();
        if *state == Level::Clear {
            *state = Level::Raised(Instant::now());
        }
    }

    /// It was a change, and who acts on it is told.
    pub(crate) fn confirm(&self) {
        let mut state = self.lock();
        if let Level::Raised(at) = *state {
            *state = Level::Confirmed(at);
        }
    }

    /// It was nothing, unless it was confirmed.
    pub(crate) fn dismiss(&self) {
        self.clear(|state| matches!(state, Level::Raised(_)));
    }

    /// It was acted on.
    pub fn settle(&self) {
        self.clear(|state| state != Level::Clear);
    }

    fn clear(&self, when: impl FnOnce(Level) -> bool) {
        let mut state = self.lock();
        if when(*state) {
            *state = Level::Clear;
            self.settled.notify_waiters();
        }
    }

    /// Returns once there is none, or a tenth of a second after it was raised. The kernel queues an event
    /// before the call returns that made it, so nothing that was saved before this call is missed.
    pub async fn settled(&self) {
        let began = Instant::now();
        while self.has_unread() && began.elapsed() < SUSPICION_TIME_MAX {
            tokio::time::sleep(UNREAD_PAUSE).await;
        }
        // Before the look at the state: no notice is missed.
        let settled = self.settled.notified();
        let at = match *self.lock() {
            Level::Clear => return,
            Level::Raised(at) | Level::Confirmed(at) => at,
        };
        let left = SUSPICION_TIME_MAX.saturating_sub(at.elapsed());
        // Out of time is an answer, too.
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
