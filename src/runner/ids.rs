//! How workers and their processes are identified.

/// One worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WorkerId {
    /// Its generation.
    pub generation: u64,
    /// Which worker it is in this run.
    pub number: u64,
}

/// A process as its zygote knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    /// The zygote's number.
    pub zygote: u64,
    /// The process.
    pub pid: i32,
}
