//! The keeper process: one thread, one loop, from exec to exit. Once the front is gone, it ends everything.
#![expect(clippy::print_stderr, reason = "the keeper's standard error is the user's")]

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use devhost_sys::keyboard::TerminalChange;
use devhost_sys::parent::{self, Parent};
use devhost_sys::{listeners, process, program, seqpacket};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::program::{Launch, Program};
use crate::control::{self, Command, Listening, Report, WorkerReport};
use crate::role::{AT_TERMINAL, KEEPER_NAME};
use crate::worker::Seen;

/// How often to look for the listener of a statically linked program.
const LOOK_INTERVAL_MS: u8 = 25;

/// Runs the keeper until the front is gone, and returns its exit code; `None` if the process is no keeper.
/// Must be called first in `main`.
pub fn dispatch(argv0_file_name: &str) -> Option<u8> {
    (argv0_file_name == KEEPER_NAME).then(|| match Keeper::start().and_then(Keeper::serve) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{KEEPER_NAME}: {error}");
            1
        }
    })
}

struct Keeper {
    parent: Parent,
    terminal: Option<TerminalChange>,
    launch: Launch,
    programs: HashMap<Pid, Program>,
}

impl Keeper {
    fn start() -> io::Result<Self> {
        let mut args = std::env::args_os().skip(1);
        let parent = Parent::start(args.next().is_some_and(|place| place == AT_TERMINAL))?;
        let name = args.next().unwrap_or_else(|| "app".into());
        let launch = Launch::new(name, args.collect(), parent.original_mask)?;
        Ok(Self { parent, terminal: None, launch, programs: HashMap::new() })
    }

    fn serve(mut self) -> io::Result<()> {
        loop {
            let Arrived { control, child_ended, spoken, unwanted } = self.wait()?;
            if child_ended {
                self.parent.drain_signals()?;
            }
            // Programs' reports come before their ends.
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
        if let Some(changed) = self.terminal.take() {
            changed.undo(io::stdout().as_fd());
        }
        for (pid, _) in self.programs.drain() {
            parent::kill_group(pid);
        }
        process::end_children();
        Ok(())
    }

    /// Waits for something to do, with a timeout only while looking for a listener.
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
        let timeout = if looks { PollTimeout::from(LOOK_INTERVAL_MS) } else { PollTimeout::NONE };
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
            // Programs load their own libraries.
            Command::Preload { .. } => self.report(&Report::Preloaded { micros: 0 }),
            Command::Fork(spec) => {
                let generation = spec.generation;
                match self.launch.start(&spec, fds) {
                    Ok((pid, program, micros)) => {
                        self.programs.insert(pid, program);
                        self.report(&Report::Forked { generation, pid: pid.as_raw(), micros })?;
                        self.introduce(pid);
                        Ok(())
                    }
                    Err(error) => self.report(&Report::ForkFailed { generation, message: error.to_string() }),
                }
            }
            Command::Signal { pid, how } => {
                let pid = Pid::from_raw(pid);
                if self.programs.contains_key(&pid) {
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
                if self.programs.contains_key(&pid) {
                    parent::kill_group(pid);
                }
                Ok(())
            }
        }
    }

    /// Reports for a program what a worker reports after loading its code.
    fn introduce(&self, pid: Pid) {
        let Some(program) = self.programs.get(&pid) else { return };
        // What actually runs, not what was requested. A program that has already ended is reaped soon.
        let running = PathBuf::from(format!("/proc/{pid}/exe"));
        if let Ok(build_id) = program::build_id(&running) {
            let plugin = self.launch.name.to_string_lossy().into_owned();
            program.say(&WorkerReport::Loaded { build_id, plugin, micros: program.micros() });
        }
    }

    /// Forwards a line from the preloaded library.
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

    /// Kills a program whose socket the front has closed.
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
            // Anything else is an adopted orphan of some generation.
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

#[derive(Debug, Default)]
struct Arrived {
    control: bool,
    child_ended: bool,
    /// Programs whose preloaded library has sent something.
    spoken: Vec<Pid>,
    /// Programs whose socket the front has closed.
    unwanted: Vec<Pid>,
}
