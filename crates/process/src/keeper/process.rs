//! The keeper process: one thread, one loop, from exec to exit. It starts programs, speaks for them to the front, kills
//! them when unwanted, reaps every child and reports each end. When the front is gone, so is everything here.

use devhost_sys::parent::Ask;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, getppid};
use serde::{Deserialize, Serialize};

use devhost_sys::program;

use super::{AT_TERMINAL, KEEPER_NAME};
use crate::worker::interpose::{
    EARLIER_VARIABLE, FD_VARIABLE, INTERPOSER_SO, LD_PRELOAD_VARIABLE, OUTPUT_VARIABLE, PORT_VARIABLE, Seen,
};
use crate::zygote::control::{self, Listening, Report, WorkerReport};
use devhost_sys::listeners;
use devhost_sys::parent::{self, Parent};
use devhost_sys::process::{self, micros_since};
use devhost_sys::seqpacket;

/// How often the listener of a program that is linked statically is looked for.
const LOOK_TIME_MS: u8 = 25;

/// How long a program that was just written may be busy: a process that is being started elsewhere has a copy of the
/// descriptor that it was written with, until that process has come to its exec.
const BUSY_TIME_MAX: Duration = Duration::from_secs(2);
/// How long to wait between two tries.
const BUSY_POLL_TIME: Duration = Duration::from_millis(5);

/// From the front to the keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Command {
    /// Start a program. Comes with the socket on which the keeper is to speak for it, the memory for the last of its
    /// output, and perhaps its standard input.
    Start {
        /// The generation.
        generation: u64,
        /// The program.
        program: PathBuf,
        /// The port that the app's own listener asks for, where it is known; 0 where the first one is it.
        wanted_port: u16,
        /// Environment variables that it gets besides the keeper's, and that do not replace any of those.
        variables: Vec<(String, String)>,
        /// The last descriptor is its standard input; else that is /dev/null.
        has_stdin: bool,
        /// The files of Unix sockets that earlier generations have made, with commas; nothing if there was none.
        earlier: Option<String>,
    },
    /// Send a program a signal that asks it to end. A pid that is no living program is ignored.
    Signal {
        /// The program.
        pid: i32,
        /// Which signal.
        how: Ask,
    },
    /// Kill a program and what it started. A pid that is no living program is ignored.
    Kill {
        /// The program.
        pid: i32,
    },
}

/// Runs the keeper until the front is gone, if the process was called as one. To be called first in `main`.
pub fn dispatch(argv0_file_name: &str) -> Option<u8> {
    (argv0_file_name == KEEPER_NAME).then(|| match Keeper::start().and_then(Keeper::serve) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{KEEPER_NAME}: {error}");
            1
        }
    })
}

/// A program that runs.
struct Program {
    /// Where the front takes what is said for the word of a worker.
    front: OwnedFd,
    /// What the preloaded library says; nothing where it is not there any more.
    reports: Option<OwnedFd>,
    begun: Instant,
    is_static: bool,
    wanted_port: u16,
    /// It was found where it listens.
    listens: bool,
}

impl Program {
    /// Whether its listener has to be looked for from outside.
    fn is_looked_for(&self) -> bool {
        self.is_static && !self.listens
    }

    /// Tells the front. One that does not listen any more hangs up, which the loop sees.
    fn say(&self, report: &WorkerReport) {
        self.say_with(report, &[]);
    }

    fn say_with(&self, report: &WorkerReport, fds: &[OwnedFd]) {
        let fds: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let _ = control::send(self.front.as_fd(), report, &fds);
    }

    fn micros(&self) -> u64 {
        micros_since(self.begun)
    }
}

struct Keeper {
    parent: Parent,
    /// The library for preloading, in a file without a name.
    library: File,
    name: OsString,
    args: Vec<OsString>,
    programs: HashMap<Pid, Program>,
}

impl Keeper {
    fn start() -> io::Result<Self> {
        let mut args = std::env::args_os().skip(1);
        let parent = Parent::start(args.next().is_some_and(|place| place == AT_TERMINAL))?;
        let mut library = File::from(memfd_create(c"devhost-preload", MFdFlags::MFD_CLOEXEC)?);
        library.write_all(INTERPOSER_SO)?;
        let name = args.next().unwrap_or_else(|| "app".into());
        let keeper = Self { parent, library, name, args: args.collect(), programs: HashMap::new() };
        // The counterpart of a zygote that is ready to fork.
        keeper.report(&Report::Preloaded { micros: 0 })?;
        Ok(keeper)
    }

    fn serve(mut self) -> io::Result<()> {
        loop {
            let Arrived { control, child_ended, spoken, unwanted } = self.wait()?;
            if child_ended {
                self.parent.drain_signals()?;
            }
            // First what programs have said, then that they have ended.
            for pid in spoken {
                self.hear(pid);
            }
            if child_ended {
                self.reap()?;
            }
            for pid in unwanted {
                self.hung_up(pid);
            }
            self.look_for_listeners();
            if control {
                match control::receive::<Command>(self.parent.control.as_fd())? {
                    Some((command, fds)) => self.obey(command, fds)?,
                    None => break,
                }
            }
        }
        for (pid, _) in self.programs.drain() {
            parent::kill_group(pid);
        }
        process::end_children();
        Ok(())
    }

