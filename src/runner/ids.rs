//! How workers and their processes are identified.

/// One worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WorkerId {
    /// Its generation.
    pub generation: u64,
    /// Which worker it is in this run.
    pub number: u64,
}

/// A process as its launcher knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WorkerProcess {
    /// The launcher's number.
    pub launcher: u64,
    /// The process.
    pub pid: i32,
}
