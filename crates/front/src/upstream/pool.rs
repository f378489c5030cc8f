//! Connections to a plain app that wait for their next request. Bounded in number and in time: few apps keep an idle
//! connection for less time than this pool does, so that it is the front that closes them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use super::connection::Connection;

/// How many idle connections are kept.
pub const IDLE_COUNT_MAX: usize = 32;

/// How long an idle connection is kept. actix-web and rocket close theirs after 5 s.
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(4);

/// How long a connection may take to be ready for the next request after a response.
const READY_TIME_MAX: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

#[derive(Debug, Default)]
struct State {
    /// The one that was used last is at the back.
    idle: VecDeque<Idle>,
    /// Nothing is kept any more.
    closed: bool,
    /// A task looks after what grows old.
    swept: bool,
}

/// The idle connections. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool(Arc<Mutex<State>>);

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that is open as far as is known.
    pub(super) fn take(&self) -> Option<Connection> {
        let mut state = self.lock();
        let fresh_since = Instant::now().checked_sub(IDLE_TIME_MAX);
        while let Some(idle) = state.idle.pop_back() {
            if fresh_since.is_none_or(|fresh_since| idle.since > fresh_since)
                && idle.connection.sender.is_ready()
            {
                return Some(idle.connection);
            }
        }
        None
    }

    /// Keeps a connection whose exchange is over. What is left of it, or of the request, is waited for.
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

    /// Closes the idle ones, and keeps no more.
    pub(super) fn close(&self) {
        let idle = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.idle)
        };
        drop(idle);
    }

    /// How many connections are idle.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.lock().idle.len()
    }

    fn keep(&self, connection: Connection, runtime: &Handle) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        if state.idle.len() >= IDLE_COUNT_MAX {
            state.idle.pop_front();
        }
        state.idle.push_back(Idle { connection, since: Instant::now() });
        if !std::mem::replace(&mut state.swept, true) {
            runtime.spawn(sweep(Arc::downgrade(&self.0)));
        }
    }
}

/// Closes connections as they grow old, until there are none.
async fn sweep(state: std::sync::Weak<Mutex<State>>) {
    loop {
        let next = {
            let Some(state) = state.upgrade() else { return };
            let pool = Pool(state);
            let mut state = pool.lock();
            let now = Instant::now();
            while state.idle.front().is_some_and(|idle| idle.since + IDLE_TIME_MAX <= now) {
                state.idle.pop_front();
            }
            match state.idle.front() {
                Some(idle) => idle.since + IDLE_TIME_MAX,
                None => {
                    state.swept = false;
                    return;
                }
            }
        };
        tokio::time::sleep_until(next).await;
    }
}
