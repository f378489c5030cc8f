//! Decides which changed files are edits.

use std::path::PathBuf;
use std::time::Instant;

use devhost_supervisor::Event;
use devhost_watch::Changes;

use super::state::Runner;

/// How many files are remembered with why they matter.
const REASONS_COUNT_MAX: usize = 1_000;

impl Runner {
    pub(super) fn changed(&mut self, changes: Changes) -> Vec<Event> {
        let Changes { mut files, reasons, problems, at, report: _ } = changes;
        if self.reasons.len() + reasons.len() > REASONS_COUNT_MAX {
            self.reasons.clear();
        }
        self.reasons.extend(reasons.into_iter().take(REASONS_COUNT_MAX));
        for problem in problems {
            self.terminal.error(&problem.into());
        }
        self.config_file_changed(&mut files);
        files.code = self.edits(files.code, at);
        files.inputs = self.edits(files.inputs, at);
        if files.is_empty() {
            return Vec::new();
        }
        vec![Event::Changed { age: at.elapsed(), files, busy: self.gate.was_busy_at(at) }]
    }

    /// Notes that what a generation reads from now on, it does not read at its start.
    pub(super) fn observed_ready(&mut self, generation: u64) {
        let observer = self.watching.observer();
        observer.ready(generation);
        let is_full = observer.is_full();
        if is_full {
            self.note(
                "the app uses more files than devhost can follow: names of files count, too".to_owned(),
            );
        }
    }

    /// Drops files that the last build has read as they are, or has itself written. Withholds those that the
    /// running build probably writes.
    fn edits(&mut self, mut files: Vec<PathBuf>, at: Instant) -> Vec<PathBuf> {
        if self.build.is_some() {
            return self.authors.withhold(files, at);
        }
        let Ok(mut builder) = self.builder.try_lock() else { return files };
        let (met, later): (Vec<_>, Vec<_>) =
            files.iter().cloned().partition(|file| builder.may_have_met(file));
        self.authors.forget(later.iter());
        if !met.is_empty() {
            let settled = self.authors.learn_after_build(&builder.traces(&met));
            builder.remember_written(self.authors.own());
            files.retain(|file| !settled.contains(file));
        }
        files
    }
}
