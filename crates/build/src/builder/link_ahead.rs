//! Has the next link prepared while nobody builds.

use std::path::Path;
#[cfg(any(test, feature = "testing"))]
use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Child;

use crate::attended::{self, Urgency};
#[cfg(any(test, feature = "testing"))]
use crate::quick;

/// The process that prepares it, if one was started. It ends when this is dropped.
#[derive(Debug, Default)]
pub(super) struct LinkAhead {
    child: Option<Child>,
    /// Where it was prepared last.
    #[cfg(any(test, feature = "testing"))]
    directory: Option<PathBuf>,
}

impl LinkAhead {
    /// Starts `program` under the guard, to prepare the next link in `directory`. Best effort.
    pub(super) fn begin(&mut self, devhost: &Path, program: &Path, directory: &Path) {
        let mut command = attended::guarded_at(Urgency::Behind, devhost, program.as_os_str());
        command.arg(directory).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = command.spawn().ok();
        #[cfg(any(test, feature = "testing"))]
        self.directory.replace(directory.to_owned());
    }

    /// Blocks until the next link is prepared, if it is being prepared at all.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn wait(&mut self) {
        const TIME_MAX: std::time::Duration = std::time::Duration::from_secs(120);
        let begun = std::time::Instant::now();
        let Some(mut child) = self.child.take() else { return };
        while matches!(child.try_wait(), Ok(None)) && begun.elapsed() < TIME_MAX {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Whether the last link that was noted was a quick one.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn was_quick(&self) -> bool {
        self.directory.as_deref().is_some_and(quick::was_quick)
    }

    /// Ends it: what it prepares is out of date, and a build needs the processors.
    pub(super) fn end(&mut self) {
        // The guard kills it once its pipe is closed.
        self.child = None;
    }
}
