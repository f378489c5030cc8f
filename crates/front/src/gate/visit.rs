//! A request inside a worker, counted by the gate until it is dropped.

use std::sync::Arc;
use std::time::Instant;

use super::backend::Backend;
use super::state::{Shared, Visits};
use crate::slots::Slot;

/// A request in a worker. Dropped when request and response are over.
#[derive(Debug)]
pub(crate) struct Visit {
    backend: Arc<Backend>,
    gate: Arc<Shared>,
    endless: bool,
    slot: Slot,
}

impl Visit {
    /// A request that [`Shared`] counts as finite already.
    pub(super) fn new(backend: Arc<Backend>, gate: Arc<Shared>, slot: Slot) -> Self {
        Self { backend, gate, endless: false, slot }
    }

    /// Returns the worker that serves the request.
    pub(crate) fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// Moves the request to a slot for long-lived ones. Returns false if none is free.
    pub(crate) fn make_long_lived(&mut self) -> bool {
        self.slot.make_long_lived()
    }

    /// Returns how many long-lived requests there may be at once.
    pub(crate) fn long_lived_count_max(&self) -> usize {
        self.backend.slots().long_lived_count_max()
    }

    /// Marks the request as endless (a WebSocket, server-sent events): a draining generation does not wait for
    /// it.
    pub(crate) fn mark_endless(&mut self) {
        if !self.endless {
            self.endless = true;
            let mut state = self.gate.lock();
            if let Some(count) = state.visits.get_mut(&self.backend.worker) {
                count.finite -= 1;
                count.endless += 1;
            }
            drop(state);
            self.gate.changed.send_modify(|version| *version += 1);
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        if !self.endless {
            state.finite_left_at = Some(Instant::now());
        }
        if let Some(count) = state.visits.get_mut(&self.backend.worker) {
            if self.endless {
                count.endless -= 1;
            } else {
                count.finite -= 1;
            }
            if *count == Visits::default() {
                state.visits.remove(&self.backend.worker);
            }
        }
        drop(state);
        self.gate.changed.send_modify(|version| *version += 1);
    }
}
