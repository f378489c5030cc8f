//! The words that the parts of devhost share: what a build or a worker came to, what a browser is told, and
//! the status document. Plain data, no behaviour beyond its own text.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Diagnostics, FileName};

/// How many reloads the status document keeps.
pub const RELOADS_KEPT_COUNT_MAX: usize = 100;

/// How many files of a reload are named. A change of branches can be one of thousands.
pub const FILES_NAMED_COUNT_MAX: usize = 50;

/// How the text of a build's progress starts while somebody else is in the way: worth telling at once.
pub const WAITING_FOR: &str = "waiting for ";

/// `1 crate`, `12 crates`.
pub fn counted(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// What an app is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppKind {
    /// A library with an `export!`, which is handed its requests.
    Plugin,
    /// Any binary that listens by itself.
    Plain,
}

/// How the line starts that tells of a zygote's death; `devhost bench` looks for it.
pub const ZYGOTE_DEATH: &str = "the zygote has died";

/// What the library of a plain app exports: the function that calls its `main`.
pub const PLAIN_MAIN_SYMBOL: &str = "devhost_plain_main";

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
    /// It wrote something into the link that no correct worker writes, and was killed.
    Fault {
        /// What was wrong.
        message: String,
    },
    /// It did nothing for its requests any more, and was killed.
    Stalled {
        /// What it did not do, and for how long.
        message: String,
    },
    /// One of its threads used up its stack.
    StackOverflow {
        /// The thread's name, empty where it is not known.
        thread: String,
        /// The signal that ended it then.
        signal: i32,
    },
    /// devhost ended it.
    Stopped {
        /// Why.
        reason: StopReason,
    },
    /// It ended with its zygote, which died.
    Orphaned,
    /// It vanished without a report.
    Lost,
}

/// Why devhost ends a worker that may have requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// Newer code took over, and the time was up that the old code had for its last requests.
    Replaced,
    /// Newer code took over again and again, and too many older generations had requests still.
    Crowded,
    /// devhost is ending.
    Shutdown,
    /// It closed the socket over which devhost speaks with it.
    HungUp,
}

impl std::fmt::Display for StopReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
    /// The same end in the light of what devhost had begun and of what the worker wrote last. An app that is being ended
    /// may exit in any way; a fault of its code stays one.
    #[must_use]
    pub fn explained(self, stopping: Option<StopReason>, last_output: impl FnOnce() -> String) -> Self {
        use nix::sys::signal::Signal::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV};
        let signal = match self {
            Self::Signalled { signal } => signal,
            Self::Exited { .. } | Self::Lost => {
                return stopping.map_or(self, |reason| Self::Stopped { reason });
            }
            _ => return self,
        };
        let is_fault = [SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE].iter().any(|fault| *fault as i32 == signal);
        if !is_fault {
            return stopping.map_or(self, |reason| Self::Stopped { reason });
        }
        match overflowed_thread(&last_output()) {
            Some(thread) => Self::StackOverflow { thread, signal },
            None => self,
        }
    }
}

/// How many of the last lines are searched for the word of a stack overflow. Other threads may write after it.
const OVERFLOW_LINES_COUNT_MAX: usize = 20;

/// The name of the thread whose stack overflow is the last that an app told of: by std, or by devhost in its place.
fn overflowed_thread(output: &str) -> Option<String> {
    output.lines().rev().take(OVERFLOW_LINES_COUNT_MAX).find_map(|line| {
        let (thread, rest) = line.strip_prefix("thread '")?.rsplit_once('\'')?;
        rest.ends_with("has overflowed its stack").then(|| thread.to_owned())
    })
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited { code } => write!(f, "the app called exit with code {code}"),
            Self::Signalled { signal } => match nix::sys::signal::Signal::try_from(*signal) {
                Ok(signal) => write!(f, "the app was ended by {} ({})", signal.as_str(), signal_text(signal)),
                Err(_) => write!(f, "the app was ended by signal {signal}"),
            },
            Self::Fault { message } => write!(f, "the app corrupted its link and was killed: {message}"),
            Self::Stalled { message } => write!(f, "the app stopped responding and was killed: {message}"),
            Self::StackOverflow { thread, signal } => {
                let name = if thread.is_empty() { String::new() } else { format!(" '{thread}'") };
                write!(f, "thread{name} of the app has overflowed its stack")?;
                match nix::sys::signal::Signal::try_from(*signal) {
                    Ok(signal) => write!(f, " ({})", signal.as_str()),
                    Err(_) => Ok(()),
                }
            }
            Self::Stopped { reason } => reason.fmt(f),
            Self::Orphaned => write!(f, "the app ended with devhost's zygote, which has died"),
            Self::Lost => write!(f, "the app's process vanished"),
        }
    }
}

