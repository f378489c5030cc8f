//! The signals by which the user ends, suspends and continues devhost.

use devhost_model::Error;
use devhost_sys::parent::Ask;
use nix::sys::signal::Signal as Sent;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// `None` if devhost was started to outlive its terminal (`nohup`).
    hang_up: Option<Signal>,
    suspend: Signal,
    proceed: Signal,
    /// Suspending is somebody else's business.
    only_ends: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// End devhost, asking the app to end in the same way.
    End(Ask),
    /// Ctrl-Z: suspend devhost and the app.
    Suspend,
    /// They were continued, in the foreground or not.
    Proceed,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Error> {
        let listen = |kind| {
            signal(kind).map_err(|error| Error::fault(format!("failed to listen for signals: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: if hears_of_hang_up() { Some(listen(SignalKind::hangup())?) } else { None },
            suspend: listen(SignalKind::from_raw(Sent::SIGTSTP as i32))?,
            proceed: listen(SignalKind::from_raw(Sent::SIGCONT as i32))?,
            only_ends: false,
        })
    }

    /// Hears only of the end: for one of several apps, which devhost suspends together.
    pub(super) fn of_end() -> Result<Self, Error> {
        Ok(Self { only_ends: true, ..Self::new()? })
    }

    pub(super) async fn recv(&mut self) -> Wish {
        tokio::select! {
            _ = self.interrupt.recv() => Wish::End(Ask::Interrupt),
            _ = self.terminate.recv() => Wish::End(Ask::Terminate),
            Some(()) = received(&mut self.hang_up) => Wish::End(Ask::HangUp),
            _ = self.suspend.recv(), if !self.only_ends => Wish::Suspend,
            _ = self.proceed.recv(), if !self.only_ends => Wish::Proceed,
        }
    }
}

/// Returns false if devhost was started with SIGHUP ignored.
pub(super) fn hears_of_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    ignored & (1 << (Sent::SIGHUP as i32 - 1)) == 0
}

/// Waits for the next signal, for ever if `None`.
async fn received(signal: &mut Option<Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}
