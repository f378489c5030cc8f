//! One build from the outside: which way to build, and what to remove afterwards.

use std::path::PathBuf;
use std::time::SystemTime;

use devhost_model::BuildReport;

use super::base::Builder;
use crate::app::Target;
use crate::attended::Urgency;
use crate::outcome::{Outcome, Progress};
use crate::refusal::Refusal;
use crate::store;

impl Builder {
    /// Builds the target in its current state. `changed` lists the files changed since the last call. Changes
    /// missing from it are found, too, unless something set a modification time back within the last clock
    /// tick.
    ///
    /// Dropping the future kills cargo and everything it started; the next call starts afresh.
    pub async fn build(&mut self, changed: &[PathBuf], progress: &mut dyn FnMut(Progress)) -> Outcome {
        self.urgency = Urgency::Awaited;
        self.build_target(changed, progress).await
    }

    /// Builds the target like [`Self::build`], but at the lowest priority, as something serves already.
    pub async fn build_behind(&mut self, progress: &mut dyn FnMut(Progress)) -> Outcome {
        self.urgency = Urgency::Behind;
        self.build_target(&[], progress).await
    }

    async fn build_target(&mut self, changed: &[PathBuf], progress: &mut dyn FnMut(Progress)) -> Outcome {
        self.report = BuildReport::default();
        self.units.stop_removing().await;
        self.link_ahead.end();
        let outcome = match &self.target {
            Target::Prebuilt(prebuilt) => {
                let prebuilt = prebuilt.clone();
                self.take_prebuilt(&prebuilt)
            }
            Target::App(_) => self.build_on_firm_ground(changed, progress).await,
        };
        self.last_built = outcome.is_ok().then(SystemTime::now);
        match outcome {
            Ok(artifact) => Outcome::Built(artifact),
            Err(failure) => {
                if let Err(refusal @ Refusal::GivenUp) = &mut self.recording {
                    *refusal = Refusal::FailedBefore;
                }
                Outcome::Failed(failure)
            }
        }
    }

    /// Removes what no process uses any more: artifacts of this run except `in_use`, those of ended runs, all
    /// but the most recent libraries of dependencies, and cargo's output for older sets of dependencies.
    pub fn collect(&self, in_use: &[PathBuf]) {
        store::collect(self.target.target_dir(), &self.artifacts, in_use);
        if let Target::App(app) = &self.target
            && self.owns_target_dir()
        {
            self.units.collect(&app.target_dir, self.profile_dirs(app));
        }
    }

    /// Removes this run's artifacts at its end. Processes still running them have them mapped.
    pub fn remove_artifacts(&self) {
        self.artifacts.remove();
    }
}
