//! Chooses the runtime that drives the connection to a worker.

use std::sync::{Arc, OnceLock};

use tokio::runtime::Handle;

/// The runtimes that may drive an upstream.
#[derive(Debug)]
pub(in crate::runner) struct Drivers {
    /// That of the thread that serves requests, once there is one: responses then need no change of threads.
    pub(in crate::runner) front: Arc<OnceLock<Handle>>,
    /// The one until then.
    pub(in crate::runner) own: Handle,
}

impl Drivers {
    pub(super) fn choose(&self) -> &Handle {
        self.front.get().unwrap_or(&self.own)
    }
}
