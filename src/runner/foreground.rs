//! The terminal under `--stdin`: the app has it as under `cargo run`.
//!
//! A worker's process group becomes the terminal's foreground, so it reads the keyboard and gets Ctrl-C's
//! signal. devhost, in the background then, learns of keys through a small process in the same group. When
//! the worker ends, however it does, devhost takes the terminal back and restores its settings.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::process::Stdio;

use actix_web::rt;
use devhost_sys::keyboard::without_stops;
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{Pid, getpgrp, setpgid, tcgetpgrp, tcsetpgrp};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use super::input::{Input, Inputs, Typed};

/// The `argv[0]` of the process that listens for keys.
const LISTENER_NAME: &str = "devhost-terminal";

/// What it writes once it listens, and for each key.
const READY: u8 = b'r';
const INTERRUPT: u8 = b'i';
const SUSPEND: u8 = b'z';
const HANG_UP: u8 = b'h';

/// devhost's terminal.
#[derive(Debug)]
pub(super) struct Foreground {
    /// The last group that had it.
    last: Option<Pid>,
    terminal: File,
    own: Pid,
    settings: Option<Termios>,
    /// The group that has it now, and the process in it that listens for keys.
    lent: Option<(Pid, Option<Child>)>,
}

impl Foreground {
    /// Opens the terminal, if there is one.
    pub(super) fn find() -> Option<Self> {
        let terminal = File::options().read(true).write(true).open("/dev/tty").ok()?;
        let settings = tcgetattr(&terminal).ok();
        Some(Self { last: None, terminal, own: getpgrp(), settings, lent: None })
    }

    /// Has the terminal lent to the newest worker's group, or takes it back if there is none. Must be called on
    /// an actix runtime.
    pub(super) fn settle(&mut self, newest: Option<Pid>, inputs: &Inputs) {
        if self.lent.as_ref().map(|(group, _)| *group) == newest {
            return;
        }
        // If another job of the shell has it, it is not devhost's to give.
        let lent = self.lent.as_ref().map(|(group, _)| *group);
        let holder = tcgetpgrp(&self.terminal).ok();
        if holder != Some(self.own) && holder != lent {
            return;
        }
        self.take_back();
        self.lent = newest.map(|group| (group, listen(group, inputs)));
    }

    /// Gives the terminal to this group, now that its keys are listened for.
    pub(super) fn lend(&mut self, group: Pid) {
        let is_wanted = self.lent.as_ref().is_some_and(|(lent, _)| *lent == group);
        if is_wanted && tcgetpgrp(&self.terminal) == Ok(self.own) {
            self.last = Some(group);
            let _ = without_stops(|| tcsetpgrp(&self.terminal, group));
            // It may have been stopped for reading too early.
            let _ = killpg(group, Signal::SIGCONT);
        }
    }

    /// Takes the terminal back from a worker that has ended, or is about to.
    pub(super) fn ended(&mut self, group: Pid) {
        if self.lent.as_ref().is_some_and(|(lent, _)| *lent == group) {
            self.take_back();
        }
    }

    /// Returns true if the terminal is gone. The process that listens may have been killed with the app, before it said so.
    pub(super) fn is_hung_up(&self) -> bool {
        tcgetpgrp(&self.terminal) == Err(Errno::EIO)
    }

    /// Returns true for the group that had the terminal last.
    pub(super) fn had(&self, group: Pid) -> bool {
        self.last == Some(group)
    }

    /// Takes the terminal back and restores its settings.
    pub(super) fn take_back(&mut self) {
        let Some((group, _listener)) = self.lent.take() else { return };
        let holder = tcgetpgrp(&self.terminal).ok();
        if holder != Some(group) {
            return;
        }
        without_stops(|| {
            // Fails if the terminal is gone, and then nobody needs it.
            let _ = tcsetpgrp(&self.terminal, self.own);
            if let Some(settings) = &self.settings {
                let _ = tcsetattr(&self.terminal, SetArg::TCSANOW, settings);
            }
        });
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        self.take_back();
    }
}

/// Starts the process that listens for keys in this group. It ends when dropped, or with the group.
fn listen(group: Pid, inputs: &Inputs) -> Option<Child> {
    let started = Command::new(super::launcher::DEVHOST)
        .arg0(LISTENER_NAME)
        .arg(group.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            tracing::warn!("nobody hears of Ctrl-C: {error}");
            return None;
        }
    };
    if let Some(mut said) = child.stdout.take() {
        let inputs = inputs.clone();
        rt::spawn(async move {
            while let Ok(key) = said.read_u8().await {
                let typed = match key {
                    READY => Typed::Heard(group),
                    SUSPEND => Typed::Suspend,
                    HANG_UP => Typed::HangUp,
                    _ => Typed::Interrupt,
                };
                if inputs.send(Input::Typed(typed)).await.is_err() {
                    return;
                }
            }
        });
    }
    Some(child)
}

/// Listens for keys until killed, if the process was started for that. Must be called first in `main`.
pub(crate) fn dispatch(argv0_file_name: &str) -> Option<u8> {
    (argv0_file_name == LISTENER_NAME).then(|| match hear() {
        Ok(()) => 0,
        Err(_) => 1,
    })
}

fn hear() -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTSTP, Signal::SIGHUP] {
        mask.add(signal);
    }
    mask.thread_block()?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC)?;
    let group = std::env::args().nth(1).and_then(|group| group.parse().ok());
    let group = group.ok_or(io::ErrorKind::InvalidInput)?;
    setpgid(Pid::from_raw(0), Pid::from_raw(group))?;
    let mut out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    out.write_all(&[READY])?;
    while let Some(signal) = signals.read_signal()? {
        let key = match signal.ssi_signo.cast_signed() {
            number if number == Signal::SIGTSTP as i32 => SUSPEND,
            number if number == Signal::SIGHUP as i32 => HANG_UP,
            _ => INTERRUPT,
        };
        out.write_all(&[key])?;
    }
    Ok(())
}
