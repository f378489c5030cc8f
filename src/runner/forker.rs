//! Where new generations come from: a zygote that forks them, or a keeper that starts them as programs of their own.
//! Both speak the same reports.

use devhost_sys::parent::Ask;
use std::cell::Cell;
use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::attendance::Attendance;
use devhost_model::Error;
use devhost_process::keeper::Spawner;
use devhost_process::zygote::client::{Argv, ForkOrder, Loading, Start, Zygote};
use devhost_process::zygote::control::Report;
use devhost_supervisor::Origin;
use devhost_sys::parent;

/// The executable that this process runs, whatever has become of its file.
pub(super) const DEVHOST: &str = "/proc/self/exe";

/// A zygote or a keeper.
#[derive(Debug)]
pub(super) struct Forker {
    parent: Parent,
    attendance: Rc<Attendance>,
    /// It stands still, and others do its work.
    is_stuck: Cell<bool>,
}

#[derive(Debug)]
enum Parent {
    /// Forks.
    Zygote(Zygote),
    /// Starts programs.
    Spawner(Spawner),
}

impl Forker {
    /// Starts the process that is asked for; see [`Zygote::start`].
    pub(super) fn start(origin: &Origin, argv: &Argv, loading: Loading) -> Result<Self, Error> {
        let devhost = Path::new(DEVHOST);
        let parent = match origin {
            Origin::Zygote { preload } => {
                let preload: &[_] = match loading {
                    Loading::Preloaded | Loading::OneProcess => preload,
                    Loading::Worker | Loading::Fresh => &[],
                };
                Parent::Zygote(Zygote::start(devhost, argv, preload, loading)?)
            }
            Origin::Keeper => Parent::Spawner(Spawner::start(devhost, argv)?),
        };
        Ok(Self { parent, attendance: Rc::default(), is_stuck: Cell::new(false) })
    }

    /// What it is called.
    pub(super) fn name(&self) -> &'static str {
        match self.parent {
            Parent::Zygote(_) => "zygote",
            Parent::Spawner(_) => "keeper",
        }
    }

    /// What is due from it.
    pub(super) fn attendance(&self) -> &Rc<Attendance> {
        &self.attendance
    }

    /// It stands still: from now on its workers are ended without it. It has not reaped them, so their pids are theirs.
    pub(super) fn give_up(&self) {
        self.is_stuck.set(true);
    }

    /// True if it was given up.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck.get()
    }

    /// Its pid.
    pub(super) fn pid(&self) -> i32 {
        match &self.parent {
            Parent::Zygote(zygote) => zygote.pid(),
            Parent::Spawner(spawner) => spawner.pid(),
        }
    }

    /// Makes a new generation; see [`Zygote::fork`].
    pub(super) fn fork(&self, order: ForkOrder<'_>) -> io::Result<()> {
        self.attendance.ask();
        match (&self.parent, order.start) {
            (Parent::Zygote(zygote), _) => zygote.fork(order),
            (Parent::Spawner(spawner), Start::Plain { wanted_port }) => spawner.fork(wanted_port, order),
            (Parent::Spawner(_), Start::Plugin(_)) => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "a program has no link"))
            }
        }
    }

    /// Asks a worker to end; see [`Zygote::ask`].
    pub(super) fn ask(&self, pid: i32, how: Ask) -> io::Result<()> {
        if self.is_stuck() {
            parent::ask(Pid::from_raw(pid), how);
            return Ok(());
        }
        match &self.parent {
            Parent::Zygote(zygote) => zygote.ask(pid, how),
            Parent::Spawner(spawner) => spawner.ask(pid, how),
        }
    }

    /// Kills a worker; see [`Zygote::kill`].
    pub(super) fn kill(&self, pid: i32) -> io::Result<()> {
        if self.is_stuck() {
            return Ok(killpg(Pid::from_raw(pid), Signal::SIGKILL)?);
        }
        match &self.parent {
            Parent::Zygote(zygote) => zygote.kill(pid),
            Parent::Spawner(spawner) => spawner.kill(pid),
        }
    }

    /// The next report; `None` once it is gone. Cancel-safe.
    pub(super) async fn report(&self) -> Option<Report> {
        let report = match &self.parent {
            Parent::Zygote(zygote) => zygote.report().await,
            Parent::Spawner(spawner) => spawner.report().await,
        };
        self.attendance.hear();
        report
    }

    /// Ends it and its workers; see [`Zygote::end`].
    pub(super) async fn end(&self, limit: Duration) -> Option<ExitStatus> {
        match &self.parent {
            Parent::Zygote(zygote) => zygote.end(limit).await,
            Parent::Spawner(spawner) => spawner.end(limit).await,
        }
    }
}
