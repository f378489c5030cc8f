//! Identifiers of workers and of their processes.

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WorkerId {
    pub generation: u64,
    /// Unique in this run.
    pub number: u64,
}

/// A worker's process, as its launcher knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WorkerProcess {
    /// The launcher's number.
    pub launcher: u64,
    pub pid: i32,
}

/// A worker reaped by its launcher, with its exit code or the signal that ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reaped {
    pub(super) process: WorkerProcess,
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
}
