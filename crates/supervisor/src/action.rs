//! Everything that the supervisor can ask for.

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
        /// All files that changed since the last build that succeeded.
        changed: Vec<PathBuf>,
    },
    /// Throw away what was built of the app's own packages, before the next build.
    Discard,
    /// Kill the running build.
    CancelBuild,
    /// Start a zygote or a keeper. The one before it takes no more forks, and ends with its last worker.
    StartZygote {
        /// Which of the two, and what to load first.
        origin: Origin,
    },
    /// Kill the current zygote.
    KillZygote,
    /// Fork all workers of a generation.
    Fork {
        /// The generation.
        generation: u64,
        /// What they load.
        code: Arc<Code>,
    },
    /// Fork one more worker of a generation.
    Replace {
        /// The generation.
        generation: u64,
        /// The number of the replacement, counted from the start of devhost.
        replacement: u64,
    },
    /// Let a replacement serve together with the others.
    Join {
        /// Which.
        replacement: u64,
        /// True if waiting requests may go on.
        release: bool,
    },
    /// Kill a replacement before it is ready.
    KillReplacement {
        /// Which.
        replacement: u64,
        /// Why.
        message: String,
    },
    /// Make requests wait.
    Hold,
    /// Send waiting requests to the current generation.
    Release,
    /// Make a generation the current one.
    Swap {
        /// Which.
        generation: u64,
        /// Its build id.
        build_id: String,
        /// True if the code differs from what served before, so that open pages are out of date.
        fresh: bool,
        /// True if waiting requests may go on.
        release: bool,
        /// The files that changed.
        files: Vec<PathBuf>,
    },
    /// Have no current generation any more.
    LoseCurrent,
    /// Send a generation no new requests and let it finish those that it has.
    Drain {
        /// Which.
        generation: u64,
    },
    /// Close a generation's long-lived streams.
    CloseStreams {
        /// Which.
        generation: u64,
    },
    /// Tell a worker to exit.
    StopWorker {
        /// Its generation.
        generation: u64,
        /// Why, for the clients whose requests it cuts off.
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
    /// Set or clear the reason why the newest code is not being served.
    SetFailure(Option<Failure>),
    /// Set the state in the status document.
    SetState(ServerState),
    /// Say whether changes are acted on.
    SetPaused {
        /// They are not.
        paused: bool,
        /// How many changed files are acted on now.
        files: usize,
    },
    /// Tell the user that something changed, and that nothing is done about it while devhost is paused.
    TellOfPause {
        /// One of the files.
        file: PathBuf,
    },
    /// Send an event to open pages.
    Tell(BrowserEvent),
    /// Reload open pages, because static files changed.
    ReloadPages {
        /// The files.
        files: Vec<PathBuf>,
    },
    /// Swap stylesheets in open pages.
    SwapStyles {
        /// The files.
        files: Vec<PathBuf>,
    },
    /// Tell the user something.
    Note(String),
    /// Tell the user that files change in answer to their own change, and are answered less often.
    TellOfEcho {
        /// What is done.
        answer: Answer,
        /// One of them.
        file: PathBuf,
    },
    /// Tell the user that a build is left to finish although files change.
    TellOfLeftAlone {
        /// One of them.
        file: PathBuf,
    },
    /// Report the end of a reload to the user.
    Report(Reload),
    /// Report a crash to the user.
    ReportCrash {
        /// How.
        end: End,
    },
    /// End devhost.
    Exit,
}

/// What an event leads to, to be performed in this order.
pub(crate) type Actions = Vec<Action>;
