//! A worker that listens: whether it lives, and how to connect to it.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use crate::upstream::UpstreamError;
use crate::upstream::connection::Connection;
use crate::upstream::pool::Pool;
use devhost_link::STREAMS_COUNT_MAX;
use devhost_sys::liveness::{Liveness, Outlook};

/// How many exchanges one worker may have; the next one waits. As many as on a link, and no fewer than the
/// gate admits.
const EXCHANGES_COUNT_MAX: usize = STREAMS_COUNT_MAX;

/// How long after a broken connection to wait for news of the worker's death.
const DEATH_NOTICE_TIME_MAX: Duration = Duration::from_millis(200);

/// How long a live worker may refuse connections before the client is told. It may be about to end, and has
/// nothing of the request yet.
const REFUSED_TIME_MAX: Duration = Duration::from_secs(1);

/// How often to look whether a stopped worker runs again while a request waits.
const STOPPED_LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How long a dead worker's connection may be silent before it is cut. The kernel closes it, unless a child
/// of the app holds a copy of the descriptor.
const DEAD_SILENCE_TIME_MAX: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct ListeningWorker {
    address: SocketAddr,
    /// Drives the connections.
    pub(super) runtime: Handle,
    pub(super) pool: Pool,
    pub(super) permits: Arc<Semaphore>,
    dead: watch::Sender<bool>,
    process: OnceLock<Liveness>,
}

impl Drop for ListeningWorker {
    fn drop(&mut self) {
        self.pool.close();
    }
}

impl ListeningWorker {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            runtime: Handle::current(),
            pool: Pool::default(),
            permits: Arc::new(Semaphore::new(EXCHANGES_COUNT_MAX)),
            dead: watch::Sender::new(false),
            process: OnceLock::new(),
        }
    }

    /// Sets the worker's process. Only the first call counts.
    pub(super) fn set_process(&self, pid: i32) {
        // Without it, a dying worker is noticed a little later.
        if let Some(process) = Liveness::open(pid) {
            let _ = self.process.set(process);
        }
    }

    /// Notes that the worker is dead.
    pub(super) fn close(&self) {
        self.dead.send_replace(true);
        self.permits.close();
        self.pool.close();
    }

    pub(super) fn is_dead(&self) -> bool {
        *self.dead.borrow()
    }

    pub(super) async fn death(&self) {
        let mut dead = self.dead.subscribe();
        // Cannot fail: the sender lives as long as `self`.
        let _ = dead.wait_for(|dead| *dead).await;
    }

    fn outlook(&self) -> Outlook {
        if self.is_dead() {
            return Outlook::Dying;
        }
        self.process.get().map_or(Outlook::Runs, Liveness::outlook)
    }

    /// Returns true if the worker is dead or will never run its code again.
    fn is_dying(&self) -> bool {
        self.outlook() == Outlook::Dying
    }

    /// Waits until the worker's process runs. The kernel also accepts connections for a stopped or dying one,
    /// and what was sent cannot be taken back. The runner ends a worker that stays stopped.
    pub(super) async fn until_it_runs(&self) -> Result<(), UpstreamError> {
        loop {
            match self.outlook() {
                Outlook::Runs => return Ok(()),
                Outlook::Dying => return Err(UpstreamError::Lost),
                Outlook::Stopped => {
                    // The next look sees its death.
                    let _ = tokio::time::timeout(STOPPED_LOOK_INTERVAL, self.death()).await;
                }
            }
        }
    }

    /// Returns true if the worker is dead, waiting a moment for the news.
    pub(super) async fn has_died(&self) -> bool {
        self.is_dying()
            || tokio::time::timeout(DEATH_NOTICE_TIME_MAX, self.death()).await.is_ok()
            || self.is_dying()
    }

    pub(super) async fn connect(&self) -> Result<Connection, UpstreamError> {
        let begun = Instant::now();
        loop {
            match Connection::open(self.address, &self.runtime).await {
                Ok(connection) => return Ok(connection),
                Err(_) if self.has_died().await => return Err(UpstreamError::Lost),
                Err(error) if begun.elapsed() >= REFUSED_TIME_MAX => {
                    return Err(UpstreamError::Unreachable(error.to_string()));
                }
                // Waiting for its death was the pause.
                Err(_) => {}
            }
        }
    }

    pub(super) fn cut(&self) -> UpstreamError {
        if self.is_dead() { UpstreamError::Lost } else { UpstreamError::Reset }
    }
}

/// Resolves once the worker is dead and has been given time for its last bytes.
pub(super) async fn silence(worker: Arc<ListeningWorker>) {
    worker.death().await;
    tokio::time::sleep(DEAD_SILENCE_TIME_MAX).await;
}
