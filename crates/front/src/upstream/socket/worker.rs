//! What is known of a worker that listens: whether it lives, and how it is connected to.

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

/// How many exchanges may be in one worker at once; the next one waits. As many as on a link, and no fewer than the gate
/// lets in.
const EXCHANGES_COUNT_MAX: usize = STREAMS_COUNT_MAX;

/// How long after a connection broke the news is waited for that its worker died.
const DEATH_NOTICE_TIME_MAX: Duration = Duration::from_millis(200);

/// How long a worker that lives may refuse connections before the client is told. It may be on its way to its end, and
/// nothing of a request has been sent to it.
const REFUSED_TIME_MAX: Duration = Duration::from_secs(1);

/// How often a worker that a signal has stopped is looked at while a request waits for it.
const STOPPED_LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How long a dead worker's connection may give nothing before it is cut. The kernel closes it with the process, but
/// for a copy of its descriptor in a process that the app has started.
const DEAD_SILENCE_TIME_MAX: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct ListeningWorker {
    address: SocketAddr,
    /// Drives the connections.
    pub(super) runtime: Handle,
    pub(super) pool: Pool,
    pub(super) permits: Arc<Semaphore>,
    /// True once the worker is dead.
    dead: watch::Sender<bool>,
    /// Its process, once it is known.
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

    /// Tells which process the worker is. The first word counts.
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
        // The sender lives as long as `self`.
        let _ = dead.wait_for(|dead| *dead).await;
    }

    fn outlook(&self) -> Outlook {
        if self.is_dead() {
            return Outlook::Dying;
        }
        self.process.get().map_or(Outlook::Runs, Liveness::outlook)
    }

    /// True if the worker is dead or will never run its code again.
    fn is_dying(&self) -> bool {
        self.outlook() == Outlook::Dying
    }

    /// Waits until the worker's process can take what it is sent. The kernel accepts connections for one that is stopped or
    /// dying as well, and what was sent on one cannot be taken back. One that stays stopped is ended by the runner.
    pub(super) async fn until_it_runs(&self) -> Result<(), UpstreamError> {
        loop {
            match self.outlook() {
                Outlook::Runs => return Ok(()),
                Outlook::Dying => return Err(UpstreamError::Lost),
                Outlook::Stopped => {
                    // Its death is seen by the next look.
                    let _ = tokio::time::timeout(STOPPED_LOOK_INTERVAL, self.death()).await;
                }
            }
        }
    }

    /// True if the worker is dead, waiting a moment for the news.
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

/// Resolves where a worker is dead and nothing has come from it for a while.
pub(super) async fn silence(worker: Arc<ListeningWorker>) {
    worker.death().await;
    tokio::time::sleep(DEAD_SILENCE_TIME_MAX).await;
}