fn signal_text(signal: nix::sys::signal::Signal) -> &'static str {
    use nix::sys::signal::Signal;
    match signal {
        Signal::SIGSEGV => "segmentation fault",
        Signal::SIGABRT => "abort",
        Signal::SIGBUS => "bus error",
        Signal::SIGFPE => "arithmetic fault",
        Signal::SIGILL => "illegal instruction",
        Signal::SIGKILL => "killed, perhaps for lack of memory",
        _ => "a signal",
    }
}

/// Why the newest code is not being served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Failure {
    /// cargo or rustc refused it.
    Build {
        /// The errors and warnings, errors first, and how many are left out.
        #[serde(flatten)]
        diagnostics: Diagnostics,
        /// What cargo said besides (a broken manifest, a linker's complaint), with ANSI colours.
        output: String,
    },
    /// The build passed, but the artifact could not be loaded or the app did not start.
    Start {
        /// What happened.
        message: String,
        /// What to do about it, empty where unknown.
        hint: String,
        /// The generation that was tried, 0 where it did not come to one.
        generation: u64,
        /// The last that it wrote to its standard output and error, as far as devhost has it.
        output: String,
    },
    /// It ran, then crashed so often that devhost gave up until the next change.
    Crash {
        /// How it ended the last time.
        end: End,
        /// The same in words.
        message: String,
        /// Crashes in a row.
        count: u32,
        /// The generation that crashed last.
        generation: u64,
        /// The last that it wrote to its standard output and error, as far as devhost has it.
        output: String,
    },
}

impl Failure {
    /// A start that did not come to a worker.
    pub fn start(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Start { message: message.into(), hint: hint.into(), generation: 0, output: String::new() }
    }

    /// A generation that crashed once too often.
    pub fn crash(end: End, count: u32, generation: u64) -> Self {
        let message = format!("The last time {end}.");
        Self::Crash { end, message, count, generation, output: String::new() }
    }

    /// Adds what the generation that failed wrote last, which whoever decides that it has failed does not know.
    #[must_use]
    pub fn with_output(mut self, output_of: impl FnOnce(u64) -> String) -> Self {
        if let Self::Start { generation, output, .. } | Self::Crash { generation, output, .. } = &mut self {
            *output = output_of(*generation);
        }
        self
    }

    /// One line for a terminal or a title.
    pub fn title(&self) -> String {
        match self {
            Self::Build { diagnostics, .. } => match diagnostics.errors_count() {
                0 => "The build failed".into(),
                1 => "The build failed with one error".into(),
                n => format!("The build failed with {n} errors"),
            },
            Self::Start { .. } => "The app did not start".into(),
            Self::Crash { count, .. } => format!("The app crashed {count} times in a row"),
        }
    }
}

/// What an open page is told over `/__devhost/events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BrowserEvent {
    /// The first event of a connection.
    Hello {
        /// Differs for each run of devhost: a page of an earlier run reloads.
        session: String,
        /// The generation being served, 0 before the first.
        generation: u64,
        /// How many builds have begun: more than in an earlier Hello mean that the code has changed since.
        builds: u64,
        /// Set while the newest code is not being served.
        failure: Option<Failure>,
    },
    /// A build has started.
    Building {
        /// The files that caused it.
        files: Vec<String>,
    },
    /// How far the first build is.
    Progress {
        /// Crates done.
        done: u32,
        /// Crates in all.
        total: u32,
        /// What is being compiled.
        current: String,
    },
    /// Newer code or a static file is there: load the page again. Sent when the new code is ready, not before.
    Reload {
        /// The generation being served.
        generation: u64,
        /// The names of the files that have changed, by which a page finds what the browser has of them in its cache. None:
        /// too many, or not known.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        files: Vec<String>,
    },
    /// Stylesheets have changed: swap them in place.
    Css {
        /// Their file names (`style.css`), to be compared with the last segment of a link's path.
        files: Vec<String>,
    },
    /// The newest code is not being served.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// The failure is over without a new generation (the code is again what is being served).
    Recovered,
}

