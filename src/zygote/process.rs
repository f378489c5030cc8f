//! The zygote process: one thread, one loop, from exec to exit.
//!
//! It preloads, forks workers when told, kills them when told, reaps every child and reports each end. It knows
//! nothing of HTTP, builds or generations beyond their numbers. When the front is gone, so is everything here.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getppid, setpgid};

use super::control::{
    self, Command, Entry, Report, TUNABLES_VARIABLE, USER_TUNABLES_VARIABLE, ZYGOTE_VARIABLE,
};
use super::preload::preload;
use crate::shm::LinkFds;
use crate::sys::process;
use crate::worker;

/// The zygote's name in lists of processes.
const PROCESS_NAME: &CStr = c"devhost-zygote";

/// Variables that hand listening sockets to a process. They were meant for devhost's parent or for devhost; the
/// descriptors that they count are not there in a worker, and others may be.
const INHERITANCE_VARIABLES: &[&str] = &["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_FDS_FIRST_FD"];

/// True in a process that was started as a zygote.
pub fn is_requested() -> bool {
    std::env::var_os(ZYGOTE_VARIABLE).is_some()
}

/// Runs the zygote until the front is gone. Must be called first thing in `main`, with one thread.
pub fn run() -> u8 {
    // SAFETY: the process has one thread, so nobody reads the environment meanwhile.
    unsafe { std::env::remove_var(ZYGOTE_VARIABLE) };
    // The C library has read it, and the app is to find what the user has set.
    match std::env::var_os(USER_TUNABLES_VARIABLE) {
        // SAFETY: as above.
        Some(own) => unsafe {
            std::env::set_var(TUNABLES_VARIABLE, own);
            std::env::remove_var(USER_TUNABLES_VARIABLE);
        },
        // SAFETY: as above.
        None => unsafe { std::env::remove_var(TUNABLES_VARIABLE) },
    }
    for variable in INHERITANCE_VARIABLES {
        // SAFETY: as above.
        unsafe { std::env::remove_var(variable) };
    }
    // It cannot fail with a valid name.
    let _ = prctl::set_name(PROCESS_NAME);
    let result = Zygote::start().and_then(Zygote::serve);
    match result {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("devhost zygote: {error}");
            1
        }
    }
}

struct Zygote {
    control: OwnedFd,
    signals: SignalFd,
    original_mask: SigSet,
    workers: HashSet<Pid>,
}

