//! Keeps typed characters from breaking a progress bar. Switches off only the echo: line editing, Ctrl-C and
//! Ctrl-Z still work, and whoever reads the terminal still gets what is typed.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use nix::unistd::{getpgrp, tcgetpgrp};

/// Switches off the echo of the terminal on standard input until dropped.
#[derive(Debug)]
pub(crate) struct Silence {
    before: Termios,
}

impl Silence {
    /// Returns `None` if there is no terminal or no echo, or if devhost is in the background and must not
    /// change it.
    pub(crate) fn start() -> Option<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() || !is_foreground() {
            return None;
        }
        let before = termios::tcgetattr(stdin.as_fd()).ok()?;
        if !before.local_flags.contains(LocalFlags::ECHO) {
            return None;
        }
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO | LocalFlags::ECHONL);
        termios::tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &silent).ok()?;
        Some(Self { before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if is_foreground() {
            // Fails only if the terminal is gone.
            let _ = termios::tcsetattr(io::stdin().as_fd(), SetArg::TCSANOW, &self.before);
        }
    }
}

fn is_foreground() -> bool {
    tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp())
}
