//! What the zygote and the keeper share: a single-threaded process with children that takes orders from the
//! front over one socket. Knows signals, process groups and exits, but not what a child does.

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

use serde::{Deserialize, Serialize};

use crate::process;

/// How an app is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// SIGTERM to its main process only: its children are the app's business.
    Terminate,
    /// SIGINT to all its processes, like Ctrl-C in a terminal.
    Interrupt,
    /// SIGHUP to all its processes, like a closing terminal.
    HangUp,
}

/// How long the fork of a child that exited with 0 may take to leave the child's group.
const DAEMON_LEAVE_TIME_MAX: Duration = Duration::from_millis(500);

/// How often to check whether it has left.
const DAEMON_LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// A process that starts others and reaps them.
#[derive(Debug)]
pub struct Parent {
    /// The socket to the front.
    pub control: OwnedFd,
    /// Readable once a child has ended.
    pub signals: SignalFd,
    /// The previous signal mask, for the children.
    pub original_mask: SigSet,
}

impl Parent {
    /// Makes the calling process a parent. Takes the front's socket from standard input, which becomes
    /// /dev/null.
    ///
    /// Children get the front's terminal only with `at_terminal`. Otherwise they have none: asking for one is
    /// an error then, while a background process that reads one would be stopped without a reason given.
    ///
    /// # Errors
    /// The system refuses a descriptor, or standard input is closed.
    pub fn start(at_terminal: bool) -> io::Result<Self> {
        prctl::set_child_subreaper(true)?;
        // Its own group in any case: Ctrl-C in the terminal is for the front, which then ends us.
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

    /// Takes the pending signals, so that only new ones make the descriptor readable.
    ///
    /// # Errors
    /// The descriptor cannot be read.
    pub fn drain_signals(&self) -> io::Result<()> {
        while self.signals.read_signal()?.is_some() {}
        Ok(())
    }
}

/// Makes the standard library fork instead of calling `posix_spawn`, which leaves two of the C library's
/// signals ignored in the child and its descendants.
pub fn start_by_fork(command: &mut Command) {
    // SAFETY: the closure does nothing, which is allowed between fork and exec.
    unsafe { command.pre_exec(|| Ok(())) };
}

/// Has the kernel signal the child when the thread that starts it ends.
pub fn end_with_parent(command: &mut Command, signal: Signal) {
    let parent = nix::unistd::getpid();
    // SAFETY: the closure only makes system calls, which is allowed between fork and exec.
    unsafe {
        command.pre_exec(move || {
            prctl::set_pdeathsig(signal)?;
            // The parent may have died before `set_pdeathsig`.
            if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH.into()) }
        });
    }
}

/// An ended child, with either an exit code or a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its pid, which may be reused from now on.
    pub pid: Pid,
    /// The exit code, if it exited.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

/// Reaps an ended child, adopted ones included. Returns `None` if there is none.
///
/// # Errors
/// `waitpid` fails, other than for a lack of children.
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

/// Asks a child to end. Must not be reaped yet.
pub fn ask(child: Pid, how: Ask) {
    let _ = match how {
        Ask::Terminate => kill(child, Signal::SIGTERM),
        Ask::Interrupt => killpg(child, Signal::SIGINT),
        Ask::HangUp => killpg(child, Signal::SIGHUP),
    };
}

/// Kills a child and its group. Must not be reaped yet.
pub fn kill_group(child: Pid) {
    let _ = killpg(child, Signal::SIGKILL);
    // Its group may not exist yet.
    let _ = kill(child, Signal::SIGKILL);
}

/// Kills what is left of a reaped child's group. A child that exited with 0 may have been a daemon's first
/// half, so its fork gets a moment to leave the group.
pub fn kill_rest_of_group(ended: Ended) {
    if ended.code == Some(0) {
        let begun = Instant::now();
        while killpg(ended.pid, None).is_ok() && begun.elapsed() < DAEMON_LEAVE_TIME_MAX {
            std::thread::sleep(DAEMON_LOOK_INTERVAL);
        }
    }
    let _ = killpg(ended.pid, Signal::SIGKILL);
}
