//! What the front and an attendant say to each other.

use serde::{Deserialize, Serialize};

/// From the front to an attendant. To hang up means: kill everything and exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Ask the process and its group to end.
    Terminate,
    /// Stop the group, as Ctrl-Z does.
    Suspend,
    /// Let the group go on.
    Proceed,
}

/// From an attendant to the front.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// The process runs.
    Started {
        /// Its process id, and its group's.
        pid: i32,
    },
    /// The process could not be started.
    NotStarted {
        /// Why.
        message: String,
    },
    /// The process has ended, and nothing of what it had started is left.
    Ended {
        /// The exit code, if it exited.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
    },
}
