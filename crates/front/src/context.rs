//! What requests share: the gate, the event hub, the status, and which notices the user has had.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::files::Files;
use super::gate::Gate;
use super::live_reload::Hub;
use super::slots::SlotKind;
use devhost_model::StatusBoard;
use devhost_watch::Suspicion;

/// How often the user is told that the slots are full.
const BUSY_NOTICE_INTERVAL: Duration = Duration::from_secs(60);

/// How many policies, and how many origins, get a notice.
const NOTICES_COUNT_MAX: usize = 64;

/// State shared by all requests.
pub(crate) struct Front {
    pub(crate) gate: Gate,
    pub(crate) hub: Hub,
    pub(crate) status: Arc<StatusBoard>,
    pub(crate) session: String,
    pub(crate) app: String,
    pub(crate) inject: bool,
    pub(crate) suspicion: Arc<Suspicion>,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) notices: Notices,
    pub(crate) files: Files,
}

impl Front {
    pub(crate) fn page_context(&self) -> PageContext<'_> {
        PageContext {
            app: &self.app,
            session: &self.session,
            generation: self.current_generation(),
            revision: self.hub.revision(),
        }
    }

    /// Returns the number of the current generation, 0 if there is none.
    pub(crate) fn current_generation(&self) -> u64 {
        self.gate.current().map_or(0, |backend| backend.generation)
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct PageContext<'a> {
    pub app: &'a str,
    /// This run of devhost.
    pub session: &'a str,
    /// The page's generation, or the current one; 0 before the first.
    pub generation: u64,
    pub revision: u64,
}

/// Notices to the user about requests, without repetition.
pub(crate) struct Notices {
    send: Box<dyn Fn(String) + Send + Sync>,
    refused_origins: Mutex<HashSet<String>>,
    policies: Mutex<HashSet<String>>,
    /// When the user was last told that the slots are full.
    busy_at: Mutex<Option<Instant>>,
}

impl Notices {
    pub(crate) fn new(send: Box<dyn Fn(String) + Send + Sync>) -> Self {
        Self {
            send,
            refused_origins: Mutex::default(),
            policies: Mutex::default(),
            busy_at: Mutex::default(),
        }
    }

    /// A request found no slot. Tells the user now and then.
    pub(crate) fn busy(&self, kind: SlotKind, long_lived_count_max: usize) {
        let mut noticed = self.busy_at.lock().unwrap_or_else(PoisonError::into_inner);
        if noticed.is_none_or(|noticed| noticed.elapsed() >= BUSY_NOTICE_INTERVAL) {
            *noticed = Some(Instant::now());
            drop(noticed);
            let open = kind.describe_full(long_lived_count_max);
            (self.send)(format!("{open}; further ones get an error page (503)"));
        }
    }

    /// A page goes without live reload. Tells the user once for each policy.
    pub(crate) fn page_without_script(&self, path: &str, policy: String, reason: &str) {
        if is_new(&self.policies, policy) {
            (self.send)(format!("no live reload in {path}: {reason}"));
        }
    }

    /// A page was refused a WebSocket. Tells the user once for each origin.
    pub(crate) fn foreign_websocket(&self, origin: &str, path: &str) {
        if is_new(&self.refused_origins, origin.to_owned()) {
            (self.send)(format!(
                "a page from {origin} was not allowed to open a WebSocket at {path}; --allowed-origin {origin} \
                 would allow it"
            ));
        }
    }
}

/// Returns true if `what` is new and there is room to remember it.
fn is_new(told: &Mutex<HashSet<String>>, what: String) -> bool {
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    told.len() < NOTICES_COUNT_MAX && told.insert(what)
}
