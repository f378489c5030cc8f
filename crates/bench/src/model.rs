//! What a run of the bench has measured: raw samples and the settings that they were taken with, no statistics. The JSON
//! document is this and nothing else, so what is documented there is documented here.
//!
//! Times are in milliseconds, sizes in bytes.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The version of the JSON document. It grows when a field changes its meaning or goes, not when one is added.
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
    /// The rustc calls that the edit makes necessary, by themselves: no cargo, no devhost, and nothing that serves
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
    /// False when the run was cancelled before all was measured.
    pub is_complete: bool,
    /// When the run began, in seconds since 1970.
    pub began_unix_s: u64,
    /// How long it took in all, builds included.
    pub duration_ms: f64,
    /// Where it ran.
    pub machine: Machine,
    /// What was asked for.
    pub settings: Settings,
    /// What was measured, in the order in which the strategies took turns.
    pub strategies: Vec<StrategyResult>,
    /// What was asked for and could not be done.
    pub skipped: Vec<Skipped>,
    /// What a fork costs as the image of the forking process grows.
    pub fork_costs: Vec<ForkCost>,
    /// What a reload leaves behind.
    pub artifacts: Vec<ArtifactRow>,
}

/// Where a run was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// As the processor names itself.
    pub processor: String,
    /// How many processors this process may use.
    pub processor_count: usize,
    /// All memory.
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
    /// False for a devhost that was built without optimization: its own share of each time is then too large.
    pub devhost_is_optimized: bool,
    /// The versions of the outside tools that were used: name and version.
    pub tools: Vec<(String, String)>,
    /// The load average over a minute at the start.
    pub load_at_start: f64,
    /// The load average over a minute at the end.
    pub load_at_end: f64,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The app's package.
    pub app: String,
    /// How many reloads each strategy was to make.
    pub reload_count: u32,
    /// The file that was edited, relative to the app's workspace.
    pub edited_file: String,
    /// How many requests a second were sent all the while.
    pub requests_per_second: f64,
}

/// What was measured of one strategy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StrategyResult {
    /// Which one.
    pub strategy: Strategy,
    /// One for each reload, the warm-up left out.
    pub reloads: Vec<ReloadSample>,
    /// Why it was given up before all reloads were made, for example because the app crashed.
    pub failure: Option<String>,
    /// What was noted about the app and its reloads, for example that nothing can be preloaded, or that cargo built some of them.
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
    /// The save, since the run began.
    pub began_ms: f64,
    /// From the save to the first byte of a response of the new code; for [`Strategy::Rustc`] to the end of the last call.
    pub total_ms: f64,
    /// What `total_ms` is made of, in order: `notice`, `build`, `stop`, `fork`, `exec`, `load`, `start`, `first-response`, `other`;
    /// those that the strategy has and that can be seen from outside.
    pub steps: Vec<Step>,
    /// Memory of the process that serves, after its first response.
    pub memory: Option<Memory>,
    /// What became of the steady load's requests between the save and the first response of the new code.
    pub requests: Requests,
    /// CPU time of everything that took part, compilers included.
    pub cpu_ms: Option<f64>,
}

/// One part of a reload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// How long it took.
    pub duration_ms: f64,
    /// What it is made of, if that is known: for [`Strategy::Rustc`] each crate that was compiled, one after another.
    #[serde(default)]
    pub parts: Vec<StepPart>,
}

impl Step {
    /// A step of which no parts are known.
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
    /// Resident, with each shared page divided among those who share it.
    pub pss_bytes: u64,
    /// Written to by this process alone: what it would give back.
    pub private_dirty_bytes: u64,
}

/// What became of the requests that were sent during a reload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Requests {
    /// How many were sent.
    pub sent_count: u32,
    /// How many were refused, reset, or answered by a status from 500 up.
    pub failed_count: u32,
    /// How many waited until the new code answered them.
    pub held_count: u32,
    /// The longest that one of them waited for its response, failed ones included.
    pub longest_wait_ms: f64,
}

/// A strategy or a measurement that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Its name, as on the command line.
    pub name: String,
    /// Why, and what to do about it.
    pub reason: String,
}

/// Forks of a process with a certain number of crates loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForkCost {
    /// How many crates were preloaded.
    pub crate_count: u32,
    /// Size of the libraries that were preloaded.
    pub image_bytes: u64,
    /// Resident memory of the forking process.
    pub rss_bytes: u64,
    /// One for each fork.
    pub samples: Vec<ForkSample>,
}

/// One fork.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForkSample {
    /// In the parent, the call alone.
    pub fork_ms: f64,
    /// From the call to the child's first answer, the page faults on its way included.
    pub answer_ms: f64,
    /// Page faults of the child until then, those without I/O.
    pub page_fault_count: u64,
}

/// One kind of thing that a reload can leave behind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArtifactRow {
    /// A short name, for example `static-value`.
    pub kind: String,
    /// What the plugin does, in a few words.
    pub title: String,
    /// What goes wrong if it is left behind, in a sentence or two.
    pub explanation: String,
    /// One for each strategy that can be tried.
    pub cells: Vec<ArtifactCell>,
}

/// What was seen of one kind under one strategy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArtifactCell {
    /// Which strategy.
    pub strategy: Strategy,
    /// What the plugin with the trait came to.
    pub verdict: Verdict,
    /// What was observed, for example `the static is still 7` or `SIGSEGV`.
    pub observation: String,
    /// What the same plugin without the trait came to: proof that it is the trait that is seen.
    pub verdict_without_trait: Verdict,
    /// How often both were tried.
    pub try_count: u32,
}

/// What a reload came to.
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
