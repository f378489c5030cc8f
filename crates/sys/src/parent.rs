//! What the zygote and the keeper share: a single-threaded process that takes orders from the front over one socket and has
//! children. Knows signals, process groups and exits; not what a child does.

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
    /// SIGTERM to its process alone: ending what it has started is up to the app.
    Terminate,
    /// SIGINT to all its processes, as Ctrl-C in a terminal.
    Interrupt,
    /// SIGHUP to all its processes, as a terminal that closes.
    HangUp,
}

/// How long the fork of a child that exited with 0 may take to leave the child's group.
const DAEMON_LEAVE_TIME_MAX: Duration = Duration::from_millis(500);

/// How often to check whether it has.
const DAEMON_LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// The socket to the front, and the signals of children.
#[derive(Debug)]
pub struct Parent {
    /// The socket to the front.
    pub control: OwnedFd,
    /// Readable once a child has ended.
    pub signals: SignalFd,
    /// The signal mask from before, for the children.
    pub original_mask: SigSet,
}

impl Parent {
    /// Makes the calling process a parent. Takes the socket to the front from standard input, which becomes /dev/null.
    ///
    /// Its children get the front's terminal only with `at_terminal`: a background process that reads a terminal would be
    /// stopped without a reason given, while without a terminal it gets an error.
    ///
    /// # Errors
    /// The system refuses a descriptor, or standard input is closed.
    pub fn start(at_terminal: bool) -> io::Result<Self> {
        prctl::set_child_subreaper(true)?;
        // A group of its own in any case: Ctrl-C in the terminal is for the front, which then ends us.
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

    /// Takes the pending signals, so that the descriptor becomes readable only for new ones.
    ///
    /// # Errors
    /// The descriptor cannot be read.
    pub fn drain_signals(&self) -> io::Result<()> {
        while self.signals.read_signal()?.is_some() {}
        Ok(())
    }
}

/// Makes the standard library fork instead of calling `posix_spawn`, which leaves two signals of the C library ignored in
/// the child and its descendants.
pub fn start_by_fork(command: &mut Command) {
    // SAFETY: the closure does nothing, which is allowed between fork and exec.
    unsafe { command.pre_exec(|| Ok(())) };
}

/// Has the kernel send the child the signal when the thread that starts it ends.
pub fn end_with_parent(command: &mut Command, signal: Signal) {
    let parent = nix::unistd::getpid();
    // SAFETY: the closure only makes system calls, which is allowed between fork and exec.
    unsafe {
        command.pre_exec(move || {
            prctl::set_pdeathsig(signal)?;
            // The parent may have died before the line above.
            if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH.into()) }
        });
    }
}

/// A child that has ended, with either an exit code or a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its pid, which may be reused from now on.
    pub pid: Pid,
    /// The exit code, if it exited.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

/// Reaps one child that has ended, adopted ones included; `None` if there is none.
///
/// # Errors
/// `waitpid` fails for another reason than a lack of children.
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

/// Asks a child to end. It must not be reaped yet.
pub fn ask(child: Pid, how: Ask) {
    let _ = match how {
        Ask::Terminate => kill(child, Signal::SIGTERM),
        Ask::Interrupt => killpg(child, Signal::SIGINT),
        Ask::HangUp => killpg(child, Signal::SIGHUP),
    };
}

/// Kills a child and its group. It must not be reaped yet.
pub fn kill_group(child: Pid) {
    let _ = killpg(child, Signal::SIGKILL);
    // It may not have made its group yet.
    let _ = kill(child, Signal::SIGKILL);
}

/// Kills what is left of the group of a reaped child. If the child exited with 0, it may have been a daemon's first half: the
/// fork that it left behind gets a moment to leave the group.
pub fn kill_rest_of_group(ended: Ended) {
    if ended.code == Some(0) {
        let begun = Instant::now();
        while killpg(ended.pid, None).is_ok() && begun.elapsed() < DAEMON_LEAVE_TIME_MAX {
            std::thread::sleep(DAEMON_LOOK_INTERVAL);
        }
    }
    let _ = killpg(ended.pid, Signal::SIGKILL);
}
