//! devhost as a job of the shell: what it means for everything that runs that devhost is suspended and goes on.

use devhost_terminal::Terminal;
use nix::sys::signal::{Signal, killpg, raise};
use nix::unistd::Pid;

use super::keys::Keys;
use super::launcher::Launcher;
use super::sides::Common;

/// What is suspended together.
pub(super) struct Job<'j> {
    pub(super) terminal: &'j Terminal,
    pub(super) keys: Option<&'j Keys>,
    /// Restores the terminal if devhost is killed.
    pub(super) guard: Option<&'j Launcher>,
    /// The process groups of the workers.
    pub(super) groups: Vec<Pid>,
    /// The processes beside the apps.
    pub(super) common: &'j Common,
}

impl Job<'_> {
    /// Suspends all of it, and returns once devhost is continued.
    pub(super) fn suspend(&self) {
        self.terminal.step_aside();
        self.keys.into_iter().for_each(Keys::give_back);
        for group in &self.groups {
            let _ = killpg(*group, Signal::SIGTSTP);
        }
        self.common.suspend();
        // Returns once devhost is continued: a signal to this thread is delivered before anything else.
        if let Err(error) = raise(Signal::SIGSTOP) {
            tracing::warn!("failed to stop: {error}");
        }
        self.take_keyboard();
        for group in &self.groups {
            let _ = killpg(*group, Signal::SIGCONT);
        }
        self.common.proceed();
    }

    /// Reads the keyboard again, if devhost has the terminal.
    pub(super) fn take_keyboard(&self) {
        let Some(keys) = self.keys else { return };
        keys.settle();
        if let Some(guard) = self.guard {
            guard.guard_terminal(keys.changed());
        }
    }
}
