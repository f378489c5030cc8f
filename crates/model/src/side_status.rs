//! The state of a side process: a program of `devhost.toml` that runs beside the app.

use std::fmt;

use serde::Serialize;

use crate::signal;

/// What a side process is doing: the `state` of its entry in the status document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SideState {
    /// It waits for those above it in `devhost.toml`.
    Waiting,
    /// It is being started.
    Starting,
    /// It runs, and is not ready yet if it says when it is.
    Running,
    /// It runs, and is ready as `ready-when` has it.
    Ready,
    /// It has ended and is about to be started again.
    BackingOff,
    /// It has ended as it should.
    Ended,
    /// It has ended badly or could not be started, and is not started again by itself.
    Failed,
    /// It is being ended.
    Ending,
}

/// How a side process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum SideEnd {
    /// With an exit code.
    Exited {
        /// The exit code.
        code: i32,
    },
    /// By a signal.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
    /// It could not be started.
    NotStarted {
        /// Why.
        message: String,
    },
    /// It took too long and was killed.
    TimedOut,
    /// It was killed together with the process that looks after it.
    Lost,
}

impl SideEnd {
    /// Returns true if it ended as a program that has done its work.
    pub fn is_success(&self) -> bool {
        *self == Self::Exited { code: 0 }
    }
}

impl fmt::Display for SideEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { code } => write!(f, "exited with code {code}"),
            Self::Signalled { signal } => match signal::name(*signal) {
                Some(name) => write!(f, "was ended by {name}"),
                None => write!(f, "was ended by signal {signal}"),
            },
            Self::NotStarted { message } => write!(f, "could not be started: {message}"),
            Self::TimedOut => write!(f, "took too long and was killed"),
            Self::Lost => write!(f, "was killed together with the process that looks after it"),
        }
    }
}

/// A side process in the status document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SideStatus {
    /// Its name in `devhost.toml`.
    pub name: String,
    /// What it is doing.
    pub state: SideState,
    /// It runs to its end before the first build.
    pub before_build: bool,
    /// Its process id, if it runs.
    pub pid: Option<i32>,
    /// Since when it has been doing that, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// When it is started again, if it is about to be.
    pub next_start_unix_ms: Option<u64>,
    /// How often it has been started again.
    pub restarts: u32,
    /// How it ended the last time, if it has.
    pub last_end: Option<SideEnd>,
    /// The last lines that it wrote before that end.
    pub last_lines: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_in_words() {
        assert_eq!(SideEnd::Exited { code: 3 }.to_string(), "exited with code 3");
        assert_eq!(SideEnd::Signalled { signal: 9 }.to_string(), "was ended by SIGKILL");
        assert_eq!(SideEnd::Signalled { signal: 99 }.to_string(), "was ended by signal 99");
        assert!(SideEnd::Exited { code: 0 }.is_success() && !SideEnd::Exited { code: 1 }.is_success());
    }
}
