//! The zygote process: one thread, one loop, from exec to exit.
//!
//! It preloads, forks workers when told, kills them when told, reaps every child and reports each end. It knows
//! nothing of HTTP, builds or generations beyond their numbers. When the front is gone, so is everything here.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid, fork, getppid, setpgid};

use super::control::{
    self, Command, Entry, ROLE_FORKS_AT_TERMINAL, ROLE_ONE_PROCESS, Report, TUNABLES_VARIABLE,
    USER_TUNABLES_VARIABLE, ZYGOTE_VARIABLE,
};
use super::preload::preload;
use crate::worker::{self, Libraries};
use devhost_link::LinkFds;
use devhost_sys::parent::{self, Parent};
use devhost_sys::process::{self, micros_since};

/// The zygote's name in lists of processes.
const PROCESS_NAME: &CStr = c"devhost-zygote";

/// True in a process that was started as a zygote.
pub fn is_requested() -> bool {
    std::env::var_os(ZYGOTE_VARIABLE).is_some()
}

/// Runs the zygote until the front is gone. Must be called first thing in `main`, with one thread.
pub fn run() -> u8 {
    let role = std::env::var_os(ZYGOTE_VARIABLE).unwrap_or_default();
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
    // It cannot fail with a valid name.
    let _ = prctl::set_name(PROCESS_NAME);
    let result = if role == ROLE_ONE_PROCESS {
        super::one_process::run()
    } else {
        Zygote::start(role == ROLE_FORKS_AT_TERMINAL).and_then(Zygote::serve)
    };
    match result {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("devhost zygote: {error}");
            1
        }
    }
}

struct Zygote {
    parent: Parent,
    workers: HashSet<Pid>,
}

impl Zygote {
    fn start(at_terminal: bool) -> io::Result<Self> {
        // While it preloads it cannot watch the control socket, so the kernel watches the front for it. After
        // that the hang-up does, which leaves time to end the workers and what they have started.
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        Ok(Self { parent: Parent::start(at_terminal)?, workers: HashSet::new() })
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
                let begun = Instant::now();
                let report = match preload(&libraries) {
                    Ok(()) => Report::Preloaded { micros: micros_since(begun) },
                    Err(error) => Report::PreloadFailed { library: error.library, message: error.message },
                };
                prctl::set_pdeathsig(None)?;
                self.report(&report)
            }
            Command::Fork { generation, artifact, libraries, entry, variables, has_stdin, earlier } => {
                let code = Libraries { before: &libraries, artifact: &artifact };
                let forked = Given::new(entry, has_stdin, fds)
                    .and_then(|given| self.fork(generation, code, &variables, earlier.as_deref(), given));
                let report = match forked {
                    Ok((pid, micros)) => Report::Forked { generation, pid: pid.as_raw(), micros },
                    Err(message) => Report::ForkFailed { generation, message },
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
            Command::Kill { pid } => {
                let pid = Pid::from_raw(pid);
                if self.workers.contains(&pid) {
                    parent::kill_group(pid);
                }
                Ok(())
            }
        }
    }

    fn fork(
        &mut self,
        generation: u64,
        code: Libraries<'_>,
        variables: &[(String, String)],
        earlier: Option<&str>,
        given: Given,
    ) -> Result<(Pid, u64), String> {
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
                if let Err(error) = self.become_worker(zygote, &given) {
                    eprintln!("devhost worker: {error}");
                    process::exit_untouched(1);
                }
                set_process_name();
                set_variables(variables);
                let Given { part, control, output, .. } = given;
                // The mapping stays.
                worker::interpose::keep_output(&output);
                drop(output);
                worker::stack::watch();
                match part {
                    Part::Plugin(link) => worker::run(generation, code, link, control),
                    Part::Plain { wanted_port } => worker::plain::run(code, wanted_port, earlier, control),
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
    fn become_worker(&self, zygote: Pid, given: &Given) -> io::Result<()> {
        setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        if getppid() != zygote {
            // The zygote died before the line above.
            process::exit_untouched(1);
        }
        // Of the handlers only two are not the default: SIGPIPE is ignored, as in any Rust program, and a stack overflow
        // is told (`worker::stack`).
        self.parent.original_mask.thread_set_mask()?;
        if let Some(stdin) = &given.stdin {
            nix::unistd::dup2_stdin(stdin)?;
        }
        process::close_all_except(&given.fds_kept())
    }

    fn reap(&mut self) -> io::Result<()> {
        while let Some(ended) = parent::reap()? {
            let parent::Ended { pid, code, signal } = ended;
            // Whatever else is reaped here was adopted: an orphan that some generation left behind.
            if self.workers.remove(&pid) {
                parent::kill_rest_of_group(ended);
                self.report(&Report::Exited { pid: pid.as_raw(), code, signal })?;
            }
        }
        Ok(())
    }

    fn end_everything(&mut self) {
        for worker in self.workers.drain() {
            parent::kill_group(worker);
        }
        process::end_children();
    }

    fn report(&self, report: &Report) -> io::Result<()> {
        control::report(self.parent.control.as_fd(), report)
    }
}

/// What a worker is given.
pub(super) struct Given {
    pub part: Part,
    pub control: OwnedFd,
    /// Memory for the last of its output.
    pub output: OwnedFd,
    pub stdin: Option<OwnedFd>,
}

/// What depends on the kind of its app.
pub(super) enum Part {
    Plugin(LinkFds),
    Plain { wanted_port: u16 },
}

impl Given {
    pub(super) fn new(entry: Entry, has_stdin: bool, mut fds: Vec<OwnedFd>) -> Result<Self, String> {
        fn exactly<const COUNT: usize>(fds: Vec<OwnedFd>) -> Result<[OwnedFd; COUNT], String> {
            fds.try_into().map_err(|fds: Vec<_>| format!("{} descriptors came, not {COUNT}", fds.len()))
        }
        let stdin = if has_stdin { fds.pop() } else { None };
        match entry {
            Entry::Plugin => {
                let [down, up, front_event, worker_event, control, output] = exactly(fds)?;
                let part = Part::Plugin(LinkFds { down, up, front_event, worker_event });
                Ok(Self { part, control, output, stdin })
            }
            Entry::Plain { wanted_port } => {
                let [control, output] = exactly(fds)?;
                Ok(Self { part: Part::Plain { wanted_port }, control, output, stdin })
            }
        }
    }

    /// What is to stay open in the worker; standard input has its own place by then.
    fn fds_kept(&self) -> Vec<RawFd> {
        let mut fds = vec![&self.control, &self.output];
        if let Part::Plugin(LinkFds { down, up, front_event, worker_event }) = &self.part {
            fds.extend([down, up, front_event, worker_event]);
        }
        fds.into_iter().map(AsRawFd::as_raw_fd).collect()
    }
}

/// A worker is named after its app, as the app's own executable would be.
pub(super) fn set_process_name() {
    let name = std::env::args_os().next().unwrap_or_default();
    if let Ok(name) = CString::new(name.as_encoded_bytes()) {
        // The kernel cuts what is too long.
        let _ = prctl::set_name(&name);
    }
}

pub(super) fn set_variables(variables: &[(String, String)]) {
    for (name, value) in variables {
        if std::env::var_os(name).is_none() {
            // SAFETY: this process has one thread still, so nobody reads the environment meanwhile.
            unsafe { std::env::set_var(name, value) };
        }
    }
}
