//! The suspicion: between a file event and the verdict on it, a request may come from somebody who has just saved, so it waits
//! a millisecond or two until it is known whether code has changed. Knows no files. The wait is bounded, whatever happens.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::events::Unheard;

/// How long a request waits before it checks again whether events have been handed on.
const UNHEARD_PAUSE: Duration = Duration::from_millis(1);

/// How long a request waits for a verdict: much longer than the longest batch, since a busy machine is no reason for old code.
const SUSPICION_TIME_MAX: Duration = Duration::from_secs(2);

/// How far the suspicion is. Events and reports are counted, each from 1, so that acting on one change never drops the
/// suspicion that a later event has raised, and a stream of events holds nobody who came before them.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// How many events have raised it.
    raised: u64,
    /// How many of these have been judged.
    judged: u64,
    /// How many changes have been reported.
    reported: u64,
    /// How many of these have been acted on.
    settled: u64,
}

impl State {
    /// Returns true if the first `raised` events are judged, and what they have changed was acted on.
    fn is_over(&self, raised: u64) -> bool {
        self.judged >= raised && self.settled >= self.reported
    }
}

/// Whether code may have changed without anybody having acted on it.
#[derive(Debug, Default)]
pub struct Suspicion {
    state: Mutex<State>,
    progress: Notify,
    /// Events on their way from the kernel.
    unheard: RwLock<Option<Arc<Unheard>>>,
}

impl Suspicion {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes these events count as a suspicion, instead of those of the watcher before. What was reported by then is somebody
    /// else's.
    pub(crate) fn look_at(&self, unheard: Option<Arc<Unheard>>) {
        *self.unheard.write().unwrap_or_else(PoisonError::into_inner) = unheard;
        let mut state = self.lock();
        state.settled = state.reported;
        drop(state);
        self.progress.notify_waiters();
    }

    fn has_unheard(&self) -> bool {
        let unheard = self.unheard.read().unwrap_or_else(PoisonError::into_inner);
        unheard.as_ref().is_some_and(|unheard| unheard.is_any())
    }

    /// Raises the suspicion: a file that may be code had an event.
    pub(crate) fn raise(&self) {
        self.lock().raised += 1;
    }

    /// Returns how many events have raised it so far.
    pub(crate) fn raised(&self) -> u64 {
        self.lock().raised
    }

    /// Notes that a change is being reported. Returns the report's number. Must come before [`Suspicion::judge`].
    pub(crate) fn report(&self) -> u64 {
        let mut state = self.lock();
        state.reported += 1;
        state.reported
    }

    /// Notes that the first `judged` events have been judged: those among them that were changes are reported.
    pub(crate) fn judge(&self, judged: u64) {
        let mut state = self.lock();
        if judged > state.judged {
            state.judged = judged;
            drop(state);
            self.progress.notify_waiters();
        }
    }

    /// Notes that the changes up to this report were acted on.
    pub fn settle(&self, report: u64) {
        let mut state = self.lock();
        if report > state.settled {
            state.settled = report;
            drop(state);
            self.progress.notify_waiters();
        }
    }

    /// Waits until whatever was saved before this call was judged and acted on, at most two seconds. The kernel queues an event
    /// before the system call that caused it returns, so nothing is missed.
    pub async fn settled(&self) {
        let deadline = Instant::now() + SUSPICION_TIME_MAX;
        while self.has_unheard() && Instant::now() < deadline {
            tokio::time::sleep(UNHEARD_PAUSE).await;
        }
        let raised = self.raised();
        loop {
            // Before looking, so that no progress is missed.
            let progress = self.progress.notified();
            if self.lock().is_over(raised) {
                return;
            }
            if tokio::time::timeout_at(deadline, progress).await.is_err() {
                // The request goes on when the time is up, too.
                return;
            }
        }
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
        suspicion.judge(1);
        suspicion.settled().now_or_never().unwrap();
    }

    #[tokio::test]
    async fn what_was_reported_is_settled_by_whoever_acts_on_it() {
        let suspicion = Suspicion::default();
        suspicion.raise();
        let report = suspicion.report();
        suspicion.judge(1);
        assert!(suspicion.settled().now_or_never().is_none(), "it was dismissed");
        suspicion.settle(report);
        suspicion.settled().now_or_never().unwrap();
    }

    #[tokio::test]
    async fn acting_on_one_change_leaves_the_suspicion_of_a_later_event() {
        let suspicion = Suspicion::default();
        suspicion.raise();
        let first = suspicion.report();
        suspicion.judge(1);
        suspicion.raise();
        suspicion.settle(first);
        assert!(suspicion.settled().now_or_never().is_none(), "it was dropped with the first");
        let second = suspicion.report();
        suspicion.judge(2);
        suspicion.settle(first);
        assert!(suspicion.settled().now_or_never().is_none(), "nothing was acted on");
        suspicion.settle(second);
        suspicion.settled().now_or_never().unwrap();
    }

    #[tokio::test]
    async fn later_events_hold_nobody_who_came_before_them() {
        let suspicion = Suspicion::default();
        suspicion.raise();
        let mut request = std::pin::pin!(suspicion.settled());
        assert!(request.as_mut().now_or_never().is_none());
        suspicion.raise();
        suspicion.judge(1);
        request.now_or_never().unwrap();
    }

    #[tokio::test]
    async fn what_another_watcher_has_reported_holds_nobody() {
        let suspicion = Suspicion::default();
        suspicion.report();
        assert!(suspicion.settled().now_or_never().is_none());
        suspicion.look_at(None);
        suspicion.settled().now_or_never().unwrap();
    }

    #[tokio::test]
    async fn a_verdict_that_does_not_come_holds_nobody_for_ever() {
        let suspicion = Suspicion::default();
        suspicion.raise();
        tokio::time::timeout(Duration::from_secs(30), suspicion.settled()).await.unwrap();
    }
}
