//! Everything that can happen to devhost.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use devhost_model::{BuildReport, ChangedFiles, End, Failure};

use crate::code::Code;
use crate::echo::Answer;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Files changed.
    Changed {
        /// How long ago.
        age: Duration,
        /// Which.
        files: ChangedFiles,
        /// The app was answering requests at that time, so it may have written them itself.
        busy: bool,
    },
    /// Before the first build, a program was found that is up to date.
    ReadyMade {
        /// The build, which goes on.
        build: u64,
        /// The program.
        code: Arc<Code>,
    },
    /// A build has ended.
    BuildEnded {
        /// Which build.
        build: u64,
        /// How it was made.
        report: BuildReport,
        /// Files that changed while it ran, but that it read as they are now or wrote itself.
        settled: Vec<PathBuf>,
        /// The code that it produced, or why it failed.
        result: Result<Arc<Code>, Failure>,
    },
    /// Files of the code that is to be forked, or was forked, are gone from the disk.
    CodeGone,
    /// The zygote has loaded its libraries.
    ZygoteReady,
    /// The zygote failed to load its libraries.
    ZygoteFailed {
        /// Why.
        message: String,
    },
    /// The zygote died, and its workers with it.
    ZygoteDied {
        /// The generations of those workers.
        lost: Vec<u64>,
    },
    /// A worker was forked.
    Forked {
        /// The generation.
        generation: u64,
        /// How long `fork()` took.
        took: Duration,
    },
    /// A worker loaded its artifact.
    Loaded {
        /// The generation.
        generation: u64,
        /// The build id of what is in its memory.
        build_id: String,
        /// How long it took.
        took: Duration,
    },
    /// A worker is ready to serve.
    Ready {
        /// The generation.
        generation: u64,
        /// How long the app's start took.
        took: Duration,
    },
    /// A worker could not be forked or could not load its artifact, or the app failed to start.
    StartFailed {
        /// The generation.
        generation: u64,
        /// Why.
        message: String,
        /// What to do about it, empty if unknown.
        hint: String,
    },
    /// A plain app that is starting has made itself a daemon.
    Detached {
        /// The generation.
        generation: u64,
    },
    /// The app's listener cannot be moved: two generations at once would share the port, and the kernel would send
    /// requests to either.
    KeepsItsPort,
    /// A generation ended: its only worker, or the last of several.
    Ended {
        /// The generation.
        generation: u64,
        /// How.
        end: End,
    },
    /// One of a generation's workers ended, or a replacement failed, while others serve.
    WorkerEnded {
        /// The generation.
        generation: u64,
        /// How.
        end: End,
    },
    /// A replacement loaded its artifact.
    ReplacementLoaded {
        /// Which.
        replacement: u64,
        /// The build id of what is in its memory.
        build_id: String,
    },
    /// A replacement is ready to serve.
    ReplacementReady {
        /// Which.
        replacement: u64,
    },
    /// A draining generation has only long-lived streams left.
    Idle {
        /// The generation.
        generation: u64,
    },
    /// A draining generation has no request left.
    Empty {
        /// The generation.
        generation: u64,
    },
    /// A timer fired.
    Timer(Timer),
    /// The user wants the newest code started anew.
    Refork,
    /// The user wants the app's own packages built from scratch.
    Rebuild,
    /// The user wants changes noticed, but not acted on until [`Event::Resume`].
    Pause,
    /// The user wants changes acted on again, those of the pause included.
    Resume,
    /// The user wants devhost to end.
    Stop,
}

/// What a timer is for. One that has lost its purpose is ignored when it fires, so timers are never disarmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// The generation must be ready by now.
    Start(u64),
    /// The generation must have finished its requests by now.
    Drain(u64),
    /// The generation's long-lived streams must be closed by now.
    Close(u64),
    /// The generation's worker must have exited by now.
    Stop(u64),
    /// Fork again after a crash of this generation.
    Refork(u64),
    /// Replace a worker that this generation has lost.
    Replace(u64),
    /// The replacement must be ready by now.
    Replacement(u64),
    /// Changes that were put off as possible echoes are answered now.
    Echo(Answer),
    /// The zygote of this number must have loaded its libraries by now.
    Preload(u64),
    /// Everything must have ended by now.
    Shutdown,
}
