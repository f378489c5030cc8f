//! What the watcher reports.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use devhost_model::ChangedFiles;

use crate::error::WatchError;

/// Files that have changed, and problems.
#[derive(Debug, Clone)]
pub struct Changes {
    /// The files, sorted and without duplicates. Their paths are spelled as the build or the roots spell them.
    pub files: ChangedFiles,
    /// Why files matter that are not part of the build: what the app has done with them, or where else it is said.
    pub reasons: BTreeMap<PathBuf, String>,
    /// Why some changes may be missed from now on. The watcher goes on as well as it can.
    pub problems: Vec<WatchError>,
    /// The number of the last report among them for which requests wait, for [`Suspicion::settle`](crate::Suspicion::settle).
    pub report: u64,
    /// When the first event happened.
    pub at: Instant,
}

impl Changes {
    pub(crate) fn empty(at: Instant) -> Self {
        Self { files: ChangedFiles::default(), reasons: BTreeMap::new(), problems: Vec::new(), report: 0, at }
    }

    /// Returns true if nothing changed and nothing went wrong.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.problems.is_empty()
    }

    /// Adds later changes.
    pub(crate) fn merge(&mut self, later: Self) {
        self.files.merge(later.files);
        self.report = self.report.max(later.report);
        self.reasons.extend(later.reasons);
        self.problems.extend(later.problems);
        self.problems.dedup();
        self.at = self.at.min(later.at);
    }
}
