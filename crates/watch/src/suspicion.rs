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

/// How far the suspicion is. Events are counted: acting on one change must not drop the suspicion that a later event has raised.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    level: Level,
    /// How many events have raised it.
    raised: u64,
    /// How many of these were changes that were reported.
    confirmed: u64,
    /// How many of these are known to be of no account.
    dismissed: u64,
}

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
    state: Mutex<State>,
    settled: Notify,
    /// The kernel's queue of events.
    queue: RwLock<Option<Queue>>,
}

impl Suspicion {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut state = self.lock();
        state.raised += 1;
        if state.level == Level::Clear {
            state.level = Level::Raised(Instant::now());
        }
    }

    /// Takes back what the last call of [`Suspicion::raise`] did: the event is of no account.
    pub(crate) fn retract(&self) {
        let mut state = self.lock();
        state.raised = state.raised.saturating_sub(1);
        let is_clear = state.confirmed.max(state.dismissed) >= state.raised;
        if is_clear && matches!(state.level, Level::Raised(_)) {
            self.clear(&mut state);
        }
    }

    /// Returns how many events have raised it so far.
    pub(crate) fn raised(&self) -> u64 {
        self.lock().raised
    }

    /// Confirms the suspicion: among the first `judged` events was a change, which is being reported.
    pub(crate) fn confirm(&self, judged: u64) {
        let mut state = self.lock();
        state.confirmed = state.confirmed.max(judged);
        if let Level::Raised(at) = state.level {
            state.level = Level::Confirmed(at);
        }
    }

    /// Drops the suspicion unless it was confirmed: all events so far have been judged.
    pub(crate) fn dismiss(&self) {
        let mut state = self.lock();
        state.dismissed = state.raised;
        if matches!(state.level, Level::Raised(_)) {
            self.clear(&mut state);
        }
    }

    /// Drops the suspicion as far as the first `judged` events have raised it: the change among them was acted on.
    pub fn settle(&self, judged: u64) {
        let mut state = self.lock();
        if judged.max(state.dismissed) >= state.raised {
            self.clear(&mut state);
        } else if state.confirmed <= judged && state.level != Level::Clear {
            state.level = Level::Raised(Instant::now());
        }
    }

    fn clear(&self, state: &mut State) {
        if state.level != Level::Clear {
            state.level = Level::Clear;
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
        let at = match self.lock().level {
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
        suspicion.confirm(1);
        suspicion.dismiss();
        assert!(suspicion.settled().now_or_never().is_none(), "it was dismissed");
        suspicion.settle(1);
        suspicion.settled().now_or_never().unwrap();
    }

    #[tokio::test]
    async fn acting_on_one_change_leaves_the_suspicion_of_a_later_event() {
        let suspicion = Suspicion::default();
        suspicion.raise();
        suspicion.confirm(1);
        suspicion.raise();
        suspicion.settle(1);
        assert!(suspicion.settled().now_or_never().is_none(), "it was dropped with the first");
        suspicion.dismiss();
        suspicion.settled().now_or_never().unwrap();
        suspicion.raise();
        suspicion.settle(0);
        assert!(suspicion.settled().now_or_never().is_none(), "nothing was acted on");
    }

    #[tokio::test]
    async fn a_verdict_that_does_not_come_holds_nobody_for_ever() {
        let suspicion = Suspicion::default();
        suspicion.raise();
        tokio::time::timeout(Duration::from_secs(30), suspicion.settled()).await.unwrap();
    }
}
