//! Chooses the runtime that drives the connection to a worker.

use std::sync::{Arc, OnceLock};

use tokio::runtime::Handle;

#[derive(Debug)]
pub(in crate::runner) struct Drivers {
    /// The request-serving thread's, once it runs: responses then need no change of threads.
    pub(in crate::runner) front: Arc<OnceLock<Handle>>,
    /// Used until then.
    pub(in crate::runner) own: Handle,
}

impl Drivers {
    pub(super) fn choose(&self) -> &Handle {
        self.front.get().unwrap_or(&self.own)
    }
}
