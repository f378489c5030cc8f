//! What the user asks for by signals and keys: ending, suspending, and who has the terminal.

use std::rc::Rc;

use devhost_supervisor::Event;
use devhost_sys::parent::Ask;

use super::foreground::Foreground;
use super::input::Typed;
use super::job::Job;
use super::signals::{Wish, hears_of_hang_up};
use super::state::Runner;

impl Runner {
    pub(super) fn wished(&mut self, wish: Wish) -> Vec<Event> {
        match wish {
            Wish::End(Ask::HangUp) => self.hung_up(Some(Ask::HangUp)),
            Wish::End(how) => {
                self.echo = how == Ask::Interrupt && self.foreground.is_some();
                self.end_asked(Some(how))
            }
            Wish::Suspend => {
                self.suspend();
                Vec::new()
            }
            // The loop gives the app the terminal, if devhost has it now.
            Wish::Proceed => {
                self.job().take_keyboard();
                Vec::new()
            }
        }
    }

    /// Ends devhost at the user's request. `how` is how to ask the app, or `None` if it knows already.
    pub(super) fn end_asked(&mut self, how: Option<Ask>) -> Vec<Event> {
        self.asks = how;
        if self.member.is_none() {
            self.terminal.stopping();
        }
        self.gate.close();
        vec![Event::Stop]
    }

    /// The terminal was closed. devhost hears of that directly, through the app's group, or both.
    fn hung_up(&mut self, how: Option<Ask>) -> Vec<Event> {
        if std::mem::replace(&mut self.has_hung_up, true) { Vec::new() } else { self.end_asked(how) }
    }

    /// Finds out whether the app has ended because the terminal was closed.
    pub(super) fn hear_of_lost_terminal(&mut self) -> Vec<Event> {
        let is_lost = self.foreground.as_ref().is_some_and(Foreground::is_hung_up);
        if is_lost { self.typed(Typed::HangUp) } else { Vec::new() }
    }

    /// Handles a key that only the app's group hears of, being in the foreground.
    pub(super) fn typed(&mut self, typed: Typed) -> Vec<Event> {
        match typed {
            Typed::Heard(group) => {
                if let Some(foreground) = &mut self.foreground {
                    foreground.lend(group);
                }
                Vec::new()
            }
            Typed::Interrupt if std::mem::take(&mut self.echo) => Vec::new(),
            Typed::Interrupt => self.end_asked(None),
            Typed::HangUp if hears_of_hang_up() => self.hung_up(None),
            Typed::HangUp => Vec::new(),
            Typed::Suspend => {
                self.suspend();
                Vec::new()
            }
        }
    }

    /// Suspends devhost and the app, as one job of the shell, until devhost is continued.
    fn suspend(&mut self) {
        if let Some(foreground) = &mut self.foreground {
            foreground.take_back();
        }
        self.job().suspend();
    }

    fn job(&self) -> Job<'_> {
        Job {
            terminal: &self.terminal,
            keys: self.keys.as_deref(),
            guard: self.launchers.get(&self.current_launcher).map(Rc::as_ref),
            groups: self.workers.groups(),
            common: self.sides.common(),
        }
    }

    /// Lends the terminal to the newest worker, if the app may have it; without a worker takes it back.
    pub(super) fn settle_foreground(&mut self) {
        let newest = self.workers.newest();
        if let Some(foreground) = &mut self.foreground {
            foreground.settle(newest, &self.inputs);
        }
    }
}
