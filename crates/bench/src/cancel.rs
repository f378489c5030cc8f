//! Ctrl-C during the bench: the first ends the measuring and keeps the results so far, the second ends
//! everything at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a wait checks for cancellation.
pub(super) const CANCEL_CHECK_TIME: Duration = Duration::from_millis(50);

/// The exit code of an aborted bench: 128 plus the number of SIGINT.
const EXIT_INTERRUPTED: i32 = 130;

const CANCELLED: &str = "cancelled";

/// Whether the user has cancelled. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Listens for Ctrl-C and SIGTERM from now on. A second one ends this process; the kernel then kills its
    /// children.
    ///
    /// # Errors
    /// A thread or a signal handler cannot be made.
    pub fn on_signals() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let cancel = Self::default();
        let wanted = cancel.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut interrupt, mut terminate) = {
            let _context = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    if wanted.0.swap(true, Ordering::Relaxed) {
                        std::process::exit(EXIT_INTERRUPTED);
                    }
                }
            });
        })?;
        Ok(cancel)
    }

    /// Whether the user has cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Fails if cancelled.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_cancelled() {
            bail!(CANCELLED);
        }
        Ok(())
    }

    /// Sleeps; fails if cancelled meanwhile.
    pub(super) fn pause(&self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.check()?;
            std::thread::sleep(left.min(CANCEL_CHECK_TIME));
        }
        self.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_wait_ends_early() {
        let cancel = Cancel::default();
        cancel.pause(Duration::ZERO).unwrap();
        cancel.0.store(true, Ordering::Relaxed);
        let begun = Instant::now();
        assert!(cancel.pause(Duration::from_secs(3_600)).is_err());
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
}
