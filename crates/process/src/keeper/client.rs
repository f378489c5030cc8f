//! The front's side of the keeper: starts it, has it start and kill programs, hands its reports on. It stands where a
//! [`Zygote`](crate::zygote::client::Zygote) stands under the strategy `fork`, and speaks the same reports.

use devhost_sys::parent::Ask;
use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::time::Duration;

use super::process::Command;
use super::{APART, AT_TERMINAL, KEEPER_NAME};
use crate::zygote::client::{Argv, Channel, ForkOrder};
use crate::zygote::control::Report;
use devhost_model::Error;
use devhost_sys::{limits, parent, seqpacket};

/// A keeper that runs. Dropped, it ends, and its programs with it.
#[derive(Debug)]
pub struct Spawner {
    process: RefCell<Child>,
    control: Channel,
}

impl Spawner {
    /// Starts a keeper; [`Report::Preloaded`] is its first report. Its programs get its environment and working
    /// directory, which are this process's.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(devhost: &Path, argv: &Argv) -> Result<Self, Error> {
        let failed = |error: io::Error| Error::fault(format!("failed to start the keeper: {error}"));
        let (ours, theirs) = seqpacket::pair().map_err(failed)?;
        let mut command = Process::new(devhost);
        if argv.stdout_is_taken {
            command.stdout(io::stderr().as_fd().try_clone_to_owned().map_err(failed)?);
        }
        parent::start_by_fork(&mut command);
        let process = command
            .arg0(KEEPER_NAME)
            .arg(if argv.at_terminal { AT_TERMINAL } else { APART })
            .arg(&argv.name)
            .args(&argv.args)
            .envs(argv.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::from(theirs))
            .spawn()
            .map_err(failed)?;
        // Before its first command, so that each program has it.
        limits::restore_descriptors_of(process.id().cast_signed());
        Ok(Self { process: process.into(), control: Channel::new(ours).map_err(failed)? })
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.process.borrow().id().cast_signed()
    }

    /// Starts a program; [`Report::Forked`] or [`Report::ForkFailed`] follows. On the other end of its socket the keeper
    /// says what a worker would say. The app's own listener is the one that asks for `wanted_port`, or with 0 the first.
    ///
    /// # Errors
    /// The keeper is gone.
    pub fn fork(&self, wanted_port: u16, order: ForkOrder<'_>) -> io::Result<()> {
        let ForkOrder { generation, artifact, variables, worker, output, stdin, earlier, .. } = order;
        let program = artifact.to_owned();
        let has_stdin = stdin.is_some();
        let fds = [worker.as_fd(), output.as_fd()].into_iter().chain(stdin);
        let fds: Vec<_> = fds.map(|fd| fd.as_raw_fd()).collect();
        let command = Command::Start { generation, program, wanted_port, variables, has_stdin, earlier };
        self.control.send(&command, &fds)
    }

    /// Asks a program to end, with SIGTERM; [`Report::Exited`] follows if it does.
    ///
    /// # Errors
    /// The keeper is gone.
    pub fn terminate(&self, pid: i32) -> io::Result<()> {
        self.ask(pid, Ask::Terminate)
    }

    /// Asks a program to end; [`Report::Exited`] follows if it does.
    ///
    /// # Errors
    /// The keeper is gone.
    pub fn ask(&self, pid: i32, how: Ask) -> io::Result<()> {
        self.control.send(&Command::Signal { pid, how }, &[])
    }

    /// Kills a program and what it started; [`Report::Exited`] follows if it was alive.
    ///
    /// # Errors
    /// The keeper is gone.
    pub fn kill(&self, pid: i32) -> io::Result<()> {
        self.control.send(&Command::Kill { pid }, &[])
    }

    /// The next report; `None` once the keeper is gone. Cancel-safe.
    pub async fn report(&self) -> Option<Report> {
        self.control.receive().await
    }

    /// Hangs up, upon which the keeper ends its programs and itself, and reaps it; after the limit it is killed. Says
    /// how it ended by itself.
    pub async fn end(&self, limit: Duration) -> Option<ExitStatus> {
        self.control.end_peer(&self.process, limit).await
    }
}