/// What devhost is doing: the `state` of the status document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// The first build is running.
    Starting,
    /// A later build is running, or its generation is starting.
    Building,
    /// The newest code is being served.
    Ready,
    /// The newest code is not being served; [`Status::failure`] says why.
    Failed,
}

/// Why a reload happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// devhost was started.
    Start,
    /// Files changed.
    Change,
    /// The worker crashed.
    Crash,
    /// The zygote died.
    Zygote,
    /// The newest code did not start, and the code before it had ended to make room for it.
    Rollback,
    /// The start before it failed.
    Retry,
}

/// What a reload came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A new generation serves.
    Ok,
    /// cargo or rustc failed.
    BuildFailed,
    /// The artifact did not load or the app did not start.
    StartFailed,
    /// The build gave what is being served already.
    Unchanged,
}

/// The steps of a reload, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Steps {
    /// From the first file's event to the start of the build: reading and classifying it, and the end of a build that it
    /// made useless.
    pub notice_ms: f64,
    /// From the start of the build to the artifact: rustc and its linker, and cargo where it was needed.
    pub build_ms: f64,
    /// The fork, as the zygote measured it.
    pub fork_ms: f64,
    /// dlopen and what goes with it, as the worker measured it.
    pub load_ms: f64,
    /// The app's own start, as the worker measured it.
    pub ready_ms: f64,
    /// What is none of these: waiting for a zygote, for an older generation's end, for messages between processes.
    pub other_ms: f64,
    /// After the end of the reload: the first response of the new generation, from when its request was let in.
    pub first_response_ms: Option<f64>,
}

impl Steps {
    /// How much of the reload the steps explain, in milliseconds.
    pub fn sum_ms(&self) -> f64 {
        self.notice_ms + self.build_ms + self.fork_ms + self.load_ms + self.ready_ms + self.other_ms
    }
}

/// One crate of a build.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct BuildStep {
    /// The package.
    pub name: String,
    /// When it was started, in milliseconds from the start of the build.
    pub begun_ms: f64,
    /// How long it took, in milliseconds.
    pub took_ms: f64,
}

/// How a build was made.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct BuildReport {
    /// The recorded rustc calls were made again, without cargo.
    pub replayed: bool,
    /// Why it was cargo's business, where it was.
    pub reason: String,
    /// What was compiled, in the order in which it was done.
    pub crates: Vec<BuildStep>,
}

impl BuildReport {
    /// What a person wants to know of it: `replay: util 210 ms, app 480 ms`, `cargo: Cargo.lock changed`.
    pub fn summary(&self) -> Option<String> {
        if !self.replayed {
            return (!self.reason.is_empty()).then(|| format!("cargo: {}", self.reason));
        }
        let step = |step: &BuildStep| format!("{} {:.0} ms", step.name, step.took_ms);
        let crates: Vec<String> = self.crates.iter().map(step).collect();
        let crates = if crates.is_empty() { "nothing to compile".into() } else { crates.join(", ") };
        Some(format!("replay: {crates}"))
    }
}

/// One reload, from its cause to its outcome: the journey.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reload {
    /// The generation that it made, or that went on serving.
    pub generation: u64,
    /// Why it happened.
    pub cause: Cause,
    /// The files that changed, relative to the workspace where they are in it; at most [`FILES_NAMED_COUNT_MAX`].
    pub files: Vec<FileName>,
    /// How many more files changed.
    pub files_left_out: usize,
    /// What it came to.
    pub outcome: Outcome,
    /// From the cause until the new generation took over, in milliseconds.
    pub total_ms: f64,
    /// The steps.
    pub steps: Steps,
    /// How the build was made, where there was one.
    pub build: Option<BuildReport>,
}

