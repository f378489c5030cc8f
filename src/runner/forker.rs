//! Where new generations come from: a zygote that forks them, or a keeper that starts them as programs of their own.
//! Both speak the same reports.

use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use crate::error::Error;
use crate::restart::Spawner;
use crate::supervisor::Origin;
use crate::zygote::client::{Argv, ForkOrder, Loading, Start, Zygote};
use crate::zygote::control::{Ask, Report};

/// The executable that this process runs, whatever has become of its file.
pub(super) const DEVHOST: &str = "/proc/self/exe";

/// A zygote or a keeper.
#[derive(Debug)]
pub enum Forker {
    /// Forks.
    Zygote(Zygote),
    /// Starts programs.
    Spawner(Spawner),
}

impl Forker {
    /// Starts the process that is asked for; see [`Zygote::start`].
    pub fn start(origin: &Origin, argv: &Argv, loading: Loading) -> Result<Self, Error> {
        let devhost = Path::new(DEVHOST);
        match origin {
            Origin::Zygote { preload } => {
                let preload: &[_] = match loading {
                    Loading::Preloaded | Loading::OneProcess => preload,
                    Loading::Worker | Loading::Fresh => &[],
                };
                Zygote::start(devhost, argv, preload, loading).map(Self::Zygote)
            }
            Origin::Keeper => Spawner::start(devhost, argv).map(Self::Spawner),
        }
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        match self {
            Self::Zygote(zygote) => zygote.pid(),
            Self::Spawner(spawner) => spawner.pid(),
        }
    }

    /// Makes a new generation; see [`Zygote::fork`].
    pub fn fork(&self, order: ForkOrder<'_>) -> io::Result<()> {
        match (self, order.start) {
            (Self::Zygote(zygote), _) => zygote.fork(order),
            (Self::Spawner(spawner), Start::Plain { wanted_port }) => spawner.fork(wanted_port, order),
            (Self::Spawner(_), Start::Plugin(_)) => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "a program has no link"))
            }
        }
    }

    /// Asks a worker to end; see [`Zygote::ask`].
    pub fn ask(&self, pid: i32, how: Ask) -> io::Result<()> {
        match self {
            Self::Zygote(zygote) => zygote.ask(pid, how),
            Self::Spawner(spawner) => spawner.ask(pid, how),
        }
    }

    /// Kills a worker; see [`Zygote::kill`].
    pub fn kill(&self, pid: i32) -> io::Result<()> {
        match self {
            Self::Zygote(zygote) => zygote.kill(pid),
            Self::Spawner(spawner) => spawner.kill(pid),
        }
    }

    /// The next report; `None` once it is gone. Cancel-safe.
    pub async fn report(&self) -> Option<Report> {
        match self {
            Self::Zygote(zygote) => zygote.report().await,
            Self::Spawner(spawner) => spawner.report().await,
        }
    }

    /// Ends it and its workers; see [`Zygote::end`].
    pub async fn end(&self, limit: Duration) -> Option<ExitStatus> {
        match self {
            Self::Zygote(zygote) => zygote.end(limit).await,
            Self::Spawner(spawner) => spawner.end(limit).await,
        }
    }
}
