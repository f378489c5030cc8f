//! Starts and cancels builds, and handles their results.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use actix_web::rt;
use devhost_build::{self as build, Strategy, diagnostics};
use devhost_model::{BrowserEvent, BuildReport, ChangedFiles, Failure};
use devhost_supervisor::{Code, Event, Origin};
use devhost_terminal::Building;

use super::input::Input;
use super::live_build::LiveBuild;
use super::sides::Built;
use super::state::Runner;

impl Runner {
    pub(super) fn start_build(&mut self, build: u64, changed: Vec<PathBuf>) {
        let (builder, sides) = (Rc::clone(&self.builder), Rc::clone(&self.sides));
        let inputs = self.inputs.clone();
        let show_progress = !self.first_build_over;
        let discards = Rc::clone(&self.discards);
        // An app that has the terminal may draw on it, too.
        let draws = !show_progress && self.terminal.draws_live() && self.foreground.is_none();
        let live = draws.then(|| {
            let building = Building::of(&self.relative(&changed));
            LiveBuild::begin(build, building, self.inputs.clone())
        });
        let step = live.as_ref().map(LiveBuild::steps);
        self.live = live;
        let (terminal, hub) = (Arc::clone(&self.terminal), self.hub.clone());
        let looks = self.looks_for_ready_made && build == 1 && changed.is_empty();
        self.build = Some(rt::spawn(async move {
            // Nobody waits for it then.
            let is_behind = Cell::new(false);
            let mut progress = |progress: build::Progress| {
                if is_behind.get() {
                    return;
                }
                if show_progress {
                    let build::Progress { done, total, current } = progress;
                    terminal.progress(done, total, &current);
                    hub.send(BrowserEvent::Progress { done, total, current });
                } else if let Some(step) = &step {
                    step(&progress);
                }
            };
            if discards.get() {
                let _turn = sides.turn(&mut progress).await;
                builder.lock().await.discard().await;
                discards.set(false);
            }
            let ready_made = if looks { sides.ready_made(&builder, &mut progress).await } else { Ok(None) };
            let Built { started, outcome, report } = match ready_made {
                Ok(Some((started, artifact))) => {
                    is_behind.set(true);
                    let artifact = Box::new(artifact);
                    let _ = inputs.send(Input::ReadyMade { build, started, artifact }).await;
                    sides.build_behind(&builder, &mut progress).await
                }
                Ok(None) => sides.build(builder, &changed, &mut progress).await,
                Err(failed) => failed,
            };
            let _ = inputs.send(Input::Built { build, started, outcome, report }).await;
        }));
    }

    pub(super) fn cancel_build(&mut self) {
        self.end_live();
        if let Some(build) = self.build.take() {
            build.abort();
        }
    }

    /// Makes code of a program that was there already.
    pub(super) fn ready_made(&mut self, build: u64, started: SystemTime, artifact: build::Artifact) -> Event {
        self.terminal.progress_done();
        self.look_for_unseen_reads();
        Event::ReadyMade { build, code: self.code(artifact, started) }
    }

    /// Takes over what a build has made, and watches what it was made from.
    fn code(&mut self, artifact: build::Artifact, started: SystemTime) -> Arc<Code> {
        self.watching.set_inputs_built_since(artifact.scripts.with_sources(&artifact.sources), started);
        let code = Arc::new(Code {
            artifact: artifact.path,
            kind: artifact.kind,
            build_id: artifact.build_id,
            origin: match artifact.strategy {
                Strategy::Fork => Origin::Zygote { preload: artifact.preload },
                Strategy::Restart => Origin::Keeper,
            },
        });
        self.codes.push(Arc::clone(&code));
        code
    }

    /// Reports a build's result, and the edits withheld while it ran.
    pub(super) fn build_ended(
        &mut self,
        build: u64,
        started: SystemTime,
        outcome: build::Outcome,
        report: BuildReport,
    ) -> Vec<Event> {
        let withheld = self.authors.take_withheld();
        let settled = self.settled(withheld.keys().cloned().collect());
        let result = self.built(started, outcome, &report);
        let mut events = vec![Event::BuildEnded { build, report, settled: settled.clone(), result }];
        let edits = withheld.into_iter().filter(|(file, _)| !settled.contains(file));
        let (code, times): (Vec<_>, Vec<_>) = edits.unzip();
        if let Some(at) = times.into_iter().min() {
            let files = ChangedFiles { code, ..ChangedFiles::default() };
            events.push(Event::Changed { age: at.elapsed(), files, busy: false });
        }
        events
    }

    /// Returns those of the files changed during the last build that are no edits.
    fn settled(&mut self, mut files: Vec<PathBuf>) -> Vec<PathBuf> {
        files.extend_from_slice(self.supervisor.overtaking());
        let Ok(mut builder) = self.builder.try_lock() else { return Vec::new() };
        let settled = self.authors.learn_from_build(&builder.traces(&files));
        builder.remember_written(self.authors.own());
        settled
    }

    fn built(
        &mut self,
        started: SystemTime,
        outcome: build::Outcome,
        report: &BuildReport,
    ) -> Result<Arc<Code>, Failure> {
        self.build = None;
        self.end_live();
        if !self.first_build_over {
            self.terminal.progress_done();
        }
        match outcome {
            build::Outcome::Built(mut artifact) => {
                // A replay has the same dependencies as the build before it.
                if !report.replayed || !self.first_build_over {
                    self.look_for_unseen_reads();
                }
                self.first_build_over = true;
                // If the build newly names a file, an edit to it during the build counts, too.
                self.watch_new_packages();
                for note in std::mem::take(&mut artifact.notes) {
                    self.note(note);
                }
                let new = diagnostics::news(&self.warnings, &artifact.warnings);
                self.terminal.warnings(&artifact.warnings, &new);
                self.warnings = std::mem::take(&mut artifact.warnings);
                let code = self.code(artifact, started);
                self.collect_artifacts();
                Ok(code)
            }
            build::Outcome::Failed(failure) => {
                if let Ok(builder) = self.builder.try_lock() {
                    self.watching.doubt(builder.known_inputs(), started);
                }
                Err(failure)
            }
        }
    }

    fn look_for_unseen_reads(&mut self) {
        let unseen = build::crate_that_bypasses_libc(&self.workspace);
        self.watching.observer().set_may_bypass(unseen.is_some());
        if let Some(name) = unseen {
            self.note(format!(
                "the app uses {name}, which may read files in ways that devhost cannot see: names of files count, too"
            ));
        }
    }

    fn watch_new_packages(&mut self) {
        let Ok(builder) = self.builder.try_lock() else { return };
        match self.watching.follow(builder.target()) {
            Ok(None) => {}
            Ok(anew) => self.changes_anew = anew,
            Err(error) => self.terminal.error(&error.into()),
        }
    }

    /// Deletes artifacts that no worker has mapped and that will not be forked again.
    fn collect_artifacts(&mut self) {
        /// The newest, and its predecessor, which is the last good one if the newest does not start. Older
        /// ones are kept while a worker has them mapped.
        const CODES_KEPT_COUNT: usize = 2;
        let good = self.workers.current_artifact();
        let excess = self.codes.len().saturating_sub(CODES_KEPT_COUNT);
        let mut index = 0;
        self.codes.retain(|code| {
            index += 1;
            index > excess || Some(&code.artifact) == good.as_ref()
        });
        let mut in_use = self.workers.artifacts();
        for code in &self.codes {
            in_use.push(code.artifact.clone());
            in_use.extend(code.origin.preload().iter().cloned());
        }
        if let Ok(builder) = self.builder.try_lock() {
            builder.collect(&in_use);
        }
    }
}
