//! How a worker's process ended, and why devhost ended it.

use std::fmt;

use serde::Serialize;

use crate::signal;

/// How a worker's process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum End {
    /// `exit(code)`.
    Exited {
        /// The exit code.
        code: i32,
    },
    /// A signal.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
    /// It broke the rules of its link, and was killed.
    Fault {
        /// What was wrong.
        message: String,
    },
    /// It stopped handling its requests, and was killed.
    Stalled {
        /// What it failed to do, and for how long.
        message: String,
    },
    /// The stack of one of its threads overflowed.
    StackOverflow {
        /// The thread's name, empty if unknown.
        thread: String,
        /// The signal that ended it.
        signal: i32,
    },
    /// devhost ended it.
    Stopped {
        /// Why.
        reason: StopReason,
    },
    /// It ended with its zygote, which died.
    Orphaned,
    /// It vanished, and nothing reported why.
    Lost,
}

/// Why devhost ended a worker that may have had requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// Newer code took over, and the old code had used up its time for its last requests.
    Replaced,
    /// Newer code took over several times, and too many older generations still had requests.
    Crowded,
    /// devhost is ending.
    Shutdown,
    /// It closed its control socket.
    HungUp,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replaced => "devhost ended the app's old code after the new code had taken over",
            Self::Crowded => {
                "devhost ended the app's old code, as newer code had taken over several times since"
            }
            Self::Shutdown => "devhost is ending, and ended the app",
            Self::HungUp => "devhost ended the app, which had closed descriptors that are not its own",
        })
    }
}

impl End {
    /// Returns the end as it looks once it is known why devhost was stopping the worker, if it was, and what the worker wrote
    /// last. A worker that is being stopped may exit in any way, but a fault stays a fault.
    #[must_use]
    pub fn explained(self, stopping: Option<StopReason>, last_output: impl FnOnce() -> String) -> Self {
        let signal = match self {
            Self::Signalled { signal } => signal,
            Self::Exited { .. } | Self::Lost => {
                return stopping.map_or(self, |reason| Self::Stopped { reason });
            }
            _ => return self,
        };
        if !signal::is_fault(signal) {
            return stopping.map_or(self, |reason| Self::Stopped { reason });
        }
        match overflowed_thread(&last_output()) {
            Some(thread) => Self::StackOverflow { thread, signal },
            None => self,
        }
    }
}

/// How many of the last lines are searched for the report of a stack overflow. Other threads may write after it.
const OVERFLOW_LINES_COUNT_MAX: usize = 20;

/// Finds the name of the thread in the last report of a stack overflow, which std writes, or devhost in its place.
fn overflowed_thread(output: &str) -> Option<String> {
    output.lines().rev().take(OVERFLOW_LINES_COUNT_MAX).find_map(|line| {
        let (thread, rest) = line.strip_prefix("thread '")?.rsplit_once('\'')?;
        rest.ends_with("has overflowed its stack").then(|| thread.to_owned())
    })
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { code } => write!(f, "the app called exit with code {code}"),
            Self::Signalled { signal } => match signal::name(*signal) {
                Some(name) => write!(f, "the app was ended by {name} ({})", signal::meaning(*signal)),
                None => write!(f, "the app was ended by signal {signal}"),
            },
            Self::Fault { message } => write!(f, "the app corrupted its link and was killed: {message}"),
            Self::Stalled { message } => write!(f, "the app stopped responding and was killed: {message}"),
            Self::StackOverflow { thread, signal } => {
                let name = if thread.is_empty() { String::new() } else { format!(" '{thread}'") };
                write!(f, "thread{name} of the app has overflowed its stack")?;
                match signal::name(*signal) {
                    Some(name) => write!(f, " ({name})"),
                    None => Ok(()),
                }
            }
            Self::Stopped { reason } => reason.fmt(f),
            Self::Orphaned => write!(f, "the app ended with devhost's zygote, which has died"),
            Self::Lost => write!(f, "the app's process vanished"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(end: End, stopping: Option<StopReason>, output: &str) -> String {
        end.explained(stopping, || output.to_owned()).to_string()
    }

    #[test]
    fn an_end_that_devhost_caused_is_no_crash_and_a_fault_stays_one() {
        let signalled = |signal| End::Signalled { signal };
        let replaced = Some(StopReason::Replaced);
        for end in [signalled(15), signalled(9), End::Exited { code: 0 }, End::Exited { code: 3 }, End::Lost]
        {
            let stopped = End::Stopped { reason: StopReason::Replaced };
            assert_eq!(end.clone().explained(replaced, String::new), stopped, "{end:?}");
            assert_eq!(end.clone().explained(None, String::new), end);
        }
        for end in [signalled(11), signalled(6), End::Fault { message: "m".into() }] {
            assert_eq!(end.clone().explained(replaced, String::new), end);
        }
    }

    #[test]
    fn a_stack_overflow_is_known_by_what_was_said_of_it() {
        let said = "listening\n\nthread 'it's <main>' (12) has overflowed its stack\nfatal runtime error: stack overflow\n";
        let abort = || End::Signalled { signal: 6 };
        assert_eq!(
            explained(abort(), None, said),
            "thread 'it's <main>' of the app has overflowed its stack (SIGABRT)"
        );
        assert_eq!(
            explained(End::Signalled { signal: 11 }, None, "thread '' has overflowed its stack"),
            "thread of the app has overflowed its stack (SIGSEGV)"
        );
        let long_ago = format!("{said}{}", "another line\n".repeat(50));
        for said in [long_ago.as_str(), "thread 'main' panicked at a.rs:1:1", ""] {
            assert_eq!(explained(abort(), None, said), "the app was ended by SIGABRT (abort)");
        }
        assert_eq!(explained(End::Exited { code: 1 }, None, said), "the app called exit with code 1");
    }
}
