//! What the builders of apps that are served together know in common: how each crate of the workspace was last compiled, by
//! whichever of them. A crate that several apps use, compiled in the same way for all, has one entry.
//!
//! So a change of it is compiled by the first app that is built; the others find the entry up to date, and compile only what was
//! compiled against an earlier one. An entry is about the files in the target directory, and whoever changes those changes it: a replay
//! by itself, a run of cargo by what the recording finds afterwards. After one that was cancelled, the results may no longer be those
//! of the entry, which each replay checks.
//!
//! Only one of these builders builds at a time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::net::unix::pipe::Receiver;

use super::made::Made;

/// How long a cancelled rustc may take to end.
const CANCELLED_END_TIME_MAX: Duration = Duration::from_secs(5);

/// A crate's last compilation, shared by all who know it.
pub(super) type Entry = Arc<Mutex<Made>>;

/// What builders know in common. Clones are the same ledger.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// By the path of the call's record.
    entries: Mutex<HashMap<PathBuf, Entry>>,
    last_id: AtomicU64,
    /// A run of cargo has begun, and not ended.
    is_cargo_unfinished: AtomicBool,
    /// Pipes that reach their end once every process of a cancelled replay has ended.
    alive: tokio::sync::Mutex<Vec<Receiver>>,
}

/// A crate that is compiled from what is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Current {
    /// Its package's directory.
    pub(crate) package_root: PathBuf,
    /// The hash in the names of its files.
    pub(crate) hash: String,
    /// The files that it was compiled from.
    pub(crate) sources: BTreeSet<PathBuf>,
    /// It has read whatever was there then, also what nobody follows. `None` if that is unknown.
    pub(crate) started: Option<SystemTime>,
    /// cargo may take it for its own.
    pub(crate) suits_cargo: bool,
}

impl Ledger {
    pub(super) fn next_id(&self) -> u64 {
        self.0.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Takes in what a run of cargo has compiled or found fresh.
    pub(super) fn enter(&self, record: &Path, found: Made) -> Entry {
        let mut entries = self.entries();
        // Those of earlier manifests and settings.
        entries.retain(|path, entry| Arc::strong_count(entry) > 1 || path.is_file());
        let Some(entry) = entries.get(record) else {
            let entry = Arc::new(Mutex::new(found));
            entries.insert(record.to_owned(), Arc::clone(&entry));
            return entry;
        };
        let mut made = lock(entry);
        *made = if made.is_same_as(&found) {
            // What it was compiled from is known better than by a look afterwards.
            let sources = std::mem::take(&mut made.sources);
            Made { id: made.id, started: made.started, sources, ..found }
        } else {
            found
        };
        drop(made);
        Arc::clone(entry)
    }

    /// The crates that need no compilation, whatever their files' times.
    pub(crate) fn current(&self) -> Vec<Current> {
        let entries = self.entries();
        let ids: BTreeMap<PathBuf, u64> =
            entries.iter().map(|(record, entry)| (record.clone(), lock(entry).id)).collect();
        let current = entries.values().filter_map(|entry| {
            let made = lock(entry);
            let uses_latest = made.against.iter().all(|(record, id)| ids.get(record) == Some(id));
            let call = made.recorded.call();
            let hash = call.codegen("extra-filename")?.strip_prefix('-')?.to_owned();
            (uses_latest && made.is_current()).then(|| Current {
                package_root: made.recorded.package_root.clone(),
                hash,
                sources: made.sources.keys().cloned().collect(),
                started: made.started,
                suits_cargo: made.is_as_cargo_knows_it(),
            })
        });
        current.collect()
    }

    /// Makes everything of these packages be compiled again.
    pub(crate) fn doubt(&self, package_roots: &[&Path]) {
        for entry in self.entries().values() {
            let mut made = lock(entry);
            made.due |= package_roots.contains(&made.recorded.package_root.as_path());
        }
    }

    /// Notes that cargo runs. It may compile any crate.
    pub(crate) fn cargo_begins(&self) {
        self.0.is_cargo_unfinished.store(true, Ordering::Relaxed);
        for entry in self.entries().values() {
            lock(entry).aged = false;
        }
    }

    pub(crate) fn cargo_ended(&self) {
        self.0.is_cargo_unfinished.store(false, Ordering::Relaxed);
    }

    /// Whether the last run of cargo was cancelled. Some process of it may be left for a moment.
    pub(super) fn is_cargo_unfinished(&self) -> bool {
        self.0.is_cargo_unfinished.load(Ordering::Relaxed)
    }

    /// Adds the end of a pipe that processes of a replay hold.
    pub(super) async fn hold(&self, alive: Receiver) {
        self.0.alive.lock().await.push(alive);
    }

    pub(super) async fn held_count(&self) -> usize {
        self.0.alive.lock().await.len()
    }

    /// Forgets the pipes added last.
    pub(super) async fn release(&self, kept_count: usize) {
        self.0.alive.lock().await.truncate(kept_count);
    }

    /// Waits until no process of a cancelled replay is left: it would write to the same files. Returns false if one does not end.
    pub(crate) async fn is_quiet(&self) -> bool {
        let deadline = tokio::time::Instant::now() + CANCELLED_END_TIME_MAX;
        let mut pipes = self.0.alive.lock().await;
        while let Some(alive) = pipes.last_mut() {
            // What is written to the pipe does not matter.
            let mut nowhere = tokio::io::sink();
            let ended = tokio::io::copy(alive, &mut nowhere);
            if tokio::time::timeout_at(deadline, ended).await.is_err() {
                return false;
            }
            pipes.pop();
        }
        true
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<PathBuf, Entry>> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at an entry. A panic elsewhere leaves it as it was before or after a change.
pub(super) fn lock(entry: &Entry) -> MutexGuard<'_, Made> {
    entry.lock().unwrap_or_else(PoisonError::into_inner)
}
