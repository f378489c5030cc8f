//! Decides which changed files are edits.

use std::path::PathBuf;
use std::time::Instant;

use devhost_supervisor::Event;
use devhost_watch::Changes;

use super::state::Runner;

impl Runner {
    pub(super) fn changed(&mut self, changes: Changes) -> Vec<Event> {
        let Changes { mut files, problems, at } = changes;
        for problem in problems {
            self.terminal.error(&problem.into());
        }
        self.config_file_changed(&mut files);
        // The watcher takes environment files for code: it was only told that they matter.
        files.startup.extend(files.code.extract_if(.., |file| self.env_files.contains(file)));
        files.code = self.edits(files.code, at);
        files.inputs = self.edits(files.inputs, at);
        if files.is_empty() {
            return Vec::new();
        }
        vec![Event::Changed { age: at.elapsed(), files, busy: self.gate.was_busy_at(at) }]
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