    /// Waits until there is something to do.
    fn wait(&self) -> io::Result<Arrived> {
        let mut fds = vec![
            PollFd::new(self.parent.control.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.parent.signals.as_fd(), PollFlags::POLLIN),
        ];
        let mut owners = Vec::new();
        for (pid, program) in &self.programs {
            fds.push(PollFd::new(program.front.as_fd(), PollFlags::POLLIN));
            owners.push((*pid, true));
            if let Some(reports) = &program.reports {
                fds.push(PollFd::new(reports.as_fd(), PollFlags::POLLIN));
                owners.push((*pid, false));
            }
        }
        let looks = self.programs.values().any(Program::is_looked_for);
        let timeout = if looks { PollTimeout::from(LOOK_TIME_MS) } else { PollTimeout::NONE };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let any = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
        let mut arrived = Arrived { control: any(&fds[0]), child_ended: any(&fds[1]), ..Arrived::default() };
        for ((pid, is_front), fd) in owners.into_iter().zip(&fds[2..]) {
            if any(fd) {
                if is_front { arrived.unwanted.push(pid) } else { arrived.spoken.push(pid) }
            }
        }
        Ok(arrived)
    }

    fn obey(&mut self, command: Command, fds: Vec<OwnedFd>) -> io::Result<()> {
        match command {
            Command::Start { generation, program, wanted_port, variables, has_stdin, earlier } => {
                let started = Given::new(wanted_port, variables, earlier, has_stdin, fds)
                    .and_then(|given| self.start_program(&program, given));
                match started {
                    Ok((pid, micros)) => {
                        self.report(&Report::Forked { generation, pid: pid.as_raw(), micros })?;
                        self.introduce(pid);
                        Ok(())
                    }
                    Err(message) => self.report(&Report::ForkFailed { generation, message }),
                }
            }
            Command::Signal { pid, how } => {
                let pid = Pid::from_raw(pid);
                if self.programs.contains_key(&pid) {
                    parent::ask(pid, how);
                }
                Ok(())
            }
            Command::Kill { pid } => {
                let pid = Pid::from_raw(pid);
                if self.programs.contains_key(&pid) {
                    parent::kill_group(pid);
                }
                Ok(())
            }
        }
    }

    fn start_program(&mut self, program: &Path, given: Given) -> Result<(Pid, u64), String> {
        let (reports, theirs) =
            seqpacket::pair().map_err(|error| format!("cannot make a socket for a program: {error}"))?;
        let begun = Instant::now();
        let child = loop {
            match self.command(program, &given, &theirs).spawn() {
                Ok(child) => break child,
                Err(error)
                    if error.kind() == io::ErrorKind::ExecutableFileBusy
                        && begun.elapsed() < BUSY_TIME_MAX =>
                {
                    std::thread::sleep(BUSY_POLL_TIME);
                }
                Err(error) if error.raw_os_error() == Some(nix::libc::EAGAIN) => {
                    return Err("the limit of processes is reached (ulimit -u)".into());
                }
                Err(error) => return Err(format!("cannot run {}: {error}", program.display())),
            }
        };
        let pid = Pid::from_raw(child.id().cast_signed());
        let is_static = program::is_static(program);
        let Given { front, wanted_port, .. } = given;
        let program =
            Program { front, reports: Some(reports), begun, is_static, wanted_port, listens: false };
        self.programs.insert(pid, program);
        Ok((pid, micros_since(begun)))
    }

    fn command(&self, program: &Path, given: &Given, reports: &OwnedFd) -> std::process::Command {
        let Given { wanted_port, variables, output, stdin, earlier, .. } = given;
        let (reports, output) = (reports.as_raw_fd(), output.as_raw_fd());
        // Where it cannot be copied for want of a descriptor, the spawn is refused as well.
        let stdin = stdin.as_ref().and_then(|stdin| stdin.try_clone().ok());
        // The loader opens it by the keeper's own descriptor, so that the program has none for it.
        let mut preload = OsString::from(format!("/proc/{}/fd/{}", getpid(), self.library.as_raw_fd()));
        let before = std::env::var_os("LD_PRELOAD").filter(|before| !before.is_empty());
        if let Some(before) = &before {
            preload.push(":");
            preload.push(before);
        }
        let keeper = getpid();
        let mask = self.parent.original_mask;
        let mut command = std::process::Command::new(program);
        command
            .arg0(&self.name)
            .args(&self.args)
            .envs(variables.iter().filter(|(name, _)| std::env::var_os(name).is_none()).map(|(n, v)| (n, v)))
            .env("LD_PRELOAD", preload)
            .env(FD_VARIABLE, reports.to_string())
            .env(PORT_VARIABLE, wanted_port.to_string())
            .env(OUTPUT_VARIABLE, output.to_string())
            .envs(earlier.as_ref().map(|earlier| (EARLIER_VARIABLE, earlier)))
            .envs(before.map(|before| (LD_PRELOAD_VARIABLE, before)))
            .stdin(stdin.map_or_else(Stdio::null, Stdio::from))
            .process_group(0);
        // SAFETY: only plain system calls, fit for the time between fork and exec. The signal follows the thread that
        // forks: the keeper's only one.
        unsafe {
            command.pre_exec(move || {
                prctl::set_pdeathsig(Signal::SIGKILL)?;
                if getppid() != keeper {
                    // The keeper died before the line above.
                    process::exit_untouched(1);
                }
                process::close_all_on_exec()?;
                keep_over_exec(BorrowedFd::borrow_raw(reports))?;
                keep_over_exec(BorrowedFd::borrow_raw(output))?;
                mask.thread_set_mask()?;
                Ok(())
            });
        }
        command
    }

