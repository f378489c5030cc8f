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
