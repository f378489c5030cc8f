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
use super::orders::Order;
use super::relay::Relay;

/// A key press for the processes in the foreground.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Typed {
    /// No key yet, but from now on this group's are noticed.
    Heard(Pid),
    /// Ctrl-C, or Ctrl-\.
    Interrupt,
    /// Ctrl-Z.
    Suspend,
    /// No more keys: the terminal was closed.
    HangUp,
}

/// How many inputs may queue up for the loop. Beyond that, senders wait.
pub(super) const INPUTS_COUNT_MAX: usize = 1024;

#[derive(Debug)]
pub(super) enum Input {
    Event(Event),
    Built {
        build: u64,
        started: SystemTime,
        outcome: build::Outcome,
        report: BuildReport,
    },
    /// The program that cargo has built is up to date, and the build goes on behind it.
    ReadyMade {
        build: u64,
        started: SystemTime,
        artifact: Box<build::Artifact>,
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
    /// A reaped worker has had its time for a last report.
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
    /// The user wants something.
    Ordered(Order),
    /// The live line of this build is due again.
    Draw {
        build: u64,
    },
}

pub(super) type Inputs = mpsc::Sender<Input>;