    /// Says what a worker says once it has loaded its code.
    fn introduce(&self, pid: Pid) {
        let Some(program) = self.programs.get(&pid) else { return };
        // What really runs, not what was asked for. A program that has ended already is reaped soon.
        let running = PathBuf::from(format!("/proc/{pid}/exe"));
        if let Ok(build_id) = program::build_id(&running) {
            let plugin = self.name.to_string_lossy().into_owned();
            program.say(&WorkerReport::Loaded { build_id, plugin, micros: program.micros() });
        }
    }

    /// Passes on what the preloaded library has said.
    fn hear(&mut self, pid: Pid) {
        let Some(program) = self.programs.get_mut(&pid) else { return };
        let Some(reports) = &program.reports else { return };
        match seqpacket::receive(reports.as_fd()) {
            Ok(Some((message, fds))) => {
                let Some(seen) = Seen::parse(&String::from_utf8_lossy(&message)) else { return };
                let micros = program.micros();
                program.say_with(&seen.into_report(micros), &fds);
            }
            Ok(None) | Err(_) => program.reports = None,
        }
    }

    /// The front has closed a program's socket: nobody wants it any more.
    fn hung_up(&mut self, pid: Pid) {
        let Some(program) = self.programs.get(&pid) else { return };
        if !matches!(seqpacket::receive(program.front.as_fd()), Ok(Some(_))) {
            parent::kill_group(pid);
        }
    }

    fn look_for_listeners(&mut self) {
        for (pid, program) in self.programs.iter_mut().filter(|(_, program)| program.is_looked_for()) {
            let wanted =
                |address: &SocketAddr| program.wanted_port == 0 || address.port() == program.wanted_port;
            let Some(address) = listeners::listening(pid.as_raw()).into_iter().find(wanted) else { continue };
            program.listens = true;
            program.say(&WorkerReport::Note {
                message: format!(
                    "the app is linked statically, so that devhost cannot move it from {address}: it keeps that port, and \
                     the old code has to end before the new one starts"
                ),
            });
            let listening = Listening {
                asked: address.to_string(),
                port: address.port(),
                private: listeners::reached_at(address),
            };
            program.say(&WorkerReport::Ready { micros: program.micros(), listening: Some(listening) });
        }
    }

    fn reap(&mut self) -> io::Result<()> {
        while let Some(ended) = parent::reap()? {
            let parent::Ended { pid, code, signal } = ended;
            // Whatever else is reaped here was adopted: an orphan that some generation left behind.
            if let Some(program) = self.programs.remove(&pid) {
                parent::kill_rest_of_group(ended);
                self.report(&Report::Exited { pid: pid.as_raw(), code, signal })?;
                drop(program);
            }
        }
        Ok(())
    }

    fn report(&self, report: &Report) -> io::Result<()> {
        control::report(self.parent.control.as_fd(), report)
    }
}

/// What a program is started with.
struct Given {
    /// Where the front takes what is said for the word of a worker.
    front: OwnedFd,
    /// Memory for the last of its output.
    output: OwnedFd,
    stdin: Option<OwnedFd>,
    wanted_port: u16,
    variables: Vec<(String, String)>,
    earlier: Option<String>,
}

impl Given {
    fn new(
        wanted_port: u16,
        variables: Vec<(String, String)>,
        earlier: Option<String>,
        has_stdin: bool,
        mut fds: Vec<OwnedFd>,
    ) -> Result<Self, String> {
        let stdin = if has_stdin { fds.pop() } else { None };
        let [front, output]: [OwnedFd; 2] =
            fds.try_into().map_err(|fds: Vec<_>| format!("{} descriptors came, not 2", fds.len()))?;
        Ok(Self { front, output, stdin, wanted_port, variables, earlier })
    }
}

/// What a wait has found.
#[derive(Debug, Default)]
struct Arrived {
    control: bool,
    child_ended: bool,
    /// Programs whose preloaded library has spoken.
    spoken: Vec<Pid>,
    /// Programs whose socket the front has closed.
    unwanted: Vec<Pid>,
}

fn keep_over_exec(fd: BorrowedFd<'_>) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}
