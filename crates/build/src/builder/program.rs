//! Builds the app's own binary instead of a library, for the strategy `restart`. It is the same cargo call,
//! but the wrapper leaves the app alone. The resulting program needs nothing preloaded.

use std::path::{Path, PathBuf};

use devhost_model::Failure;
use devhost_sys::program;

use super::base::Builder;
use crate::explain::{build_failure, failed};
use crate::inputs::ScriptInputs;
use crate::outcome::{Artifact, Progress};
use crate::paths::concerns_cargo;
use crate::{dep_info, fallback};

impl Builder {
    /// Builds the app's binary. Dropping the future ends cargo.
    pub(super) async fn build_program(
        &mut self,
        changed: &[PathBuf],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Artifact, Failure> {
        self.outdated |= changed.iter().any(|path| concerns_cargo(path));
        let app = self.current_app().await?;
        let cannot_write = |path: &Path, error: std::io::Error| {
            build_failure(format!("cannot write {}: {error}", path.display()))
        };
        self.look_at_configuration(&app);
        let sheet_path = self
            .place_job_sheet(&app, &self.document(&app, "report"))
            .map_err(|error| cannot_write(&app.target_dir, error))?;
        self.ledger.is_quiet().await;
        self.show_hidden_changes(&app, changed);
        self.seed(&app, progress).await;
        let run = self.run_cargo(&app, &sheet_path, progress).await?;
        if !run.success {
            return Err(failed(&run));
        }
        let program = run
            .library
            .clone()
            .ok_or_else(|| build_failure("cargo succeeded, but reported no executable for the app".into()))?;
        let path =
            self.next_program_path(&app.crate_name).map_err(|error| cannot_write(&app.target_dir, error))?;
        // A copy: the linker may write to a file a worker runs, which the kernel would refuse.
        std::fs::copy(&program, &path).map_err(|error| cannot_write(&path, error))?;
        let build_id = program::build_id(&path)
            .map_err(|error| build_failure(format!("cannot read {}: {error}", path.display())))?;
        let scripts = ScriptInputs::read(&app, &run.build_scripts);
        let sources = dep_info::read_sources(&dep_info::path_of(&app, &program), &app.workspace_root);
        self.memory.sources.clone_from(&sources);
        self.memory.scripts = scripts.clone();
        self.memory.units = Some(run.units_done);
        self.remember(&app);
        Ok(Artifact {
            warnings: run.diagnostics.sorted(),
            notes: self.fallback.iter().map(|reason| fallback::note(reason)).collect(),
            ..Artifact::program(app.kind, path, build_id, sources, scripts)
        })
    }
}
