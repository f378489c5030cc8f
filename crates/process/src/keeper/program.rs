//! A program run by the keeper: how it is started, and what the keeper says for it.
//!
//! Only these cross its exec: its standard streams, the interposer's report socket, and the memory for the
//! tail of its output and for what it does in the file system.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use devhost_sys::process::{self, micros_since};
use devhost_sys::{program, seqpacket};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, getpid, getppid};

use crate::control::{self, WorkerReport, WorkerSpec};
use crate::handover::{HandedApp, Handover, HandoverError};
use crate::worker::{
    EARLIER_VARIABLE, FD_VARIABLE, INTERPOSER_SO, LD_PRELOAD_VARIABLE, OUTPUT_VARIABLE, PORT_VARIABLE,
    TRAIL_VARIABLE,
};

/// How long to retry a program that was just written and is busy: until it execs, a process being started
/// elsewhere holds a copy of the descriptor that the program was written through.
const BUSY_TIME_MAX: Duration = Duration::from_secs(2);
const BUSY_POLL_INTERVAL: Duration = Duration::from_millis(5);

#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Handover(#[from] HandoverError),
    #[error("a program has no link")]
    PluginApp,
    #[error("cannot make a socket for a program: {0}")]
    Socket(#[source] io::Error),
    #[error("the limit of processes is reached (ulimit -u)")]
    ProcessLimit,
    #[error("cannot run {}: {error}", program.display())]
    Refused { program: PathBuf, error: io::Error },
}

pub(super) struct Program {
    /// The socket on which the keeper speaks as the worker.
    pub(super) front: OwnedFd,
    /// The socket of the preloaded library; `None` once it is closed.
    pub(super) reports: Option<OwnedFd>,
    begun: Instant,
    is_static: bool,
    pub(super) wanted_port: u16,
    /// Its listener was found.
    pub(super) listens: bool,
}

impl Program {
    /// Returns true if its listener has to be found from outside.
    pub(super) fn is_looked_for(&self) -> bool {
        self.is_static && !self.listens
    }

    /// Sends the front a report. Best effort: if the front has hung up, the loop sees that.
    pub(super) fn say(&self, report: &WorkerReport) {
        self.say_with(report, &[]);
    }

    /// Like [`Self::say`], with descriptors.
    pub(super) fn say_with(&self, report: &WorkerReport, fds: &[OwnedFd]) {
        let fds: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let _ = control::send(self.front.as_fd(), report, &fds);
    }

    /// Returns its age in microseconds.
    pub(super) fn micros(&self) -> u64 {
        micros_since(self.begun)
    }
}

/// What a keeper starts all its programs with.
pub(super) struct Launch {
    /// The interposer, in an anonymous file.
    library: File,
    pub(super) name: OsString,
    args: Vec<OsString>,
    /// The programs' signal mask.
    mask: SigSet,
}

impl Launch {
    pub(super) fn new(name: OsString, args: Vec<OsString>, mask: SigSet) -> io::Result<Self> {
        let mut library = File::from(memfd_create(c"devhost-preload", MFdFlags::MFD_CLOEXEC)?);
        library.write_all(INTERPOSER_SO)?;
        Ok(Self { library, name, args, mask })
    }

    /// Starts a program; returns its pid and how long that took, in microseconds.
    pub(super) fn start(
        &self,
        spec: &WorkerSpec,
        fds: Vec<OwnedFd>,
    ) -> Result<(Pid, Program, u64), StartError> {
        let handover = Handover::new(spec.entry, spec.has_stdin, fds)?;
        let HandedApp::Plain { wanted_port } = handover.app else { return Err(StartError::PluginApp) };
        let (reports, theirs) = seqpacket::pair().map_err(StartError::Socket)?;
        let begun = Instant::now();
        let child = loop {
            match self.command(spec, wanted_port, &handover, &theirs).spawn() {
                Ok(child) => break child,
                Err(error)
                    if error.kind() == io::ErrorKind::ExecutableFileBusy
                        && begun.elapsed() < BUSY_TIME_MAX =>
                {
                    std::thread::sleep(BUSY_POLL_INTERVAL);
                }
                Err(error) if error.raw_os_error() == Some(Errno::EAGAIN as i32) => {
                    return Err(StartError::ProcessLimit);
                }
                Err(error) => return Err(StartError::Refused { program: spec.artifact.clone(), error }),
            }
        };
        let pid = Pid::from_raw(child.id().cast_signed());
        let is_static = program::is_static(&spec.artifact);
        let front = handover.control;
        let program =
            Program { front, reports: Some(reports), begun, is_static, wanted_port, listens: false };
        Ok((pid, program, micros_since(begun)))
    }

    fn command(
        &self,
        spec: &WorkerSpec,
        wanted_port: u16,
        handover: &Handover,
        reports: &OwnedFd,
    ) -> Command {
        let WorkerSpec { artifact, variables, earlier, .. } = spec;
        let reports = reports.as_raw_fd();
        let (output, trail) = (handover.output.as_raw_fd(), handover.trail.as_raw_fd());
        // If no descriptor is left for the copy, the spawn fails as well.
        let stdin = handover.stdin.as_ref().and_then(|stdin| stdin.try_clone().ok());
        // Opened through the keeper's descriptor, so the program needs none.
        let mut preload = OsString::from(format!("/proc/{}/fd/{}", getpid(), self.library.as_raw_fd()));
        let before = std::env::var_os("LD_PRELOAD").filter(|before| !before.is_empty());
        if let Some(before) = &before {
            preload.push(":");
            preload.push(before);
        }
        let keeper = getpid();
        let mask = self.mask;
        let mut command = Command::new(artifact);
        command
            .arg0(&self.name)
            .args(&self.args)
            .envs(variables.iter().filter(|(name, _)| std::env::var_os(name).is_none()).map(|(n, v)| (n, v)))
            .env("LD_PRELOAD", preload)
            .env(FD_VARIABLE, reports.to_string())
            .env(PORT_VARIABLE, wanted_port.to_string())
            .env(OUTPUT_VARIABLE, output.to_string())
            .env(TRAIL_VARIABLE, trail.to_string())
            .envs(earlier.as_ref().map(|earlier| (EARLIER_VARIABLE, earlier)))
            .envs(before.map(|before| (LD_PRELOAD_VARIABLE, before)))
            .stdin(stdin.map_or_else(Stdio::null, Stdio::from))
            .process_group(0);
        // SAFETY: only plain system calls, fit for the time between fork and exec. The death signal follows
        // the forking thread, the keeper's only one.
        unsafe {
            command.pre_exec(move || {
                prctl::set_pdeathsig(Signal::SIGKILL)?;
                if getppid() != keeper {
                    // The keeper died before `set_pdeathsig`.
                    process::exit_untouched(1);
                }
                process::close_all_on_exec()?;
                keep_over_exec(BorrowedFd::borrow_raw(reports))?;
                keep_over_exec(BorrowedFd::borrow_raw(output))?;
                keep_over_exec(BorrowedFd::borrow_raw(trail))?;
                mask.thread_set_mask()?;
                Ok(())
            });
        }
        command
    }
}

fn keep_over_exec(fd: BorrowedFd<'_>) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}
