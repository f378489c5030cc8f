//! What the user orders while devhost runs, by a key for now: it comes to the loop as an input, and what concerns builds and generations
//! goes on to the supervisor as an event.

use std::net::SocketAddr;

use devhost_model::{End, Failure};
use devhost_supervisor::Event;
use devhost_sys::network;
use devhost_terminal::{Addresses, Terminal};
use nix::sys::signal::{Signal, raise};

use super::browser;
use super::state::Runner;

/// Something that the user wants now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Start the app anew.
    Refork,
    /// Build it from scratch.
    Rebuild,
    /// Act on no changes, or on all again.
    PauseOrResume,
    /// Open a browser.
    Open,
    /// Show the addresses.
    Addresses,
    /// Show the last trouble once more.
    LastError,
    /// Clear the screen.
    Clear,
    /// Show what can be ordered.
    Help,
    /// End devhost.
    Quit,
    /// Nothing: a key that means nothing.
    Unknown,
}

/// The last thing that went wrong.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The newest code could not be served.
    Failure(Failure),
    /// A worker crashed.
    Crash {
        /// How.
        end: End,
        /// The last that it printed.
        output: String,
    },
}

/// What the user has ordered so far, and what orders ask about.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pub(super) paused: bool,
    pub(super) trouble: Option<Trouble>,
    /// An unknown key was answered.
    has_hinted: bool,
}

impl Order {
    /// Does what concerns no app; a no-op for other orders. `has_hinted`: an unknown key was answered.
    pub(super) fn perform_once(self, terminal: &Terminal, has_hinted: &mut bool) {
        match self {
            Self::Clear => terminal.clear(),
            Self::Help => terminal.keys(),
            Self::Quit => {
                // As Ctrl-C does: a second one ends everything at once.
                if let Err(error) = raise(Signal::SIGINT) {
                    tracing::warn!("failed to end: {error}");
                }
            }
            Self::Unknown => {
                if !std::mem::replace(has_hinted, true) {
                    terminal.hint_at_keys();
                }
            }
            Self::Refork
            | Self::Rebuild
            | Self::PauseOrResume
            | Self::Open
            | Self::Addresses
            | Self::LastError => {}
        }
    }
}

impl Runner {
    pub(super) fn ordered(&mut self, order: Order) -> Vec<Event> {
        match order {
            Order::Refork => return vec![Event::Refork],
            Order::Rebuild => return vec![Event::Rebuild],
            Order::PauseOrResume if self.orders.paused => return vec![Event::Resume],
            Order::PauseOrResume => return vec![Event::Pause],
            Order::Open => match self.door.addresses().first() {
                Some(address) => {
                    if let Some((_, url)) = network::urls(*address).first() {
                        self.terminal.reply(&format!("opening {url}"));
                        browser::open(&self.terminal, url);
                    }
                }
                None => self.terminal.reply(NOT_YET),
            },
            Order::Addresses => self.show_addresses(),
            Order::LastError => self.show_trouble(),
            Order::Clear | Order::Help | Order::Quit | Order::Unknown => {
                order.perform_once(&self.terminal, &mut self.orders.has_hinted);
            }
        }
        Vec::new()
    }

    /// Performs the supervisor's word on the pause.
    pub(super) fn set_paused(&mut self, paused: bool, files: usize) {
        self.orders.paused = paused;
        self.status.update(|status| status.paused = paused);
        if paused { self.terminal.paused() } else { self.terminal.resumed(files) }
    }

    fn show_addresses(&self) {
        let addresses = self.door.addresses();
        if addresses.is_empty() {
            self.terminal.reply(NOT_YET);
            return;
        }
        let urls: Vec<(&'static str, String)> =
            addresses.iter().flat_map(|address| network::urls(*address)).collect();
        let phone = urls.iter().find(|(label, _)| *label == network::NETWORK).map(|(_, url)| url.as_str());
        let hint = if phone.is_some() { "" } else { closed_hint(addresses) };
        self.terminal.addresses(&Addresses { urls: &urls, phone, hint });
    }

    fn show_trouble(&self) {
        let is_over = self.gate.failure().is_none();
        match &self.orders.trouble {
            None => self.terminal.reply("nothing has gone wrong so far"),
            Some(Trouble::Failure(failure)) => self.terminal.failure_again(failure, is_over),
            Some(Trouble::Crash { end, output }) => self.terminal.crash_again(end, output, is_over),
        }
    }
}

const NOT_YET: &str = "no address yet: the app has not asked for a port";

/// Says how a phone could reach the app.
fn closed_hint(addresses: &[SocketAddr]) -> &'static str {
    if addresses.iter().any(|address| !address.ip().to_canonical().is_loopback()) {
        return "this machine has no address on a network at the moment";
    }
    "only this machine reaches it; for a phone on your network start devhost with --allow-remote --host 0.0.0.0 (everybody \
     there can use the app then, and sees its errors)"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_a_code_for_a_phone_is_told_how_to_let_it_in() {
        let hint = closed_hint(&["127.0.0.1:3000".parse().unwrap(), "[::1]:3000".parse().unwrap()]);
        assert!(hint.contains("--allow-remote --host 0.0.0.0"), "{hint}");
        assert!(!closed_hint(&["0.0.0.0:3000".parse().unwrap()]).contains("--allow-remote"));
    }
}
