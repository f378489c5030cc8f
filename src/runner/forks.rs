//! Forks generations, and replacements for single workers.

use std::sync::Arc;
use std::time::Instant;

use devhost_model::End;
use devhost_process::Loading;
use devhost_supervisor::{Code, Event, Origin};

use super::env_files;
use super::state::Runner;
use super::workers::StartWith;

impl Runner {
    pub(super) fn fork(&mut self, generation: u64, code: &Arc<Code>) {
        if is_gone(code) {
            self.post(Event::CodeGone);
            return;
        }
        let mut libraries = Vec::new();
        if let Origin::Zygote { preload } = &code.origin {
            if matches!(self.loading, Loading::Worker | Loading::Fresh) {
                libraries.clone_from(preload);
            }
            if self.loading == Loading::Fresh {
                let begun = Instant::now();
                self.start_launcher(&code.origin);
                self.fresh.insert(self.current_launcher, begun);
            }
        }
        let Some(launcher) = self.launchers.get(&self.current_launcher) else {
            // Its end is about to be reported; then the supervisor forks again.
            return;
        };
        let forked = env_files::read(&self.env_files, self.config_file.env()).and_then(|variables| {
            let (size, wanted_port) = (self.workers_count, self.app_port);
            let start = StartWith { libraries, size, wanted_port, variables, stdin: self.stdin.as_ref() };
            self.workers.fork(launcher, self.current_launcher, generation, code, start, &self.inputs)
        });
        match forked {
            Ok(workers) => self.look_at_plain(Some(code.kind), &workers),
            Err(error) => {
                let targets = self.workers.kill(generation);
                self.kill(targets);
                self.post(Event::StartFailed { generation, message: error.message, hint: error.hint });
            }
        }
    }

    /// Forks another worker of a generation, from the same launcher.
    pub(super) fn replace(&mut self, generation: u64, replacement: u64) {
        let launcher = self.workers.launcher_of(generation).and_then(|number| self.launchers.get(&number));
        // Its end is about to be reported, and with it the generation's.
        let Some(launcher) = launcher else { return };
        if launcher.is_stuck() {
            self.terminal
                .note("its zygote stands still, so this worker is not replaced before the next change");
            return;
        }
        if self.workers.code_of(generation).is_some_and(|code| is_gone(code)) {
            self.post(Event::CodeGone);
            return;
        }
        match self.workers.replace(launcher, generation, replacement, &self.inputs) {
            Ok(worker) => self.look_at_plain(self.workers.kind_of(generation), &[worker]),
            Err(error) => {
                self.terminal.error(&error);
                self.post(Event::WorkerEnded { generation, end: End::Lost });
            }
        }
    }
}

/// Returns true if what a worker would load no longer exists.
pub(super) fn is_gone(code: &Code) -> bool {
    !code.artifact.exists()
}
