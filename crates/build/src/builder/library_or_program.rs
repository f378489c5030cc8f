//! Builds the app as a library if possible, as its own program otherwise.

use std::path::PathBuf;

use devhost_model::{AppKind, Failure};

use super::base::Builder;
use crate::app::Target;
use crate::fallback::reason_to_restart;
use crate::outcome::{Artifact, Progress};
use crate::paths::concerns_cargo;
use crate::refusal::Refusal;
use crate::settings::Strategy;

impl Builder {
    pub(super) async fn build_library_or_program(
        &mut self,
        changed: &[PathBuf],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Artifact, Failure> {
        if changed.iter().any(|path| concerns_cargo(path) || path.ends_with("build.rs")) {
            // The obstacle may be gone.
            self.fallback = None;
        }
        if self.strategy() == Strategy::Restart {
            return self.build_program(changed, progress).await;
        }
        let failure = match self.build_app(changed, progress).await {
            Err(failure) if self.may_become_a_program() => failure,
            outcome => return outcome,
        };
        let Some(reason) = reason_to_restart(&failure) else { return Err(failure) };
        self.fallback = Some(reason);
        self.recording = Err(Refusal::BuiltAsProgram);
        let program = self.build_program(&[], progress).await;
        if program.is_err() {
            self.fallback = None;
            return Err(failure);
        }
        program
    }

    fn may_become_a_program(&self) -> bool {
        self.settings.may_fall_back && matches!(&self.target, Target::App(app) if app.kind == AppKind::Plain)
    }
}
