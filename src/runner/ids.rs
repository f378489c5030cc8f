//! Identifiers of workers and of their processes.

/// One worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WorkerId {
    /// Its generation.
    pub generation: u64,
    /// Its number, unique in this run.
    pub number: u64,
}

/// The process of a worker, as its launcher knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WorkerProcess {
    /// The launcher's number.
    pub launcher: u64,
    /// Its pid.
    pub pid: i32,
}

/// A worker that its launcher has reaped, with its exit code or the signal that ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reaped {
    pub(super) process: WorkerProcess,
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
}
