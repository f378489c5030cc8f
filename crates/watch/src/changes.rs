//! What the watcher tells.

use std::time::Instant;

use devhost_model::ChangedFiles;

use crate::error::WatchError;

/// What has changed.
#[derive(Debug, Clone)]
pub struct Changes {
    /// The files: each list sorted, without duplicates, and spelled as in the sources or as the roots were.
    pub files: ChangedFiles,
    /// Why some changes may no longer be seen. The watcher goes on as well as it can.
    pub problems: Vec<WatchError>,
    /// When the first of the events happened.
    pub at: Instant,
}

impl Changes {
    pub(crate) fn empty(at: Instant) -> Self {
        Self { files: ChangedFiles::default(), problems: Vec::new(), at }
    }

    /// True if nothing has changed and nothing went wrong.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.problems.is_empty()
    }

    /// Adds later changes.
    pub fn merge(&mut self, later: Self) {
        self.files.merge(later.files);
        self.problems.extend(later.problems);
        self.problems.dedup();
        self.at = self.at.min(later.at);
    }
}
