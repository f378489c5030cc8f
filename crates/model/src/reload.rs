//! A reload: why it happened, its outcome, and how long each step took.

use serde::Serialize;

use crate::file_name::FileName;

/// How many files of a reload are named. Switching branches can change thousands.
pub const FILES_NAMED_COUNT_MAX: usize = 50;

/// Why a reload happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// devhost was started.
    Start,
    /// Files changed.
    Change,
    /// The worker crashed.
    Crash,
    /// The zygote died.
    Zygote,
    /// The newest code did not start, and the code before it had been ended to make room.
    Rollback,
    /// The previous start failed.
    Retry,
    /// The user asked for a fresh start of the same code.
    Refork,
    /// The user asked for a build from scratch.
    Rebuild,
}

/// The outcome of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A new generation took over.
    Ok,
    /// The build failed.
    BuildFailed,
    /// The artifact did not load or the app did not start.
    StartFailed,
    /// The build produced the code that is being served already.
    Unchanged,
    /// The build was made behind a program that serves already: the next change is a reload.
    Behind,
}

/// The steps of a reload, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Steps {
    /// From the first file event to the start of the build: reading and classifying files, and cancelling an older build.
    pub notice_ms: f64,
    /// From the start of the build to the artifact: rustc, its linker, and cargo if it was needed.
    pub build_ms: f64,
    /// The fork, as the zygote measured it.
    pub fork_ms: f64,
    /// `dlopen` and the checks around it, as the worker measured it.
    pub load_ms: f64,
    /// The app's own start, as the worker measured it.
    pub ready_ms: f64,
    /// Everything else: waiting for a zygote, for the end of an older generation, for messages between processes.
    pub other_ms: f64,
    /// How long the first response of the new generation took, from when its request was admitted. Not part of the reload.
    pub first_response_ms: Option<f64>,
}

impl Steps {
    /// Returns the sum of the steps, in milliseconds.
    pub fn sum_ms(&self) -> f64 {
        self.notice_ms + self.build_ms + self.fork_ms + self.load_ms + self.ready_ms + self.other_ms
    }
}

/// One crate of a build.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct BuildStep {
    /// The name of its package.
    pub name: String,
    /// When it started, in milliseconds from the start of the build.
    pub begun_ms: f64,
    /// How long it took, in milliseconds.
    pub took_ms: f64,
}

/// How the code was built.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct BuildReport {
    /// Recorded rustc calls were replayed, without cargo.
    pub replayed: bool,
    /// Why cargo was needed, empty if it was not.
    pub reason: String,
    /// The crates that were compiled, in the order in which they were finished.
    pub crates: Vec<BuildStep>,
}

impl BuildReport {
    /// Returns a summary for a person: `replay: util 210 ms, app 480 ms`, `cargo: Cargo.lock changed`.
    pub fn summary(&self) -> Option<String> {
        if !self.replayed {
            return (!self.reason.is_empty()).then(|| format!("cargo: {}", self.reason));
        }
        let step = |step: &BuildStep| format!("{} {:.0} ms", step.name, step.took_ms);
        let crates: Vec<String> = self.crates.iter().map(step).collect();
        let crates = if crates.is_empty() { "nothing to compile".into() } else { crates.join(", ") };
        Some(format!("replay: {crates}"))
    }
}

/// A reload, from its cause to its outcome.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reload {
    /// The generation that serves after it.
    pub generation: u64,
    /// Why it happened.
    pub cause: Cause,
    /// The files that changed, relative to the workspace if they are in it; at most [`FILES_NAMED_COUNT_MAX`].
    pub files: Vec<FileName>,
    /// How many more files changed.
    pub files_left_out: usize,
    /// Why the first of them matters to an app that was not built, such as `read at start`; empty if unknown.
    pub why: String,
    /// Its outcome.
    pub outcome: Outcome,
    /// From the cause until the new generation took over, in milliseconds.
    pub total_ms: f64,
    /// Its steps.
    pub steps: Steps,
    /// How the code was built, if it was.
    pub build: Option<BuildReport>,
}
