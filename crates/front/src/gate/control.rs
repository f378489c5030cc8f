//! The gate from the runner's side: turning it, and asking how things stand.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::backend::Backend;
use super::state::{GateState, Shared, Visits};
use devhost_model::Failure;

/// A file change this close to a request may have been made by the app while answering it.
const BUSY_MARGIN: Duration = Duration::from_millis(50);

/// The gate. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gate(pub(super) Arc<Shared>);

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// Creates a gate with no generation behind it that holds requests.
    pub fn new() -> Self {
        let state = GateState { hold: true, ..GateState::default() };
        Self(Arc::new(Shared::new(state)))
    }

    /// Makes requests wait.
    pub fn hold(&self) {
        self.0.change(|state| state.hold = true);
    }

    /// Lets waiting requests continue to whatever serves now.
    pub fn release(&self) {
        self.0.change(|state| state.hold = false);
    }

    /// Makes a generation, running in `workers`, the current one. With `release`, waiting requests go to it;
    /// otherwise they keep waiting for the next one.
    pub fn swap(&self, workers: Vec<Arc<Backend>>, release: bool) {
        self.0.change(|state| {
            state.current = workers;
            state.served = true;
            state.hold &= !release;
        });
    }

    /// Adds a worker to the current generation. With `release`, waiting requests continue.
    pub fn join(&self, worker: Arc<Backend>, release: bool) {
        self.0.change(|state| {
            state.current.push(worker);
            state.hold &= !release;
        });
    }

    /// Removes a worker of the current generation that is gone. Requests go to the others, or wait if there are
    /// none. A request that finds its worker gone may get here before the runner has heard of it.
    pub fn leave(&self, worker: u64) {
        self.0.change(|state| state.leave(worker));
    }

    /// Removes the current generation: requests wait for the next one.
    pub fn lose_current(&self) {
        self.0.change(|state| {
            state.current.clear();
            state.hold = true;
        });
    }

    /// Sets or clears why the newest code failed. Requests get it only if no generation serves.
    pub fn set_failure(&self, failure: Option<Failure>) {
        self.0.change(|state| state.failure = failure);
    }

    /// Ends all waiting and turns later requests away.
    pub fn close(&self) {
        self.0.change(|state| state.closed = true);
    }

    /// Returns a worker of the current generation.
    pub fn current(&self) -> Option<Arc<Backend>> {
        self.0.lock().current.first().cloned()
    }

    /// Returns why the newest code is not being served.
    pub fn failure(&self) -> Option<Failure> {
        self.0.lock().failure.clone()
    }

    /// Returns true while the first build runs: no generation has served yet, and none has failed.
    pub fn is_starting(&self) -> bool {
        let state = self.0.lock();
        !state.served && state.failure.is_none()
    }

    /// Returns true if a finite request was being answered at, or shortly before, this time.
    pub fn was_busy_at(&self, at: Instant) -> bool {
        let state = self.0.lock();
        state.visits.values().any(|visits| visits.finite > 0)
            || state.finite_left_at.is_some_and(|left| left + BUSY_MARGIN >= at)
    }

    /// Returns the number of requests in a worker.
    pub fn visits(&self, worker: u64) -> Visits {
        self.0.lock().visits.get(&worker).copied().unwrap_or_default()
    }

    /// Returns the number of finite requests in all workers.
    pub fn finite_count(&self) -> usize {
        self.0.lock().visits.values().map(|visits| visits.finite).sum()
    }

    /// Returns a version that changes whenever anything about the gate does.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }
}
