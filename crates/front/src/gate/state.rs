//! What the gate knows, behind its one lock: who serves, who waits, and how many requests each worker has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::backend::Backend;
use devhost_model::Failure;

/// The number of requests in one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Visits {
    /// Those that end by themselves.
    pub finite: usize,
    /// Those without an end of their own (WebSocket, server-sent events).
    pub endless: usize,
}

#[derive(Debug, Default)]
pub(super) struct GateState {
    /// The workers of the current generation, if there is one.
    pub(super) current: Vec<Arc<Backend>>,
    /// Where the round robin among equally busy workers starts.
    pub(super) turn: usize,
    pub(super) failure: Option<Failure>,
    /// Some generation has served in this run.
    pub(super) served: bool,
    pub(super) hold: bool,
    pub(super) held: usize,
    /// How many requests wait for a slot.
    pub(super) waiting: usize,
    pub(super) closed: bool,
    /// By worker number.
    pub(super) visits: HashMap<u64, Visits>,
    /// When a finite request last ended.
    pub(super) finite_left_at: Option<Instant>,
}

impl GateState {
    /// Chooses the worker of the current generation with the fewest requests, round robin among equals.
    pub(super) fn choose(&mut self) -> Option<&Arc<Backend>> {
        let count = self.current.len();
        if count > 1 {
            let load = |index: &usize| {
                let visits = self.visits.get(&self.current[*index].worker).copied().unwrap_or_default();
                (visits.finite, visits.endless)
            };
            let in_turn = (0..count).map(|ahead| (self.turn + ahead) % count);
            let chosen = in_turn.min_by_key(load)?;
            self.turn = (chosen + 1) % count;
            return self.current.get(chosen);
        }
        self.current.first()
    }

    /// Removes a worker. If it was the last one, requests wait for the next.
    pub(super) fn leave(&mut self, worker: u64) {
        if let Some(index) = self.current.iter().position(|current| current.worker == worker) {
            self.current.remove(index);
            self.hold |= self.current.is_empty();
        }
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<GateState>,
    /// Incremented whenever anything changes.
    pub(super) changed: watch::Sender<u64>,
    /// Incremented when requests may go somewhere else, and not by each request that ends.
    pub(super) turned: watch::Sender<u64>,
}

impl Shared {
    pub(super) fn new(state: GateState) -> Self {
        let (changed, turned) = (watch::Sender::new(0), watch::Sender::new(0));
        Self { state: Mutex::new(state), changed, turned }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut GateState)) {
        change(&mut self.lock());
        self.changed.send_modify(|version| *version += 1);
        self.turned.send_modify(|version| *version += 1);
    }
}