/// A process by its pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Process {
    /// The process id.
    pub pid: i32,
}

/// A worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct WorkerStatus {
    /// The process id.
    pub pid: i32,
    /// The generation it serves.
    pub generation: u64,
    /// It finishes what it has and gets nothing new.
    pub draining: bool,
}

/// The document at `/__devhost/status`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// devhost's version.
    pub version: &'static str,
    /// The app's package name.
    pub app: String,
    /// `plugin` or `plain`.
    pub kind: &'static str,
    /// What is going on.
    pub state: ServerState,
    /// The generation being served, 0 before the first.
    pub generation: u64,
    /// The build id of the code being served, empty before the first.
    pub build_id: String,
    /// This process.
    pub front: Process,
    /// The zygote, where one runs.
    pub zygote: Option<Process>,
    /// The workers, draining ones too.
    pub workers: Vec<WorkerStatus>,
    /// Why the newest code is not being served.
    pub failure: Option<Failure>,
    /// The last reloads, oldest first.
    pub reloads: VecDeque<Reload>,
}

/// The status document, written by the runner and read by the front.
#[derive(Debug)]
pub struct StatusBoard(Mutex<Board>);

#[derive(Debug)]
struct Board {
    status: Status,
    /// The first response of a generation whose reload is not on the board yet.
    early: Option<(u64, f64)>,
}

impl StatusBoard {
    /// A board for an app that is about to be built for the first time.
    pub fn new(app: String, kind: &'static str) -> Self {
        let status = Status {
            version: env!("CARGO_PKG_VERSION"),
            app,
            kind,
            state: ServerState::Starting,
            generation: 0,
            build_id: String::new(),
            front: Process { pid: std::process::id().cast_signed() },
            zygote: None,
            workers: Vec::new(),
            failure: None,
            reloads: VecDeque::new(),
        };
        Self(Mutex::new(Board { status, early: None }))
    }

    /// Changes the document.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        let mut board = self.lock();
        let Board { status, early } = &mut *board;
        change(status);
        if let Some((generation, ms)) = *early
            && status.note_first_response(generation, ms)
        {
            *early = None;
        }
        while status.reloads.len() > RELOADS_KEPT_COUNT_MAX {
            status.reloads.pop_front();
        }
    }

    /// A copy of the document.
    pub fn snapshot(&self) -> Status {
        self.lock().status.clone()
    }

    /// Notes how long a generation's first response took.
    pub fn first_response(&self, generation: u64, took: Duration) {
        let ms = took.as_secs_f64() * 1_000.0;
        let mut board = self.lock();
        if !board.status.note_first_response(generation, ms) {
            board.early = Some((generation, ms));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Status {
    fn note_first_response(&mut self, generation: u64, ms: f64) -> bool {
        let made = |reload: &&mut Reload| reload.generation == generation && reload.outcome == Outcome::Ok;
        match self.reloads.iter_mut().rev().find(made) {
            Some(reload) => {
                // Of several workers each has a first response of its own.
                reload.steps.first_response_ms.get_or_insert(ms);
                true
            }
            None => false,
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

    #[test]
    fn a_document_with_names_that_are_no_utf_8_is_still_a_document() {
        use std::os::unix::ffi::OsStrExt;
        let board = StatusBoard::new("app".into(), "plain");
        let file = std::ffi::OsStr::from_bytes(b"static/caf\xe9.css");
        board.update(|status| {
            status.reloads.push_back(Reload {
                generation: 1,
                cause: Cause::Change,
                files: vec![file.into()],
                files_left_out: 0,
                outcome: Outcome::Ok,
                total_ms: 1.0,
                steps: Steps::default(),
                build: None,
            });
        });
        let json = serde_json::to_value(board.snapshot()).unwrap();
        assert_eq!(json["reloads"][0]["files"][0], "static/caf\u{fffd}.css");
    }
}
