//! The journey of one reload: its steps, and how long each took.

use std::path::PathBuf;
use std::time::Duration;

use devhost_model::{BuildReport, Cause, FILES_NAMED_COUNT_MAX, Outcome, Reload, Steps};

/// A reload in progress.
#[derive(Debug, Clone)]
pub(crate) struct Journey {
    pub(crate) cause: Cause,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) begun: Duration,
    pub(crate) steps: Steps,
    pub(crate) build: Option<BuildReport>,
}

impl Journey {
    /// A journey without a build (so far).
    pub(crate) fn new(cause: Cause, files: Vec<PathBuf>, begun: Duration) -> Self {
        Self { cause, files, begun, steps: Steps::default(), build: None }
    }

    pub(crate) fn report(&self, now: Duration, generation: u64, outcome: Outcome) -> Reload {
        let total_ms = millis(now.saturating_sub(self.begun));
        let mut steps = self.steps;
        steps.other_ms = (total_ms - steps.sum_ms()).max(0.0);
        Reload {
            generation,
            cause: self.cause,
            files: self.files.iter().take(FILES_NAMED_COUNT_MAX).cloned().map(Into::into).collect(),
            why: String::new(),
            files_left_out: self.files.len().saturating_sub(FILES_NAMED_COUNT_MAX),
            outcome,
            total_ms,
            steps,
            build: self.build.clone(),
        }
    }
}

/// Converts a duration to the milliseconds of the status document.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
