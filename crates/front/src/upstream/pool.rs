//! Idle connections to a plain app. Bounded in number and time: few apps close idle connections sooner, so it
//! is usually the front that closes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use super::connection::Connection;

/// How many idle connections are kept.
const IDLE_COUNT_MAX: usize = 32;

/// How long an idle connection is kept. actix-web and Rocket close theirs after 5 s.
const IDLE_TIME_MAX: Duration = Duration::from_secs(4);

/// How long after a response a connection may take to become ready again.
const READY_TIME_MAX: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

#[derive(Debug, Default)]
struct IdleConnections {
    /// The last used one is at the back.
    idle: VecDeque<Idle>,
    /// Nothing is kept any more.
    closed: bool,
    /// A task closes the old ones.
    swept: bool,
}

/// The idle connections. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool(Arc<Mutex<IdleConnections>>);

impl Pool {
    fn lock(&self) -> MutexGuard<'_, IdleConnections> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection believed to be open.
    pub(super) fn take(&self) -> Option<Connection> {
        let mut kept = self.lock();
        let fresh_since = Instant::now().checked_sub(IDLE_TIME_MAX);
        while let Some(idle) = kept.idle.pop_back() {
            if fresh_since.is_none_or(|fresh_since| idle.since > fresh_since)
                && idle.connection.sender.is_ready()
            {
                return Some(idle.connection);
            }
        }
        None
    }

    /// Keeps a connection after its exchange, once it is ready for the next one.
    pub(super) fn give(&self, mut connection: Connection, runtime: &Handle) {
        if connection.sender.is_closed() {
            return;
        }
        if connection.sender.is_ready() {
            return self.keep(connection, runtime);
        }
        let (pool, driver) = (self.clone(), runtime.clone());
        runtime.spawn(async move {
            let ready = tokio::time::timeout(READY_TIME_MAX, connection.sender.ready()).await;
            if matches!(ready, Ok(Ok(()))) {
                pool.keep(connection, &driver);
            }
        });
    }

    /// Closes the idle connections and keeps no more.
    pub(super) fn close(&self) {
        let idle = {
            let mut kept = self.lock();
            kept.closed = true;
            std::mem::take(&mut kept.idle)
        };
        drop(idle);
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.lock().idle.len()
    }

    fn keep(&self, connection: Connection, runtime: &Handle) {
        let mut kept = self.lock();
        if kept.closed {
            return;
        }
        if kept.idle.len() >= IDLE_COUNT_MAX {
            kept.idle.pop_front();
        }
        kept.idle.push_back(Idle { connection, since: Instant::now() });
        if !std::mem::replace(&mut kept.swept, true) {
            runtime.spawn(sweep(Arc::downgrade(&self.0)));
        }
    }
}

/// Closes connections as they expire, until none is left.
async fn sweep(kept: std::sync::Weak<Mutex<IdleConnections>>) {
    loop {
        let next = {
            let Some(kept) = kept.upgrade() else { return };
            let pool = Pool(kept);
            let mut kept = pool.lock();
            let now = Instant::now();
            while kept.idle.front().is_some_and(|idle| idle.since + IDLE_TIME_MAX <= now) {
                kept.idle.pop_front();
            }
            match kept.idle.front() {
                Some(idle) => idle.since + IDLE_TIME_MAX,
                None => {
                    kept.swept = false;
                    return;
                }
            }
        };
        tokio::time::sleep_until(next).await;
    }
}
