//! The keys that a user presses while devhost has the terminal: which key asks for what.
//!
//! A key counts only if it comes alone. What is pasted or typed ahead, and the sequences of arrows and the like, come as several bytes at once
//! and are ignored whole. With `--stdin` the terminal is the app's, and this file does nothing.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use actix_web::rt;
use devhost_sys::keyboard::{Keyboard, TerminalChange};
use devhost_sys::runtime::register;
use devhost_terminal::Terminal;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::input::{Input, Inputs};
use super::orders::Order;

/// How long nothing else may come for a key to count.
const ALONE_TIME: Duration = Duration::from_millis(25);

/// How often to look whether the shell has given devhost the terminal: it says so only to a job that it had stopped.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

const CHUNK_SIZE: usize = 4 * 1024;

/// The keyboard, read until this is dropped. Then the terminal is as it was.
#[derive(Debug)]
pub(super) struct Keys {
    keyboard: Rc<Keyboard>,
    task: rt::task::JoinHandle<()>,
}

impl Keys {
    /// Listens for keys, if there is a terminal, which then says so. Must be called on an actix runtime.
    pub(super) fn listen(inputs: &Inputs, terminal: &Terminal) -> Option<Self> {
        let keyboard = Rc::new(Keyboard::find()?);
        let descriptor = keyboard.as_fd().try_clone_to_owned().ok()?;
        let descriptor = register(descriptor, Interest::READABLE).ok()?;
        keyboard.settle();
        let task = rt::spawn(hear(Rc::clone(&keyboard), descriptor, inputs.clone()));
        terminal.take_keys();
        Some(Self { keyboard, task })
    }

    /// Returns what was changed in the terminal, for a launcher to undo if devhost is killed.
    pub(super) fn changed(&self) -> Option<TerminalChange> {
        self.keyboard.changed()
    }

    /// Restores the terminal, before devhost is stopped.
    pub(super) fn give_back(&self) {
        self.keyboard.give_back();
    }

    /// Takes the keyboard again, if the shell has given devhost the terminal.
    pub(super) fn settle(&self) {
        self.keyboard.settle();
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.task.abort();
        self.keyboard.give_back();
    }
}

async fn hear(keyboard: Rc<Keyboard>, descriptor: AsyncFd<OwnedFd>, inputs: Inputs) {
    let mut burst = Burst::default();
    let mut chunk = vec![0; CHUNK_SIZE];
    loop {
        let patience = if burst.is_empty() { LOOK_INTERVAL } else { ALONE_TIME };
        tokio::select! {
            ready = descriptor.readable() => {
                let Ok(mut ready) = ready else { return };
                match keyboard.read(&mut chunk) {
                    // The terminal is gone.
                    Ok(0) => return,
                    Ok(len) => burst.add(&chunk[..len]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => {
                        ready.clear_ready();
                        keyboard.settle();
                    }
                }
            }
            () = tokio::time::sleep(patience) => match std::mem::take(&mut burst).order() {
                Some(order) => {
                    if inputs.send(Input::Ordered(order)).await.is_err() {
                        return;
                    }
                }
                None => drop(keyboard.settle()),
            },
        }
    }
}

/// What came without a pause.
#[derive(Debug, Default)]
struct Burst {
    first: Option<u8>,
    is_alone: bool,
}

impl Burst {
    fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn add(&mut self, bytes: &[u8]) {
        self.is_alone = self.first.is_none() && bytes.len() == 1;
        self.first = self.first.or(bytes.first().copied());
    }

    fn order(self) -> Option<Order> {
        let key = self.first.filter(|_| self.is_alone)?;
        Some(match key {
            b'r' => Order::Refork,
            b'R' => Order::Rebuild,
            b'p' => Order::PauseOrResume,
            b'o' => Order::Open,
            b'u' => Order::Addresses,
            b'e' => Order::LastError,
            b'c' => Order::Clear,
            b'?' | b'h' => Order::Help,
            b'q' => Order::Quit,
            key if key.is_ascii_graphic() => Order::Unknown,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(parts: &[&[u8]]) -> Option<Order> {
        let mut burst = Burst::default();
        parts.iter().for_each(|part| burst.add(part));
        burst.order()
    }

    #[test]
    fn a_key_alone_counts() {
        assert_eq!(order(&[b"r"]), Some(Order::Refork));
        assert_eq!(order(&[b"R"]), Some(Order::Rebuild));
        assert_eq!((order(&[b"?"]), order(&[b"h"])), (Some(Order::Help), Some(Order::Help)));
        assert_eq!(order(&[b"x"]), Some(Order::Unknown));
        for key in [b"\x04", b"\r", b"\n", b" ", b"\x1b", b"\x7f", b"\xc3"] {
            assert_eq!(order(&[key]), None, "{key:?} is no key of anything");
        }
    }

    #[test]
    fn what_comes_at_once_is_no_key() {
        for parts in
            [&[&b"quit\n"[..]][..], &[b"\x1b[A"], &[b"q", b"uit"], &[b"rm -r", b"R"], &[b"qq"], &[b"\x1br"]]
        {
            assert_eq!(order(parts), None, "{parts:?}");
        }
        assert_eq!(order(&[]), None);
    }
}
