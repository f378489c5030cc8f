//! Where events come from.

use std::path::Path;
use std::sync::Arc;

use crate::error::WatchError;
use crate::kernel_queue::KernelQueue;

/// Where events come from.
pub(crate) enum Backend {
    /// From the kernel (inotify).
    Native(Arc<KernelQueue>),
    /// From nowhere: everything is looked at again and again.
    Poll,
}

impl Backend {
    pub(crate) fn watch(&mut self, directory: &Path) -> Result<(), WatchError> {
        match self {
            Self::Native(queue) => {
                queue.watch(directory).map_err(|error| WatchError::from_io(&error, directory))
            }
            Self::Poll => Ok(()),
        }
    }

    pub(crate) fn unwatch(&mut self, directory: &Path) {
        if let Self::Native(queue) = self {
            queue.unwatch(directory);
        }
    }
}
