//! What tasks send to the loop.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use devhost_build as build;
use devhost_model::{BuildReport, End};
use devhost_process::{Report, WorkerReport};
use devhost_supervisor::Event;
use nix::unistd::Pid;
use tokio::sync::mpsc;

use super::ids::{Reaped, WorkerId};
use super::relay::Relay;

/// A key press for the processes in the foreground.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Typed {
    /// None, but from now on it would be noticed in this group.
    Heard(Pid),
    /// Ctrl-C, or Ctrl-\.
    Interrupt,
    /// Ctrl-Z.
    Suspend,
    /// None any more: the terminal was closed.
    HangUp,
}

/// How many inputs may wait for the loop. A task that sends another one waits.
pub(super) const INPUTS_COUNT_MAX: usize = 1024;

/// What tasks send to the loop.
#[derive(Debug)]
pub(super) enum Input {
    Event(Event),
    Built {
        build: u64,
        started: SystemTime,
        outcome: build::Outcome,
        report: BuildReport,
    },
    Launcher {
        number: u64,
        report: Report,
    },
    LauncherGone {
        number: u64,
    },
    LauncherStuck {
        number: u64,
        message: String,
    },
    Worker {
        worker: WorkerId,
        report: WorkerReport,
        fd: Option<OwnedFd>,
    },
    WorkerGone {
        worker: WorkerId,
    },
    /// A worker that was reaped has had its time for a last report.
    WorkerReaped {
        reaped: Reaped,
    },
    WorkerCondemned {
        worker: WorkerId,
        end: End,
    },
    Relayed {
        worker: WorkerId,
        micros: u64,
        path: PathBuf,
        relay: Relay,
    },
    Look {
        worker: WorkerId,
        forked: Instant,
    },
    Typed(Typed),
}

/// Where tasks send them.
pub(super) type Inputs = mpsc::Sender<Input>;
