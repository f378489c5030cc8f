//! The actions: everything that the supervisor can ask for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use devhost_model::{BrowserEvent, End, Failure, Reload, ServerState, StopReason};

use crate::code::{Code, Origin};
use crate::echo::Answer;
use crate::event::Timer;
/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Start a build.
    Build {
        /// Its number.
        build: u64,
        /// All files that changed since the last build that ran to its end.
        changed: Vec<PathBuf>,
    },
    /// Kill the build that runs.
    CancelBuild,
    /// Start a zygote or a keeper; the one there was retires, and ends with its last worker.
    StartZygote {
        /// Which, and what it shall preload.
        origin: Origin,
    },
    /// Kill the current zygote.
    KillZygote,
    /// Fork a generation: its worker, or all of several.
    Fork {
        /// The generation.
        generation: u64,
        /// What it shall load.
        code: Arc<Code>,
    },
    /// Fork one more worker for a generation, with the code that it has.
    Replace {
        /// The generation.
        generation: u64,
        /// Which replacement it is in this run.
        replacement: u64,
    },
    /// Let a replacement serve beside the others.
    Join {
        /// Which.
        replacement: u64,
        /// True where waiting requests go on to it.
        release: bool,
    },
    /// Kill a replacement that is not ready.
    KillReplacement {
        /// Which.
        replacement: u64,
        /// What is wrong with it.
        message: String,
    },
    /// Let requests wait.
    Hold,
    /// Let requests go on, to what serves now.
    Release,
    /// Make a generation the current one.
    Swap {
        /// Which.
        generation: u64,
        /// Its build id.
        build_id: String,
        /// True where the code is other than what served before: open pages are out of date.
        fresh: bool,
        /// True where waiting requests go on to it.
        release: bool,
        /// What has changed.
        files: Vec<PathBuf>,
    },
    /// There is no current generation any more.
    LoseCurrent,
    /// Tell a generation that nothing new will come.
    Drain {
        /// Which.
        generation: u64,
    },
    /// Close a generation's long-lived streams.
    CloseStreams {
        /// Which.
        generation: u64,
    },
    /// Tell a worker to stop and exit.
    StopWorker {
        /// Its generation.
        generation: u64,
        /// Why, for those whose requests it has still.
        reason: StopReason,
    },
    /// Kill a worker.
    KillWorker {
        /// Its generation.
        generation: u64,
    },
    /// Fire a timer later.
    Arm {
        /// Which.
        timer: Timer,
        /// When, from now.
        after: Duration,
    },
    /// Set or clear why the newest code is not being served.
    SetFailure(Option<Failure>),
    /// Set the state in the status document.
    SetState(ServerState),
    /// Tell open pages.
    Tell(BrowserEvent),
    /// A static file changed: open pages load themselves again.
    ReloadPages {
        /// The files.
        files: Vec<PathBuf>,
    },
    /// Stylesheets changed: open pages swap them.
    SwapStyles {
        /// The files.
        files: Vec<PathBuf>,
    },
    /// Something that the user should know.
    Note(String),
    /// Files change because of what is done about their changes: that is done less often.
    TellOfEcho {
        /// What is done.
        answer: Answer,
        /// One of them.
        file: PathBuf,
    },
    /// A build is left to finish although files change.
    TellOfLeftAlone {
        /// One of them.
        file: PathBuf,
    },
    /// A reload is over: tell the user.
    Report(Reload),
    /// A worker crashed: tell the user.
    ReportCrash {
        /// How.
        end: End,
    },
    /// Everything is over.
    Exit,
}

/// What an event leads to, in this order.
pub(crate) type Actions = Vec<Action>;
