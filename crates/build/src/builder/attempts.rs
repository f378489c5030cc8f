//! Builds again if something the build needs was removed while it ran.

use std::path::PathBuf;

use devhost_model::Failure;

use super::base::Builder;
use crate::app::Target;
use crate::footing::Footing;
use crate::outcome::{Artifact, Progress};
use crate::refusal::Refusal;

/// How often a build is repeated for that.
const ATTEMPTS_AGAIN_COUNT_MAX: u32 = 3;

impl Builder {
    /// Builds again if something the build needs is removed meanwhile.
    pub(super) async fn build_on_firm_ground(
        &mut self,
        changed: &[PathBuf],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Artifact, Failure> {
        for _ in 0..ATTEMPTS_AGAIN_COUNT_MAX {
            let mut footing = Footing::look(self.target.target_dir());
            self.cargo_started = false;
            let mut is_first = true;
            let target_dir = self.target.target_dir().to_owned();
            let mut look_again = |current: Progress| {
                // By now cargo has created its directories.
                if std::mem::take(&mut is_first) && !footing.is_lost() {
                    footing = Footing::look(&target_dir);
                }
                progress(current);
            };
            let outcome = self.build_library_or_program(changed, &mut look_again).await;
            let is_lost = footing.is_lost() || self.cargo_started && self.lacks_own_files();
            if outcome.is_ok() || !is_lost {
                return outcome;
            }
            tracing::debug!("something was removed in {} during a build", target_dir.display());
            self.recording = Err(Refusal::TargetDirRemoved);
            self.rebuild_wanted = true;
        }
        self.build_library_or_program(changed, progress).await
    }

    /// Whether a file every cargo run starts from is gone.
    fn lacks_own_files(&self) -> bool {
        let Target::App(app) = &self.target else { return false };
        let own = [self.document(app, "job-sheet"), self.wrapper(app)];
        own.iter().any(|path| std::fs::symlink_metadata(path).is_err())
    }
}
