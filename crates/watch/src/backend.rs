//! Where events come from.

use std::path::Path;

use notify::Watcher as _;

use crate::error::WatchError;

/// Where events come from.
pub(crate) enum Backend {
    /// From the kernel (inotify).
    Native(notify::RecommendedWatcher),
    /// From nowhere: everything is looked at again and again.
    Poll,
}

impl Backend {
    pub(crate) fn watch(&mut self, directory: &Path) -> Result<(), WatchError> {
        match self {
            Self::Native(watcher) => watcher
                .watch(directory, notify::RecursiveMode::NonRecursive)
                .map_err(|error| WatchError::from_notify(&error, directory)),
            Self::Poll => Ok(()),
        }
    }

    pub(crate) fn unwatch(&mut self, directory: &Path) {
        if let Self::Native(watcher) = self {
            // A removed directory has lost its watch already.
            let _ = watcher.unwatch(directory);
        }
    }
}
