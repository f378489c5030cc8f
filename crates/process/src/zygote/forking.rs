//! The forking zygote: one thread, one loop, from exec to exit.
//!
//! It knows nothing of HTTP or builds, and generations only by number. It waits without a timeout for a
//! command or a child's end. Once the front is gone, it ends everything.
#![expect(clippy::print_stderr, reason = "a child that cannot become a worker has only standard error")]

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use devhost_sys::keyboard::TerminalChange;
use devhost_sys::parent::{self, Parent};
use devhost_sys::process::{self, micros_since};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid, fork, getppid, setpgid};

use super::app_process::{set_process_name, set_variables};
use super::preload::preload_and_report;
use crate::control::{self, Command, Report, WorkerSpec};
use crate::handover::{HandedApp, Handover, HandoverError};
use crate::worker::{self, Code};

pub(super) fn run(at_terminal: bool) -> io::Result<()> {
    Zygote::start(at_terminal)?.serve()
}

#[derive(Debug, thiserror::Error)]
enum ForkError {
    #[error(transparent)]
    Handover(#[from] HandoverError),
    #[error("the zygote has {0} threads and must not fork")]
    Threads(usize),
    #[error("cannot count the zygote's threads: {0}")]
    CountThreads(#[source] io::Error),
    #[error("fork was refused: the limit of processes is reached (ulimit -u)")]
    ProcessLimit,
    #[error("fork was refused: no memory is left")]
    NoMemory,
    #[error("fork was refused: {0}")]
    Refused(#[source] Errno),
}

impl From<Errno> for ForkError {
    fn from(error: Errno) -> Self {
        match error {
            Errno::EAGAIN => Self::ProcessLimit,
            Errno::ENOMEM => Self::NoMemory,
            error => Self::Refused(error),
        }
    }
}

struct Zygote {
    parent: Parent,
    terminal: Option<TerminalChange>,
    workers: HashSet<Pid>,
}

impl Zygote {
    fn start(at_terminal: bool) -> io::Result<Self> {
        // While preloading it cannot watch the control socket, so the kernel kills it with the front. After
        // that it sees the hang-up, which leaves it time to end the workers and their process groups.
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        Ok(Self { parent: Parent::start(at_terminal)?, terminal: None, workers: HashSet::new() })
    }

    fn serve(mut self) -> io::Result<()> {
        loop {
            let (commanded, child_ended) = {
                let mut fds = [
                    PollFd::new(self.parent.control.as_fd(), PollFlags::POLLIN),
                    PollFd::new(self.parent.signals.as_fd(), PollFlags::POLLIN),
                ];
                match poll(&mut fds, PollTimeout::NONE) {
                    Ok(_) => {}
                    Err(Errno::EINTR) => continue,
                    Err(error) => return Err(error.into()),
                }
                (fds[0].any().unwrap_or(false), fds[1].any().unwrap_or(false))
            };
            if child_ended {
                self.parent.drain_signals()?;
                self.reap()?;
            }
            if commanded {
                match control::receive::<Command>(self.parent.control.as_fd())? {
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
                let report = preload_and_report(&libraries);
                prctl::set_pdeathsig(None)?;
                self.report(&report)
            }
            Command::Fork(spec) => {
                let generation = spec.generation;
                let report = match self.fork(&spec, fds) {
                    Ok((pid, micros)) => Report::Forked { generation, pid: pid.as_raw(), micros },
                    Err(error) => Report::ForkFailed { generation, message: error.to_string() },
                };
                self.report(&report)
            }
            Command::Signal { pid, how } => {
                let pid = Pid::from_raw(pid);
                if self.workers.contains(&pid) {
                    parent::ask(pid, how);
                }
                Ok(())
            }
            Command::Terminal { changed } => {
                self.terminal = changed;
                Ok(())
            }
            Command::Kill { pid } => {
                let pid = Pid::from_raw(pid);
                if self.workers.contains(&pid) {
                    parent::kill_group(pid);
                }
                Ok(())
            }
        }
    }

    /// Forks a worker; returns its pid and how long that took, in microseconds.
    fn fork(&mut self, spec: &WorkerSpec, fds: Vec<OwnedFd>) -> Result<(Pid, u64), ForkError> {
        let handover = Handover::new(spec.entry, spec.has_stdin, fds)?;
        match process::count_threads() {
            Ok(1) => {}
            Ok(count) => return Err(ForkError::Threads(count)),
            Err(error) => return Err(ForkError::CountThreads(error)),
        }
        let zygote = nix::unistd::getpid();
        let begun = Instant::now();
        // SAFETY: this process is single-threaded, as was just checked, so no other thread can hold a lock.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => {
                let micros = micros_since(begun);
                // The child does so, too: whichever is first, the group can be killed from now on.
                let _ = setpgid(child, child);
                self.workers.insert(child);
                Ok((child, micros))
            }
            ForkResult::Child => self.work(zygote, spec, handover),
        }
    }

    fn work(&self, zygote: Pid, spec: &WorkerSpec, handover: Handover) -> ! {
        if let Err(error) = self.become_worker(zygote, &handover) {
            eprintln!("devhost worker: {error}");
            process::exit_untouched(1);
        }
        set_process_name();
        set_variables(&spec.variables);
        let code = Code { before: &spec.libraries, artifact: &spec.artifact };
        let Handover { app, control, output, trail, .. } = handover;
        // The mapping stays.
        worker::keep_output(&output);
        drop(output);
        worker::watch_stacks();
        // Just before the app's code is loaded: what its constructors read counts.
        worker::observe(&trail);
        drop(trail);
        match app {
            HandedApp::Plugin(link) => worker::run_plugin(spec.generation, code, link, control),
            HandedApp::Plain { wanted_port } => {
                worker::run_plain(code, wanted_port, spec.earlier.as_deref(), control)
            }
        }
    }

    /// Makes a forked child a process of its own, and drops what was the zygote's.
    fn become_worker(&self, zygote: Pid, handover: &Handover) -> io::Result<()> {
        setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        if getppid() != zygote {
            // The zygote died before `set_pdeathsig`.
            process::exit_untouched(1);
        }
        // Only two handlers are not the default: SIGPIPE is ignored, as in any Rust program, and stack
        // overflows are reported (`worker/stack.rs`).
        self.parent.original_mask.thread_set_mask()?;
        if let Some(stdin) = &handover.stdin {
            nix::unistd::dup2_stdin(stdin)?;
        }
        process::close_all_except(&handover.fds_kept())
    }

    fn reap(&mut self) -> io::Result<()> {
        while let Some(ended) = parent::reap()? {
            let parent::Ended { pid, code, signal } = ended;
            // Anything else is an adopted orphan of some generation.
            if self.workers.remove(&pid) {
                parent::kill_rest_of_group(ended);
                self.report(&Report::Exited { pid: pid.as_raw(), code, signal })?;
            }
        }
        Ok(())
    }

    fn end_everything(&mut self) {
        if let Some(changed) = self.terminal.take() {
            changed.undo(io::stdout().as_fd());
        }
        for worker in self.workers.drain() {
            parent::kill_group(worker);
        }
        process::end_children();
    }

    fn report(&self, report: &Report) -> io::Result<()> {
        control::report(self.parent.control.as_fd(), report)
    }
}
