//! Gives build results names of their own in this run's directory.

use std::io;
use std::path::{Path, PathBuf};

use devhost_model::{Diagnostics, Failure};

use super::base::Builder;
use crate::app::App;
use crate::explain::build_failure;
use crate::inspector::Checked;
use crate::job_sheet::Report;
use crate::outcome::Artifact;
use crate::settings::Strategy;

impl Builder {
    /// Gives a freshly built library a name of its own.
    pub(super) fn take_artifact(
        &mut self,
        app: &App,
        library: &Path,
        checked: Checked,
        ready: Report,
        sources: Vec<PathBuf>,
        warnings: Diagnostics,
    ) -> Result<Artifact, Failure> {
        let path = self.next_path(&app.crate_name).map_err(|error| {
            build_failure(format!("cannot make a directory in {}: {error}", app.target_dir.display()))
        })?;
        // A hard link is safe: the wrapper unlinks the library before writing a new one.
        std::fs::hard_link(library, &path)
            .or_else(|_| std::fs::copy(library, &path).map(drop))
            .map_err(|error| build_failure(format!("cannot write {}: {error}", path.display())))?;
        Ok(Artifact {
            path,
            kind: checked.kind,
            strategy: Strategy::Fork,
            build_id: checked.build_id,
            preload: ready.preload,
            sources,
            scripts: self.memory.scripts.clone(),
            warnings,
            notes: ready.notes,
        })
    }

    pub(super) fn next_path(&mut self, name: &str) -> io::Result<PathBuf> {
        self.count += 1;
        Ok(self.artifacts.ensure()?.join(format!("lib{name}-{}.so", self.count)))
    }

    pub(super) fn next_program_path(&mut self, name: &str) -> io::Result<PathBuf> {
        self.count += 1;
        Ok(self.artifacts.ensure()?.join(format!("{name}-{}", self.count)))
    }
}
