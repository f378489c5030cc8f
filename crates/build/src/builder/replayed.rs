//! Builds the app by a replay.

use std::path::PathBuf;

use devhost_model::Failure;

use super::base::Builder;
use super::cargo_run::valid_report;
use crate::app::{App, Target};
use crate::explain::finish;
use crate::outcome::{Artifact, Progress};
use crate::paths::temporary_directory;
use crate::quick::PREPARE_NAME;
use crate::refusal::Refusal;
use crate::{fallback, replay};

impl Builder {
    /// Builds the app without cargo, or refuses if that is not allowed.
    pub(super) async fn replay_app(
        &mut self,
        changed: &[PathBuf],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Result<Artifact, Failure>, Refusal> {
        let Target::App(app) = &self.target else { unreachable!("only called for an app") };
        if let Err(reason) = &self.recording {
            return Err(reason.clone());
        }
        if self.outdated {
            return Err(Refusal::ManifestChanged);
        }
        let (sheet_path, report_path) = (self.document(app, "job-sheet"), self.document(app, "report"));
        let context = self.replay_context(app.clone(), sheet_path);
        let recording = self.recording.as_mut().map_err(|reason| reason.clone())?;
        let run = recording.replay(&context, changed, progress).await?;
        self.report.crates.clone_from(&run.steps);
        let sources = recording.sources(&self.memory.sources);
        let named: Vec<PathBuf> = recording.named().cloned().collect();
        if !run.success {
            if fallback::reason_to_share_nothing(&run).is_some() {
                return Err(Refusal::LinkerRefused);
            }
            return Ok(finish(&run, None).map(|_| unreachable!("it has failed")));
        }
        let Some(report) = valid_report(&report_path, &context.sheet_path) else {
            return Err(Refusal::ReportGone);
        };
        let (library, ready) = finish(&run, Some(report)).map_err(|_| Refusal::NothingMade)?;
        let checked = self
            .inspector
            .check(Some(context.app.kind), &library, &ready.preload)
            .map_err(|_| Refusal::NotLoadable)?;
        let names_more = self.memory.scripts.add(&named);
        if names_more || self.memory.sources != sources {
            self.memory.sources.clone_from(&sources);
            self.remember(&context.app);
        }
        if let Some(directory) = &ready.link {
            self.link_ahead.begin(&context.devhost, &context.wrapper.with_file_name(PREPARE_NAME), directory);
        }
        Ok(self.take_artifact(&context.app, &library, checked, ready, sources, run.diagnostics.sorted()))
    }

    pub(super) fn replay_context(&self, app: App, sheet_path: PathBuf) -> replay::Context {
        replay::Context {
            devhost: self.tool.path(),
            wrapper: self.wrapper(&app),
            environment: self.environment(&app, &sheet_path),
            temporary: temporary_directory(&app.target_dir),
            jobs: self.settings.jobs(&self.configuration),
            ledger: self.ledger.clone(),
            #[cfg(any(test, feature = "testing"))]
            weakness: self.weakness,
            app,
            sheet_path,
        }
    }
}
