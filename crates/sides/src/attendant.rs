//! The attendant: a small process between devhost and one side process that ensures its end. It runs the process in a
//! group and session of its own, without a terminal, reports how it ended, and ends whatever it has left. It adopts
//! orphans, so children that have left the group are found, too. If devhost goes away, however it does, the attendant
//! kills them all and exits. One thread, one loop.
#![expect(clippy::print_stderr, reason = "a program of its own, whose standard error devhost shows")]

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid, pipe2};

use devhost_sys::parent::{self, Ended, Parent, end_with_parent};
use devhost_sys::{limits, process, seqpacket};

use crate::orders::{Order, Report};

/// The `argv[0]` of an attendant.
pub(crate) const NAME: &str = "devhost-attendant";

/// The first argument, if the limit on open files is to stay.
pub(crate) const SAME_LIMIT: &str = "-";

/// The second argument: whether the process's standard input stays open, or is empty.
pub(crate) const STDIN_OPEN: &str = "open";
pub(crate) const STDIN_EMPTY: &str = "empty";

/// How long what a process has left behind may take to end before it is killed.
const REST_END_TIME_MAX: Duration = Duration::from_secs(1);

/// Attends a process until its end, and returns an exit code; `None` if this process is no attendant. Must be called
/// first in `main`.
pub fn dispatch(argv0_file_name: &str) -> Option<u8> {
    (argv0_file_name == NAME).then(|| match attend() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{NAME}: {error}");
            1
        }
    })
}

fn attend() -> io::Result<()> {
    let mut args = std::env::args_os().skip(1);
    let limit = args.next().and_then(|limit| limit.to_str()?.parse().ok());
    let keeps_stdin_open = args.next().is_some_and(|stdin| stdin == STDIN_OPEN);
    let program = args.next().ok_or(ErrorKind::InvalidInput)?;
    let args: Vec<OsString> = args.collect();
    let parent = Parent::start(false)?;
    if let Some(limit) = limit {
        limits::set_descriptors(limit);
    }
    match start(&program, &args, keeps_stdin_open) {
        Ok((pid, stdin)) => {
            report(&parent, &Report::Started { pid: pid.as_raw() })?;
            let attendant = Attendant {
                parent,
                pid,
                _stdin: stdin,
                ended: None,
                is_group_asked: false,
                asked: Vec::new(),
                kills_at: None,
            };
            attendant.serve()
        }
        Err(error) => {
            let program = program.to_string_lossy();
            let message = match error.kind() {
                ErrorKind::NotFound => format!("the command `{program}` was not found"),
                _ => format!("the command `{program}` cannot be run: {error}"),
            };
            report(&parent, &Report::NotStarted { message })
        }
    }
}

/// Starts the process. Returns the other end of its standard input, if that is to stay open.
fn start(program: &OsStr, args: &[OsString], keeps_stdin_open: bool) -> io::Result<(Pid, Option<OwnedFd>)> {
    let mut command = Command::new(program);
    command.args(args).process_group(0);
    let held = if keeps_stdin_open {
        // Many programs that watch files take the end of their input for the wish that they end.
        let (theirs, ours) = pipe2(OFlag::O_CLOEXEC)?;
        command.stdin(theirs);
        Some(ours)
    } else {
        command.stdin(Stdio::null());
        None
    };
    end_with_parent(&mut command, Signal::SIGKILL);
    // Reaped by the loop, together with orphans.
    let child = command.spawn()?;
    Ok((Pid::from_raw(child.id().cast_signed()), held))
}

fn report(parent: &Parent, report: &Report) -> io::Result<()> {
    match seqpacket::send(parent.control.as_fd(), &serde_json::to_vec(report)?, &[]) {
        // devhost is gone, which the loop notices.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

struct Attendant {
    parent: Parent,
    /// The process, and its group.
    pid: Pid,
    _stdin: Option<OwnedFd>,
    /// How the process ended, once it has been reaped.
    ended: Option<Ended>,
    /// Its group has been asked to end.
    is_group_asked: bool,
    /// The orphans outside its group that have been asked to end.
    asked: Vec<Pid>,
    /// When what it has left behind is killed. If devhost has asked for the end, devhost decides.
    kills_at: Option<Instant>,
}

impl Attendant {
    fn serve(mut self) -> io::Result<()> {
        loop {
            let (ordered, child_ended) = self.wait()?;
            if child_ended {
                self.parent.drain_signals()?;
                self.reap()?;
            }
            let is_time_up = self.kills_at.is_some_and(|at| Instant::now() >= at);
            if self.ended.is_some() && (is_time_up || children().is_empty()) {
                break;
            }
            if ordered {
                match seqpacket::receive(self.parent.control.as_fd())? {
                    Some((bytes, _)) => self.obey(serde_json::from_slice(&bytes)?),
                    None => break,
                }
            }
        }
        if self.ended.is_none() {
            parent::kill_group(self.pid);
        }
        process::end_children();
        match self.ended {
            Some(Ended { code, signal, .. }) => report(&self.parent, &Report::Ended { code, signal }),
            None => Ok(()),
        }
    }

    /// Waits for an order or a child's end. Returns which of them it is.
    fn wait(&self) -> io::Result<(bool, bool)> {
        let mut fds = [
            PollFd::new(self.parent.control.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.parent.signals.as_fd(), PollFlags::POLLIN),
        ];
        let left = self.kills_at.map(|at| at.saturating_duration_since(Instant::now()));
        // Rounded up, so that the time is over when the wait is.
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let any = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
        Ok((any(&fds[0]), any(&fds[1])))
    }

    fn reap(&mut self) -> io::Result<()> {
        while let Some(ended) = parent::reap()? {
            if ended.pid == self.pid {
                if !self.is_group_asked {
                    self.kills_at = Some(Instant::now() + REST_END_TIME_MAX);
                }
                self.ended = Some(ended);
            }
        }
        if self.ended.is_some() {
            self.ask_rest();
        }
        Ok(())
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Terminate if self.ended.is_none() => {
                self.is_group_asked = true;
                let _ = killpg(self.pid, Signal::SIGTERM);
            }
            // What is left has been asked.
            Order::Terminate => {}
            Order::Suspend => self.signal(Signal::SIGTSTP),
            Order::Proceed => self.signal(Signal::SIGCONT),
        }
    }

    fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            let _ = killpg(self.pid, signal);
        }
    }

    /// Asks what the process has left behind to end, each once. All of that are children of this process by now, or
    /// descendants of such, so that no id can have been given to anybody else.
    fn ask_rest(&mut self) {
        let is_in_group = |child: &Pid| getpgid(Some(*child)) == Ok(self.pid);
        let (group, others): (Vec<Pid>, Vec<Pid>) = children().into_iter().partition(is_in_group);
        if !group.is_empty() && !self.is_group_asked {
            self.is_group_asked = true;
            let _ = killpg(self.pid, Signal::SIGTERM);
        }
        for child in others {
            if !self.asked.contains(&child) {
                self.asked.push(child);
                let _ = kill(child, Signal::SIGTERM);
            }
        }
    }
}

/// Returns the children of this process, adopted ones included.
fn children() -> Vec<Pid> {
    process::children().unwrap_or_default().into_iter().map(Pid::from_raw).collect()
}
