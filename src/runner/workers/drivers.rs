//! Which runtime drives the way to a worker.

use std::sync::{Arc, OnceLock};

use tokio::runtime::Handle;

/// Which runtimes may drive an upstream.
#[derive(Debug)]
pub(in crate::runner) struct Drivers {
    /// That of the thread that serves requests, once there is one: an answer is then there without a change of threads.
    pub(in crate::runner) front: Arc<OnceLock<Handle>>,
    /// One for where nothing serves yet.
    pub(in crate::runner) own: Handle,
}

impl Drivers {
    pub(super) fn choose(&self) -> &Handle {
        self.front.get().unwrap_or(&self.own)
    }
}
