//! The events: everything that can happen to devhost.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use devhost_model::{BuildReport, ChangedFiles, End, Failure};

use crate::code::Code;
use crate::echo::Answer;

/// Something that has happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Files changed, `age` ago.
    Changed {
        /// From the change until now.
        age: Duration,
        /// Which.
        files: ChangedFiles,
        /// The app was answering requests then, so it may have written them itself.
        busy: bool,
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
    /// Files of code that was to be forked, or was forked, are gone from the disk.
    CodeGone,
    /// The zygote has preloaded.
    ZygoteReady,
    /// The zygote could not preload.
    ZygoteFailed {
        /// Why.
        message: String,
    },
    /// The zygote is gone, and its workers with it.
    ZygoteDied {
        /// The generations that they were.
        lost: Vec<u64>,
    },
    /// A worker runs.
    Forked {
        /// The generation.
        generation: u64,
        /// How long `fork()` took.
        took: Duration,
    },
    /// A worker has loaded its artifact.
    Loaded {
        /// The generation.
        generation: u64,
        /// The build id of what is in its memory.
        build_id: String,
        /// How long it took.
        took: Duration,
    },
    /// A worker can serve.
    Ready {
        /// The generation.
        generation: u64,
        /// How long the app's start took.
        took: Duration,
    },
    /// A worker could not be forked, could not load, or the app's start failed.
    StartFailed {
        /// The generation.
        generation: u64,
        /// Why.
        message: String,
        /// What to do about it, empty where unknown.
        hint: String,
    },
    /// A plain app that is on its way has made itself a daemon.
    Detached {
        /// The generation.
        generation: u64,
    },
    /// The app's listener cannot be moved: two generations beside each other would share the port, and the kernel would
    /// give requests to either.
    KeepsItsPort,
    /// A generation is gone: its worker's process, or the last of several.
    Ended {
        /// The generation.
        generation: u64,
        /// How.
        end: End,
    },
    /// One of a generation's workers is gone, or a replacement came to nothing; others serve.
    WorkerEnded {
        /// The generation.
        generation: u64,
        /// How.
        end: End,
    },
    /// A replacement has loaded its artifact.
    ReplacementLoaded {
        /// Which.
        replacement: u64,
        /// The build id of what is in its memory.
        build_id: String,
    },
    /// A replacement can serve.
    ReplacementReady {
        /// Which.
        replacement: u64,
    },
    /// No request that ends by itself is left in a draining generation.
    Idle {
        /// The generation.
        generation: u64,
    },
    /// No request at all is left in a draining generation.
    Empty {
        /// The generation.
        generation: u64,
    },
    /// A timer that was armed has fired.
    Timer(Timer),
    /// The user wants to end.
    Stop,
}

/// What a timer is for. A timer whose purpose is over is ignored when it fires, so none is ever disarmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// The generation must be ready by now.
    Start(u64),
    /// The generation's drain must be over by now.
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
    /// Changes that may be echoes are answered now.
    Echo(Answer),
    /// The zygote (the how manieth) must have preloaded by now.
    Preload(u64),
    /// Everything must have ended by now.
    Shutdown,
}
