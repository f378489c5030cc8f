//! Throws away what was built of the app's own packages, so that cargo builds them from scratch.
//!
//! Its dependencies from elsewhere stay, and so does the library of them. What a worker may have mapped stays, too: artifacts have names of
//! their own in this run's directory, and cargo's and rustc's output is replaced, never written over. The output directories of build
//! scripts stay as they are until the scripts run again, because a serving app may read files there.

use std::path::Path;

use super::base::Builder;
use crate::app::Target;
use crate::refusal::Refusal;
use crate::{build_lock, stale};

/// rustc's memory of earlier compilations. cargo keeps one only for packages of the workspace.
const INCREMENTAL: &str = "incremental";

impl Builder {
    /// Throws away what was built of the app and its path packages, and what is known of it.
    pub async fn discard(&mut self) {
        // A cancelled rustc would write to what cargo makes next.
        self.ledger.is_quiet().await;
        self.recording = Err(Refusal::Asked);
        let Target::App(app) = &self.target else { return };
        let roots: Vec<&Path> = app.path_packages.iter().map(|package| package.root.as_path()).collect();
        self.ledger.doubt(&roots);
        let profile_dirs = self.profile_dirs(app);
        // Something else may build there right now, and then nothing is removed under it.
        let lock = build_lock::lock(&profile_dirs);
        for package in &app.path_packages {
            stale::age(&profile_dirs, package);
            if lock.is_some() {
                for directory in stale::directories_of(&profile_dirs, package, ".fingerprint") {
                    let _ = std::fs::remove_dir_all(directory);
                }
            }
        }
        if lock.is_some() {
            for directory in profile_dirs {
                let _ = std::fs::remove_dir_all(directory.join(INCREMENTAL));
            }
        }
    }
}
