//! What a run of the bench has measured: raw samples and their settings, no statistics. The JSON document is
//! exactly this, so its fields are documented here.
//!
//! Times are in milliseconds, sizes in bytes.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The version of the JSON document. It increases if a field changes its meaning or is removed, not if one is
/// added.
pub const SCHEMA_VERSION: u32 = 1;

/// A way of getting new code to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// dlopen, swap and dlclose in one process, as libraries for hot reloading do
    Inprocess,
    /// A forked child of a process that has the dependencies loaded; what `devhost run` does
    Fork,
    /// A forked child that loads the dependencies itself
    ForkNoPreload,
    /// A fresh process that loads dependencies and app
    Spawn,
    /// cargo's own binary, restarted
    Restart,
    /// The same, built with line tables for debug information, as devhost builds
    RestartLineTables,
    /// The rustc calls that the edit makes necessary, by themselves: no cargo, no devhost, and nothing that
    /// serves
    Rustc,
    /// `watchexec`, which runs cargo again
    Watchexec,
    /// `cargo watch`, which runs cargo again
    CargoWatch,
    /// `bacon`, which runs cargo again
    Bacon,
    /// `dx serve`, with hot patching
    Dx,
}

impl Strategy {
    /// Its name on the command line and in the document.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// One run of the bench.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// False if the run was cancelled early.
    pub is_complete: bool,
    /// When the run began, in seconds since 1970.
    pub began_unix_s: u64,
    /// Total duration, including builds.
    pub duration_ms: f64,
    /// Where it ran.
    pub machine: Machine,
    /// What was asked for.
    pub settings: Settings,
    /// The results, in the order in which the strategies took turns.
    pub strategies: Vec<StrategyResult>,
    /// What was asked for but could not be done.
    pub skipped: Vec<Skipped>,
    /// What a fork costs as the image of the forking process grows.
    pub fork_costs: Vec<ForkCost>,
    /// What a reload leaves behind.
    pub artifacts: Vec<ArtifactRow>,
}

/// The machine of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's own name.
    pub processor: String,
    /// How many processors this process may use.
    pub processor_count: usize,
    /// Total memory.
    pub memory_bytes: u64,
    /// Name and release of the kernel.
    pub kernel: String,
    /// For example `x86_64`.
    pub architecture: String,
    /// `rustc --version`.
    pub rustc: String,
    /// `cargo --version`.
    pub cargo: String,
    /// devhost's own version.
    pub devhost: String,
    /// False if devhost was built without optimization: its own share of each time is then too large.
    pub devhost_is_optimized: bool,
    /// Name and version of each outside tool used.
    pub tools: Vec<(String, String)>,
    /// The one-minute load average at the start.
    pub load_at_start: f64,
    /// The one-minute load average at the end.
    pub load_at_end: f64,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The app's package.
    pub app: String,
    /// How many reloads were asked of each strategy.
    pub reload_count: u32,
    /// The edited file, relative to the app's workspace.
    pub edited_file: String,
    /// The rate of the steady load.
    pub requests_per_second: f64,
}

/// The results of one strategy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StrategyResult {
    /// The strategy.
    pub strategy: Strategy,
    /// One per reload, without the warm-up.
    pub reloads: Vec<ReloadSample>,
    /// Why it was given up early, for example because the app crashed.
    pub failure: Option<String>,
    /// Notes about the app and its reloads, for example that nothing can be preloaded, or that cargo built
    /// some of them.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl StrategyResult {
    /// Nothing measured yet.
    pub fn new(strategy: Strategy) -> Self {
        Self { strategy, reloads: Vec::new(), failure: None, notes: Vec::new() }
    }
}

/// One reload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReloadSample {
    /// Counts from 1.
    pub round: u32,
    /// When the file was saved, since the run began.
    pub began_ms: f64,
    /// From the save to the first byte of the new code's response; for [`Strategy::Rustc`] to the end of the
    /// last call.
    pub total_ms: f64,
    /// The parts of `total_ms`, in order: `notice`, `build`, `stop`, `fork`, `exec`, `load`, `start`,
    /// `first-response`, `other`, as far as the strategy has them and they can be seen from outside.
    pub steps: Vec<Step>,
    /// Memory of the serving process after its first response.
    pub memory: Option<Memory>,
    /// Outcomes of the steady load's requests between the save and the new code's first response.
    pub requests: Requests,
    /// CPU time of everything involved, including compilers.
    pub cpu_ms: Option<f64>,
}

/// One part of a reload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// How long it took.
    pub duration_ms: f64,
    /// Its parts, if known: for [`Strategy::Rustc`] each compiled crate, in order.
    #[serde(default)]
    pub parts: Vec<StepPart>,
}

impl Step {
    /// A step without known parts.
    pub fn new(name: &str, duration_ms: f64) -> Self {
        Self { name: name.to_owned(), duration_ms, parts: Vec::new() }
    }
}

/// A part of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepPart {
    /// Its name.
    pub name: String,
    /// How long it took.
    pub duration_ms: f64,
}

/// Memory of one process, from `/proc/PID/smaps_rollup`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Resident.
    pub rss_bytes: u64,
    /// Resident, with each shared page divided among its users.
    pub pss_bytes: u64,
    /// Written by this process alone: what it would free.
    pub private_dirty_bytes: u64,
}

/// Outcomes of the requests sent during a reload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Requests {
    /// How many were sent.
    pub sent_count: u32,
    /// How many were refused, reset, or answered with a status from 500 up.
    pub failed_count: u32,
    /// How many were held until the new code answered.
    pub held_count: u32,
    /// The longest wait for a response, including failed ones.
    pub longest_wait_ms: f64,
}

/// A strategy or measurement left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Its name, as on the command line.
    pub name: String,
    /// Why, and what to do about it.
    pub reason: String,
}

/// Forks of a process with a certain number of loaded crates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForkCost {
    /// The number of preloaded crates.
    pub crate_count: u32,
    /// Total size of the preloaded libraries.
    pub image_bytes: u64,
    /// Resident memory of the forking process.
    pub rss_bytes: u64,
    /// One per fork.
    pub samples: Vec<ForkSample>,
}

/// One fork.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForkSample {
    /// In the parent, the call alone.
    pub fork_ms: f64,
    /// From the call to the child's first answer, including page faults.
    pub answer_ms: f64,
    /// The child's minor page faults until then.
    pub page_fault_count: u64,
}

/// One kind of thing a reload can leave behind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArtifactRow {
    /// A short name, for example `static-value`.
    pub kind: String,
    /// What the plugin does, in a few words.
    pub title: String,
    /// What goes wrong if it is left behind, in a sentence or two.
    pub explanation: String,
    /// One per strategy tried.
    pub cells: Vec<ArtifactCell>,
}

/// The result of one kind under one strategy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArtifactCell {
    /// The strategy.
    pub strategy: Strategy,
    /// The verdict on the plugin with the trait.
    pub verdict: Verdict,
    /// What was observed, for example `the static is still 7` or `SIGSEGV`.
    pub observation: String,
    /// The verdict on the same plugin without the trait: proof that the trait is the cause.
    pub verdict_without_trait: Verdict,
    /// How often both were tried.
    pub try_count: u32,
}

/// The outcome of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As after a cold start.
    Clean,
    /// Something of the old code was left.
    Left,
    /// The process died.
    Crashed,
    /// It did not end in time.
    Hung,
}