impl Zygote {
    fn start() -> io::Result<Self> {
        // While it preloads it cannot watch the control socket, so the kernel watches the front for it. After
        // that the hang-up does, which leaves time to end the workers and what they have started.
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        prctl::set_child_subreaper(true)?;
        // A group of its own: Ctrl-C in the terminal is for the front, which then ends us in order.
        setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
        let control = process::take_standard_input()?;
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        let original_mask = mask.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { control, signals, original_mask, workers: HashSet::new() })
    }

    fn serve(mut self) -> io::Result<()> {
        loop {
            let (commanded, child_ended) = {
                let mut fds = [
                    PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
                    PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
                ];
                match poll(&mut fds, PollTimeout::NONE) {
                    Ok(_) => {}
                    Err(Errno::EINTR) => continue,
                    Err(error) => return Err(error.into()),
                }
                (fds[0].any().unwrap_or(false), fds[1].any().unwrap_or(false))
            };
            if child_ended {
                while self.signals.read_signal()?.is_some() {}
                self.reap()?;
            }
            if commanded {
                match control::receive::<Command>(self.control.as_fd())? {
                    Some((command, fds)) => self.obey(command, fds)?,
                    None => break,
                }
            }
        }
        self.end_everything();
        Ok(())
    }

    fn obey(&mut self, command: Command, fds: Vec<OwnedFd>) -> io::Result<()> {
        match command {
            Command::Preload { libraries } => {
                let begun = Instant::now();
                let report = match preload(&libraries) {
                    Ok(()) => Report::Preloaded { micros: micros_since(begun) },
                    Err(error) => Report::PreloadFailed { library: error.library, message: error.message },
                };
                prctl::set_pdeathsig(None)?;
                self.report(&report)
            }
            Command::Fork { generation, artifact, entry, variables } => {
                let report = match self.fork(generation, &artifact, entry, &variables, fds) {
                    Ok((pid, micros)) => Report::Forked { generation, pid: pid.as_raw(), micros },
                    Err(message) => Report::ForkFailed { generation, message },
                };
                self.report(&report)
            }
            Command::Terminate { pid } => {
                let pid = Pid::from_raw(pid);
                if self.workers.contains(&pid) {
                    // The app alone: what it has started is its own to end, and killed with it in any case.
                    let _ = kill(pid, Signal::SIGTERM);
                }
                Ok(())
            }
            Command::Kill { pid } => {
                let pid = Pid::from_raw(pid);
                if self.workers.contains(&pid) {
                    // Not reaped yet, so the pid is still its own.
                    let _ = killpg(pid, Signal::SIGKILL);
                    let _ = kill(pid, Signal::SIGKILL);
                }
                Ok(())
            }
        }
    }

    fn fork(
        &mut self,
        generation: u64,
        artifact: &Path,
        entry: Entry,
        variables: &[(String, String)],
        fds: Vec<OwnedFd>,
    ) -> Result<(Pid, u64), String> {
        let part = Part::new(entry, fds)?;
        match process::count_threads() {
            Ok(1) => {}
            Ok(count) => return Err(format!("the zygote has {count} threads and must not fork")),
            Err(error) => return Err(format!("cannot count the zygote's threads: {error}")),
        }
        let zygote = nix::unistd::getpid();
        let begun = Instant::now();
        // SAFETY: this process has one thread, as was just proven, so no lock can be held by another one.
        match unsafe { fork() } {
            Ok(ForkResult::Parent { child }) => {
                let micros = micros_since(begun);
                // Also done by the child: whoever comes first, a kill of the group works from now on.
                let _ = setpgid(child, child);
                self.workers.insert(child);
                Ok((child, micros))
            }
            Ok(ForkResult::Child) => {
                if let Err(error) = self.become_worker(zygote, &part.fds()) {
                    eprintln!("devhost worker: {error}");
                    process::exit_untouched(1);
                }
                set_process_name();
                set_variables(variables);
                match part {
                    Part::Plugin { link, control } => worker::run(generation, artifact, link, control),
                    Part::Plain { wanted_port, control } => {
                        worker::plain::run(artifact, wanted_port, control)
                    }
                }
            }
            Err(Errno::EAGAIN) => {
                Err("fork was refused: the limit of processes is reached (ulimit -u)".into())
            }
            Err(Errno::ENOMEM) => Err("fork was refused: no memory is left".into()),
            Err(error) => Err(format!("fork was refused: {error}")),
        }
    }

    /// What a forked child does first: it becomes a process of its own and drops what was the zygote's.
    fn become_worker(&self, zygote: Pid, keep: &[RawFd]) -> io::Result<()> {
        setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        if getppid() != zygote {
            // The zygote died before the line above.
            process::exit_untouched(1);
        }
        // Of the handlers only SIGPIPE is not the default: ignored, as in any Rust program.
        self.original_mask.thread_set_mask()?;
        process::close_all_except(keep)
    }

    fn reap(&mut self) -> io::Result<()> {
        loop {
            let (pid, code, signal) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Some(code), None),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, None, Some(signal as i32)),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            // Whatever else is reaped here was adopted: an orphan that some generation left behind.
            if self.workers.remove(&pid) {
                let _ = killpg(pid, Signal::SIGKILL);
                self.report(&Report::Exited { pid: pid.as_raw(), code, signal })?;
            }
        }
    }

    fn end_everything(&mut self) {
        for worker in self.workers.drain() {
            let _ = killpg(worker, Signal::SIGKILL);
            let _ = kill(worker, Signal::SIGKILL);
        }
        process::end_children();
    }

    fn report(&self, report: &Report) -> io::Result<()> {
        match control::send(self.control.as_fd(), report, &[]) {
            // The front is gone: the loop sees the hang-up next.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }
}

/// What a worker is given, by the kind of its app.
enum Part {
    Plugin { link: LinkFds, control: OwnedFd },
    Plain { wanted_port: u16, control: OwnedFd },
}

impl Part {
    fn new(entry: Entry, fds: Vec<OwnedFd>) -> Result<Self, String> {
        fn exactly<const COUNT: usize>(fds: Vec<OwnedFd>) -> Result<[OwnedFd; COUNT], String> {
            fds.try_into().map_err(|fds: Vec<_>| format!("{} descriptors came, not {COUNT}", fds.len()))
        }
        match entry {
            Entry::Plugin => {
                let [down, up, front_event, worker_event, control] = exactly(fds)?;
                Ok(Self::Plugin { link: LinkFds { down, up, front_event, worker_event }, control })
            }
            Entry::Plain { wanted_port } => {
                let [control] = exactly(fds)?;
                Ok(Self::Plain { wanted_port, control })
            }
        }
    }

    fn fds(&self) -> Vec<RawFd> {
        let fds = match self {
            Self::Plugin { link, control } => {
                vec![&link.down, &link.up, &link.front_event, &link.worker_event, control]
            }
            Self::Plain { control, .. } => vec![control],
        };
        fds.into_iter().map(AsRawFd::as_raw_fd).collect()
    }
}

/// A worker is named after its app, as the app's own executable would be.
fn set_process_name() {
    let name = std::env::args_os().next().unwrap_or_default();
    if let Ok(name) = CString::new(name.as_encoded_bytes()) {
        // The kernel cuts what is too long.
        let _ = prctl::set_name(&name);
    }
}

fn set_variables(variables: &[(String, String)]) {
    for (name, value) in variables {
        if std::env::var_os(name).is_none() {
            // SAFETY: this process has one thread still, so nobody reads the environment meanwhile.
            unsafe { std::env::set_var(name, value) };
        }
    }
}

fn micros_since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)
}
