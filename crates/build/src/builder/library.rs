//! Builds the app as a library, with cargo if a replay is not allowed.

use std::path::PathBuf;

use devhost_model::{BuildReport, Failure};

use super::base::Builder;
use super::cargo_run::valid_report;
use crate::explain::{build_failure, explain, finish};
use crate::inputs::ScriptInputs;
use crate::outcome::{Artifact, Progress};
use crate::paths::concerns_cargo;
use crate::refusal::Refusal;
use crate::replay::{Before, Recording};
use crate::{dep_info, fallback, stale};

impl Builder {
    /// Builds the library: by a replay if possible, by cargo otherwise.
    pub(super) async fn build_app(
        &mut self,
        changed: &[PathBuf],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Artifact, Failure> {
        let refusal = match self.replay_app(changed, progress).await {
            Ok(built) => {
                self.report.replayed = true;
                return built;
            }
            Err(reason) => reason,
        };
        self.report = BuildReport { reason: refusal.to_string(), ..BuildReport::default() };
        self.outdated |= changed.iter().any(|path| concerns_cargo(path) || self.configuration.contains(path));
        let app = self.current_app().await?;
        self.look_at_configuration(&app);
        let report_path = self.document(&app, "report");
        let sheet_path = self
            .place_job_sheet(&app, &report_path)
            .map_err(|error| build_failure(format!("cannot write {}: {error}", app.target_dir.display())))?;
        let known = self.recording.iter().flat_map(Recording::known_contents);
        let files = self.memory.sources.iter().chain(changed);
        let before = Before::look(&app, &sheet_path, files, known);
        self.ledger.is_quiet().await;
        // Remains if this build is cancelled.
        self.recording = Err(Refusal::GivenUp);
        self.show_hidden_changes(&app, changed);
        self.seed(&app, progress).await;
        let mut run = self.run_cargo(&app, &sheet_path, progress).await?;
        let mut report = valid_report(&report_path, &sheet_path);
        // First link the app differently, then share nothing.
        for _ in 0..2 {
            let Some(ready) = report.as_ref().filter(|ready| !run.success && !ready.preload.is_empty())
            else {
                break;
            };
            let Some((marker, reason)) = self.other_linkage(ready, &run) else { break };
            std::fs::write(&marker, reason)
                .map_err(|error| build_failure(format!("cannot write {}: {error}", marker.display())))?;
            let doubt = fallback::Doubt::of(&marker);
            run = self.run_cargo(&app, &sheet_path, progress).await?;
            report = valid_report(&report_path, &sheet_path);
            doubt.decide(fallback::reason_to_share_nothing(&run).is_none());
        }
        if run.success && report.is_none() {
            // cargo found nothing to do, but the output is from other settings, or incomplete.
            stale::age_app(&app, &self.profile_dirs(&app));
            run = self.run_cargo(&app, &sheet_path, progress).await?;
            report = valid_report(&report_path, &sheet_path);
        }
        if !run.success {
            Recording::note(&self.replay_context(app.clone(), sheet_path.clone()), &run, &before);
        }
        let (mut library, mut ready) = finish(&run, report)?;
        let mut checked = self.inspector.check(Some(app.kind), &library, &ready.preload);
        // First share less, then nothing. If that does not help either, the cause lies elsewhere.
        let mut doubts = Vec::new();
        for _ in 0..2 {
            let Err(problem) = &checked else { break };
            if ready.preload.is_empty() {
                break;
            }
            let Some(doubt) = self.share_less(&app, problem, &ready, &run.libraries)? else { break };
            doubts.push(doubt);
            stale::age_app(&app, &self.profile_dirs(&app));
            run = self.run_cargo(&app, &sheet_path, progress).await?;
            (library, ready) = finish(&run, valid_report(&report_path, &sheet_path))?;
            checked = self.inspector.check(Some(app.kind), &library, &ready.preload);
        }
        let checked = checked.map_err(|problem| explain(problem, &library))?;
        doubts.into_iter().for_each(|doubt| doubt.decide(true));
        let mut sources = dep_info::read_sources(&dep_info::path_of(&app, &library), &app.workspace_root);
        // Watched by name; what they include is not.
        let included = self.configuration.iter().filter(|path| path.is_file() && !concerns_cargo(path));
        sources.extend(included.cloned());
        self.memory.sources.clone_from(&sources);
        self.memory.scripts = ScriptInputs::read(&app, &run.build_scripts);
        self.memory.units = Some(run.units_done);
        self.remember(&app);
        let profile_dirs = self.profile_dirs(&app);
        let context = self.replay_context(app, sheet_path);
        self.recording = Recording::make(&context, &run, &ready, &sources, profile_dirs, &before);
        self.take_artifact(&context.app, &library, checked, ready, sources, run.diagnostics.sorted())
    }
}
