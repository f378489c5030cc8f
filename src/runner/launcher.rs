//! A zygote or a keeper, and whether it still obeys.

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Duration;

use devhost_model::Error;
use devhost_process::{Argv, ForkOrder, LauncherClient, Loading, Report, Role};
use devhost_supervisor::Origin;
use devhost_sys::keyboard::TerminalChange;
use devhost_sys::parent::{self, Ask};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::attendance::Attendance;

/// The executable of this process, even if its file was replaced or removed.
pub(super) const DEVHOST: &str = "/proc/self/exe";

/// How long a launcher may take to end when told to.
pub(super) const LAUNCHER_END_TIME_MAX: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Launcher {
    client: LauncherClient,
    attendance: Rc<Attendance>,
    /// It hangs, and others do its work.
    is_stuck: Cell<bool>,
}

impl Launcher {
    /// Starts a launcher; see [`LauncherClient::start`].
    pub(super) fn start(origin: &Origin, argv: &Argv, loading: Loading) -> Result<Self, Error> {
        let role = match (origin, loading) {
            (Origin::Zygote { preload }, Loading::Preloaded | Loading::OneProcess) => {
                Role::Zygote { preload, loading }
            }
            (Origin::Zygote { .. }, Loading::Worker | Loading::Fresh) => {
                Role::Zygote { preload: &[], loading }
            }
            (Origin::Keeper, _) => Role::Keeper,
        };
        let client = LauncherClient::start(Path::new(DEVHOST), argv, role)?;
        Ok(Self { client, attendance: Rc::default(), is_stuck: Cell::new(false) })
    }

    pub(super) fn name(&self) -> &'static str {
        self.client.name()
    }

    pub(super) fn attendance(&self) -> &Rc<Attendance> {
        &self.attendance
    }

    /// Gives it up because it is stuck: its workers are ended without it. It has not reaped them, so their
    /// pids are not reused.
    pub(super) fn give_up(&self) {
        self.is_stuck.set(true);
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck.get()
    }

    pub(super) fn pid(&self) -> i32 {
        self.client.pid()
    }

    /// Launches a worker; see [`LauncherClient::fork`].
    pub(super) fn fork(&self, order: ForkOrder<'_>) -> io::Result<()> {
        self.attendance.ask();
        self.client.fork(order)
    }

    /// Asks a worker to end; see [`LauncherClient::ask`].
    pub(super) fn ask(&self, pid: i32, how: Ask) -> io::Result<()> {
        if self.is_stuck() {
            parent::ask(Pid::from_raw(pid), how);
            return Ok(());
        }
        self.client.ask(pid, how)
    }

    /// Has the terminal restored if devhost is killed; see [`LauncherClient::guard_terminal`].
    pub(super) fn guard_terminal(&self, changed: Option<TerminalChange>) {
        // One that is gone cannot restore anything.
        let _ = self.client.guard_terminal(changed);
    }

    /// Kills a worker; see [`LauncherClient::kill`].
    pub(super) fn kill(&self, pid: i32) -> io::Result<()> {
        if self.is_stuck() {
            return Ok(killpg(Pid::from_raw(pid), Signal::SIGKILL)?);
        }
        self.client.kill(pid)
    }

    /// Returns the next report, or `None` once it is gone. Cancel-safe.
    pub(super) async fn report(&self) -> Option<Report> {
        let report = self.client.report().await;
        self.attendance.hear();
        report
    }

    /// Ends it and its workers; see [`LauncherClient::end`].
    pub(super) async fn end(&self, limit: Duration) -> Option<ExitStatus> {
        self.client.end(limit).await
    }
}
