//! What the zygote and the keeper have in common: a process with one thread that is told by the front over one socket,
//! and that has children. Knows signals, process groups and ends of children; not what a child does.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getppid, setpgid, setsid};

use super::process;
use serde::{Deserialize, Serialize};

/// How an app is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// SIGTERM to its process alone: what it has started is its own to end.
    Terminate,
    /// SIGINT to all its processes, as Ctrl-C in a terminal sends it.
    Interrupt,
    /// SIGHUP to all its processes, as a terminal that closes sends it.
    HangUp,
}

/// How long the copy of a child that has ended well may take to leave the child's group.
const DAEMON_LEAVE_TIME_MAX: Duration = Duration::from_millis(500);

/// The time between two looks whether it has.
const DAEMON_LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// The front's socket, and what tells of children.
#[derive(Debug)]
pub struct Parent {
    /// The socket to the front.
    pub control: OwnedFd,
    /// Readable once a child has ended.
    pub signals: SignalFd,
    /// What was blocked before; a child's mask.
    pub original_mask: SigSet,
}

impl Parent {
    /// Makes the calling process a parent; its standard input is the socket to the front, and becomes /dev/null.
    ///
    /// Its children have the front's terminal, or none: a process that reads a terminal in whose foreground it is not would be
    /// stopped, and nobody would know why, where without a terminal it finds an error.
    ///
    /// # Errors
    /// The system refuses a descriptor, or standard input is closed.
    pub fn start(at_terminal: bool) -> io::Result<Self> {
        prctl::set_child_subreaper(true)?;
        // A group of its own in any case: Ctrl-C in the terminal is for the front, which then ends us in order.
        if at_terminal {
            setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
        } else {
            setsid()?;
        }
        let control = process::take_standard_input()?;
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        let original_mask = mask.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { control, signals, original_mask })
    }

    /// Takes the signals that have come, so that the descriptor is readable again only for new ones.
    ///
    /// # Errors
    /// The descriptor cannot be read.
    pub fn drain_signals(&self) -> io::Result<()> {
        while self.signals.read_signal()?.is_some() {}
        Ok(())
    }
}

/// Has the child forked, where the standard library would ask the C library to spawn it: that leaves two signals of its own
/// ignored in the child, and in all that come from it.
pub fn start_by_fork(command: &mut Command) {
    // SAFETY: the closure does nothing, which is allowed between fork and exec.
    unsafe { command.pre_exec(|| Ok(())) };
}

/// Has the kernel send a child the signal when the thread that starts it is gone.
pub fn end_with_parent(command: &mut Command, signal: Signal) {
    let parent = nix::unistd::getpid();
    // SAFETY: the closure makes system calls and nothing else, as is allowed between fork and exec.
    unsafe {
        command.pre_exec(move || {
            prctl::set_pdeathsig(signal)?;
            // The parent may have died before the line above.
            if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH.into()) }
        });
    }
}

/// A child that has ended, and how: one of the two is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its pid, which may be another process's from now on.
    pub pid: Pid,
    /// The exit code, where it exited.
    pub code: Option<i32>,
    /// The signal, where one ended it.
    pub signal: Option<i32>,
}

/// Reaps one child that has ended, adopted ones too; `None` once there is none.
///
/// # Errors
/// The kernel refuses to tell.
pub fn reap() -> io::Result<Option<Ended>> {
    loop {
        return match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => Ok(Some(Ended { pid, code: Some(code), signal: None })),
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                Ok(Some(Ended { pid, code: None, signal: Some(signal as i32) }))
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => Ok(None),
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(error) => Err(error.into()),
        };
    }
}

/// Asks a child that is not reaped yet to end.
pub fn ask(child: Pid, how: Ask) {
    let _ = match how {
        Ask::Terminate => kill(child, Signal::SIGTERM),
        Ask::Interrupt => killpg(child, Signal::SIGINT),
        Ask::HangUp => killpg(child, Signal::SIGHUP),
    };
}

/// Kills a child that is not reaped yet, and its group with it.
pub fn kill_group(child: Pid) {
    let _ = killpg(child, Signal::SIGKILL);
    // It may not have come to making its group.
    let _ = kill(child, Signal::SIGKILL);
}

/// Kills what is left of the group of a child that was reaped. One that ended well may have been the first half of a
/// daemon: its copy gets a moment to leave the group, which is how it is known for one.
pub fn kill_rest_of_group(ended: Ended) {
    if ended.code == Some(0) {
        let begun = Instant::now();
        while killpg(ended.pid, None).is_ok() && begun.elapsed() < DAEMON_LEAVE_TIME_MAX {
            std::thread::sleep(DAEMON_LOOK_INTERVAL);
        }
    }
    let _ = killpg(ended.pid, Signal::SIGKILL);
}
