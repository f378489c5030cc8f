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

use super::ids::WorkerId;
use super::relay::Relay;

/// What somebody has typed for the processes in the foreground.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Typed {
    /// Nothing, but from now on it would be heard in this group.
    Heard(Pid),
    /// Ctrl-C, or Ctrl-\.
    Interrupt,
    /// Ctrl-Z.
    Suspend,
    /// Nothing any more: the terminal has been closed.
    HangUp,
}

/// How many inputs may wait for the loop. Whoever sends one more waits.
pub(super) const INPUTS_COUNT_MAX: usize = 1024;

/// What tasks send to the loop.
#[derive(Debug)]
pub(super) enum Input {
    Event(Event),
    Built { build: u64, started: SystemTime, outcome: build::Outcome, report: BuildReport },
    Launcher { number: u64, report: Report },
    LauncherGone { number: u64 },
    LauncherStuck { number: u64, message: String },
    Worker { worker: WorkerId, report: WorkerReport, fd: Option<OwnedFd> },
    WorkerGone { worker: WorkerId },
    WorkerCondemned { worker: WorkerId, end: End },
    Relayed { worker: WorkerId, micros: u64, path: PathBuf, relay: Relay },
    Look { worker: WorkerId, forked: Instant },
    Typed(Typed),
}

/// Where tasks send them.
pub(super) type Inputs = mpsc::Sender<Input>;
