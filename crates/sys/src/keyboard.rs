//! The keyboard of the terminal that a program was started at, key by key: whether it may be read, and the terminal's settings around that.
//!
//! Only line editing and the echo are switched off: Ctrl-C, Ctrl-Z and Ctrl-\ stay signals, and what other processes print looks as
//! before. The terminal is read through a description of its own, so that no other process finds its standard input non-blocking. While
//! another job of the shell has the terminal, nothing is read or set.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::termios::{
    ControlFlags, FlushArg, InputFlags, LocalFlags, OutputFlags, SetArg, SpecialCharacterIndices, Termios,
    tcflush, tcgetattr, tcsetattr,
};
use nix::unistd::{getpgrp, tcgetpgrp};
use serde::{Deserialize, Serialize};

/// The keyboard, and the settings to restore.
#[derive(Debug)]
pub struct Keyboard {
    terminal: File,
    /// The settings before they were changed; `None` while the keyboard is not read.
    before: RefCell<Option<Termios>>,
}

impl Keyboard {
    /// Returns the keyboard of the terminal that is both standard input and standard output, if there is one.
    pub fn find() -> Option<Self> {
        let is_ours = |stream: BorrowedFd<'_>| stream.is_terminal() && tcgetpgrp(stream).is_ok();
        if !is_ours(io::stdin().as_fd()) || !is_ours(io::stdout().as_fd()) {
            return None;
        }
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let terminal = File::options().read(true).write(true).custom_flags(flags).open("/dev/tty").ok()?;
        Some(Self { terminal, before: RefCell::new(None) })
    }

    /// Takes the keyboard if this process is in the foreground, and lets go of it otherwise. Returns whether it may be read.
    pub fn settle(&self) -> bool {
        let mut before = self.before.borrow_mut();
        if !self.is_in_foreground() {
            // Whoever has the terminal now sets it as he likes.
            *before = None;
            return false;
        }
        let Ok(current) = tcgetattr(&self.terminal) else { return false };
        let is_set = !current.local_flags.intersects(LocalFlags::ICANON | LocalFlags::ECHO);
        if before.is_none() || !is_set {
            let mut by_key = current.clone();
            by_key.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ECHONL);
            by_key.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
            by_key.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
            if without_stops(|| tcsetattr(&self.terminal, SetArg::TCSANOW, &by_key)).is_err() {
                return false;
            }
            // What was typed before was not meant for this program.
            let _ = without_stops(|| tcflush(&self.terminal, FlushArg::TCIFLUSH));
            *before = Some(current);
        }
        true
    }

    /// Returns what was changed, for another process to undo if this one dies; `None` while the keyboard is not read.
    pub fn changed(&self) -> Option<TerminalChange> {
        let before = self.before.borrow();
        let during = tcgetattr(&self.terminal).ok()?;
        Some(TerminalChange { before: Settings::of(before.as_ref()?), during: Settings::of(&during) })
    }

    /// Restores the terminal's settings, before this process is stopped or ends.
    pub fn give_back(&self) {
        if let Some(before) = self.before.borrow_mut().take()
            && self.is_in_foreground()
        {
            // Fails only if the terminal is gone.
            let _ = without_stops(|| tcsetattr(&self.terminal, SetArg::TCSANOW, &before));
        }
    }

    /// Reads what was typed. Returns 0 if the terminal is gone.
    ///
    /// # Errors
    /// Nothing was typed ([`io::ErrorKind::WouldBlock`]), or another job has the terminal.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.before.borrow().is_none() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        without_stops(|| (&self.terminal).read(buffer))
    }

    fn is_in_foreground(&self) -> bool {
        tcgetpgrp(&self.terminal).is_ok_and(|group| group == getpgrp())
    }
}

impl AsFd for Keyboard {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.terminal.as_fd()
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// A change of a terminal's settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalChange {
    before: Settings,
    during: Settings,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Settings {
    input: u32,
    output: u32,
    control: u32,
    local: u32,
    characters: Vec<u8>,
}

impl TerminalChange {
    /// Undoes it, unless somebody has changed the terminal since.
    pub fn undo(&self, terminal: BorrowedFd<'_>) {
        let Ok(mut settings) = tcgetattr(terminal) else { return };
        if Settings::of(&settings) == self.during {
            self.before.put(&mut settings);
            // Fails only if the terminal is gone.
            let _ = without_stops(|| tcsetattr(terminal, SetArg::TCSANOW, &settings));
        }
    }
}

impl Settings {
    fn of(termios: &Termios) -> Self {
        Self {
            input: termios.input_flags.bits(),
            output: termios.output_flags.bits(),
            control: termios.control_flags.bits(),
            local: termios.local_flags.bits(),
            characters: termios.control_chars.to_vec(),
        }
    }

    fn put(&self, termios: &mut Termios) {
        termios.input_flags = InputFlags::from_bits_retain(self.input);
        termios.output_flags = OutputFlags::from_bits_retain(self.output);
        termios.control_flags = ControlFlags::from_bits_retain(self.control);
        termios.local_flags = LocalFlags::from_bits_retain(self.local);
        for (there, character) in termios.control_chars.iter_mut().zip(&self.characters) {
            *there = *character;
        }
    }
}

/// Runs `act` with the signals blocked that would stop a background process for reading or changing its terminal.
pub fn without_stops<T>(act: impl FnOnce() -> T) -> T {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGTTOU);
    mask.add(Signal::SIGTTIN);
    let before = mask.thread_swap_mask(SigmaskHow::SIG_BLOCK);
    let result = act();
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
    result
}
