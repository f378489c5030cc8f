//! The thread that turns events into batches: what the kernel tells (or a turn of polling finds) goes into the
//! intake, the thread asks the tree what of it matters, waits until a burst is over, lets the tree look, and sends
//! what has changed. It reads the clock and owns the tree; it knows no classes and no paths' meaning.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RenameMode};
use tokio::sync::mpsc;

use super::Changes;
use super::classify::may_lead_to_a_start;
use super::error::WatchError;
use super::suspicion::Suspicion;
use super::tree::Tree;
use devhost_model::BuildInputs;

/// A batch is complete when nothing has happened for this long: as short as several files of one save are apart. What
/// comes later cancels the build that the first batch has started, which costs less than to wait for it each time.
const QUIET_MS: u64 = 1;
/// A batch is looked at this long after its first event, even if more happens or a file is still being written.
const BATCH_TIME_MAX_MS: u64 = 50;
/// How long a checkout may take from its first file to the ignore file that makes that file count.
const CHECKOUT_TIME_MAX_MS: u64 = 1_000;
/// How long a package's directory may be away before that is told: a checkout of another branch may put it back.
const AWAY_TIME_MAX_MS: u64 = 2_000;
/// Time between two looks at everything, where the kernel does not tell.
const POLL_INTERVAL_MS: u64 = 500;
/// Polling takes at most one part in this many of a processor.
const POLL_SHARE: u32 = 10;
/// Events that wait for the thread; more are answered with a look at everything.
const INTAKE_COUNT_MAX: usize = 16_384;
/// Batches that wait for their reader; later ones are merged into one.
pub(super) const QUEUE_COUNT_MAX: usize = 16;
/// How often a batch that found the queue full is offered again.
const QUEUE_RETRY_MS: u64 = 20;

/// What an event says about the file at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hint {
    /// Its writer is not done: it was created, written to and not closed, or taken away by a save that may put
    /// another in its place.
    Unfinished,
    /// It is complete.
    Finished,
    /// Something that is no writing: its times or its mode.
    Touched,
}

/// What waits for the thread.
#[derive(Debug, Default)]
struct Waiting {
    hints: Vec<(PathBuf, Hint, Instant)>,
    problems: Vec<WatchError>,
    inputs: Option<(BuildInputs, SystemTime)>,
    /// What is known of the inputs of a build that failed after those.
    doubt: Option<(BuildInputs, SystemTime)>,
    /// Events were lost.
    rescan: bool,
    stop: bool,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.hints.is_empty()
            && self.problems.is_empty()
            && self.inputs.is_none()
            && self.doubt.is_none()
            && !self.rescan
            && !self.stop
    }
}

/// What may be code, though its name does not say so.
#[derive(Debug, Default)]
struct Suspects {
    files: HashSet<PathBuf>,
    directories: Vec<PathBuf>,
    /// Everything.
    all: bool,
}

impl Suspects {
    fn have(&self, path: &Path) -> bool {
        self.all
            || self.files.contains(path)
            || self.directories.iter().any(|directory| path.starts_with(directory))
    }
}

/// Where events and orders wait for the thread. Bounded: what would be too much becomes one look at everything.
#[derive(Debug, Default)]
pub(super) struct Intake {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    suspect: Mutex<Suspects>,
    suspicion: Arc<Suspicion>,
}

impl Intake {
    /// An empty one, which raises this suspicion.
    pub(super) fn new(suspicion: Arc<Suspicion>) -> Self {
        Self { suspicion, ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while it holds the lock; if it did, what waits would still be whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what `notify` reports.
    pub(super) fn report(&self, event: notify::Result<notify::Event>) {
        let now = Instant::now();
        let mut waiting = self.lock();
        match event {
            Ok(event) => {
                waiting.rescan |= event.need_rescan();
                let Some(hint) = hint_of(event.kind) else {
                    if waiting.rescan {
                        self.arrived.notify_one();
                    }
                    return;
                };
                if event.paths.iter().any(|path| self.may_be_code(path)) {
                    self.suspicion.raise();
                }
                waiting.hints.extend(event.paths.into_iter().map(|path| (path, hint, now)));
                if waiting.hints.len() > INTAKE_COUNT_MAX {
                    waiting.hints.clear();
                    waiting.rescan = true;
                }
            }
            Err(error) => {
                let path = error.paths.first().cloned().unwrap_or_default();
                if waiting.problems.is_empty() {
                    waiting.problems.push(WatchError::from_notify(&error, &path));
                }
                waiting.rescan = true;
            }
        }
        self.arrived.notify_one();
    }

    /// A quick look: the tree knows better, in a moment.
    fn may_be_code(&self, path: &Path) -> bool {
        let is_suspect = || self.suspects().have(path);
        may_lead_to_a_start(path) || is_suspect()
    }

    /// Nothing is suspected where nothing waits.
    fn dismiss_suspicion_if_idle(&self) {
        // Under the lock that events come in under: none is missed.
        let waiting = self.lock();
        if waiting.is_empty() {
            self.suspicion.dismiss();
        }
    }

    fn suspects(&self) -> MutexGuard<'_, Suspects> {
        self.suspect.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands what the last build depends on to the thread.
    pub(super) fn set_inputs(&self, inputs: BuildInputs, since: SystemTime) {
        let BuildInputs { files, named, packages } = &inputs;
        *self.suspects() = Suspects {
            files: files.iter().cloned().collect(),
            directories: named.iter().chain(packages).cloned().collect(),
            all: false,
        };
        let mut waiting = self.lock();
        // The earlier order may not have been carried out: what changed since then is still unseen.
        let since = waiting.inputs.take().map_or(since, |(_, earlier)| earlier.min(since));
        waiting.inputs = Some((inputs, since));
        waiting.doubt = None;
        self.arrived.notify_one();
    }

    /// Hands to the thread that a build has failed.
    pub(super) fn doubt(&self, known: BuildInputs, since: SystemTime) {
        self.suspects().all = true;
        let mut waiting = self.lock();
        let since = waiting.doubt.take().map_or(since, |(_, earlier)| earlier.min(since));
        waiting.doubt = Some((known, since));
        self.arrived.notify_one();
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.arrived.notify_one();
    }

    /// Waits for something to arrive, at most until the deadline.
    fn take(&self, deadline: Option<Instant>) -> Waiting {
        let mut waiting = self.lock();
        while waiting.is_empty() {
            waiting = match deadline {
                None => self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    self.arrived.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        std::mem::take(&mut *waiting)
    }
}

/// What an event says, `None` where it says nothing: this thread's own reading of files makes events too.
fn hint_of(kind: EventKind) -> Option<Hint> {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Hint::Finished),
        EventKind::Access(_) => None,
        EventKind::Create(CreateKind::File)
        | EventKind::Modify(ModifyKind::Data(_))
        | EventKind::Remove(_) => Some(Hint::Unfinished),
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) => Some(Hint::Unfinished),
        EventKind::Modify(ModifyKind::Metadata(_)) => Some(Hint::Touched),
        EventKind::Create(_) | EventKind::Modify(_) => Some(Hint::Finished),
        EventKind::Any | EventKind::Other => None,
    }
}

/// Places where something has happened, until the burst is over.
#[derive(Default)]
struct Batch {
    /// The places and the time of the first event of each.
    places: BTreeMap<PathBuf, Instant>,
    unfinished: BTreeSet<PathBuf>,
    span: Option<Span>,
}

#[derive(Clone, Copy)]
struct Span {
    first: Instant,
    last: Instant,
}

impl Batch {
    fn add(&mut self, place: PathBuf, hint: Hint, at: Instant) {
        let span = self.span.get_or_insert(Span { first: at, last: at });
        span.first = span.first.min(at);
        span.last = span.last.max(at);
        match hint {
            Hint::Unfinished => {
                self.unfinished.insert(place.clone());
            }
            Hint::Finished => {
                self.unfinished.remove(&place);
            }
            Hint::Touched => {}
        }
        let first = self.places.entry(place).or_insert(at);
        *first = at.min(*first);
    }

    /// When the batch is to be looked at.
    fn due(&self) -> Option<Instant> {
        let span = self.span?;
        let latest = span.first + Duration::from_millis(BATCH_TIME_MAX_MS);
        if self.unfinished.is_empty() {
            Some(latest.min(span.last + Duration::from_millis(QUIET_MS)))
        } else {
            Some(latest)
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.due().is_some_and(|due| due <= now)
    }

    /// When it began to happen there: the file's own first event, or that of a directory above it, or of the batch.
    fn began_at(&self, place: &Path) -> Instant {
        place
            .ancestors()
            .find_map(|place| self.places.get(place).copied())
            .or(self.span.map(|span| span.first))
            .unwrap_or_else(Instant::now)
    }
}

/// The state of the thread.
pub(super) struct Engine {
    intake: Arc<Intake>,
    tree: Tree,
    sender: mpsc::Sender<Changes>,
    batch: Batch,
    /// Changes that found the queue full.
    unsent: Option<Changes>,
    next_poll: Option<Instant>,
    /// Packages whose directories are away, since when, and whether that was told.
    away: BTreeMap<PathBuf, (Instant, bool)>,
}

impl Engine {
    pub(super) fn new(intake: Arc<Intake>, tree: Tree, sender: mpsc::Sender<Changes>, polls: bool) -> Self {
        let next_poll = polls.then(|| Instant::now() + Duration::from_millis(POLL_INTERVAL_MS));
        Self { intake, tree, sender, batch: Batch::default(), unsent: None, next_poll, away: BTreeMap::new() }
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self) {
        let mut has_unread = true;
        loop {
            let waiting = self.intake.take(self.deadline(has_unread));
            if waiting.stop {
                return;
            }
            has_unread |= waiting.inputs.is_some() || waiting.doubt.is_some();
            self.carry_out(waiting);
            let now = Instant::now();
            if self.batch.is_due(now) {
                self.look_at_batch();
                has_unread = true;
            } else if self.next_poll.is_some_and(|next| next <= now) {
                self.poll(now);
                has_unread = true;
            } else if has_unread {
                has_unread = self.read_one(now);
            }
            self.tell_of_packages_away(now);
            self.send(None);
            if self.batch.span.is_none() {
                self.intake.dismiss_suspicion_if_idle();
            }
        }
    }

    fn deadline(&self, has_unread: bool) -> Option<Instant> {
        let now = Instant::now();
        let retry = self.unsent.as_ref().map(|_| now + Duration::from_millis(QUEUE_RETRY_MS));
        let untold = self.away.values().filter(|(_, told)| !told);
        let away = untold.map(|(since, _)| *since + Duration::from_millis(AWAY_TIME_MAX_MS)).min();
        [self.batch.due(), self.next_poll, retry, away, has_unread.then_some(now)].into_iter().flatten().min()
    }

    fn carry_out(&mut self, waiting: Waiting) {
        if !waiting.problems.is_empty() {
            let mut changes = Changes::empty(Instant::now());
            changes.problems = waiting.problems;
            self.send(Some(changes));
        }
        for (place, hint, at) in waiting.hints {
            if self.tree.is_relevant(&place) {
                self.batch.add(place, hint, at);
            }
        }
        if let Some((inputs, since)) = waiting.inputs {
            self.tree.set_inputs(&inputs, since);
            self.send_changes(&Batch::default());
        }
        if let Some((known, since)) = waiting.doubt {
            self.tree.doubt(&known, since);
            self.send_changes(&Batch::default());
        }
        if waiting.rescan {
            self.tree.inspect_everything();
            let batch = std::mem::take(&mut self.batch);
            self.send_changes(&batch);
        }
    }

    fn look_at_batch(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let age = batch.span.map(|span| span.first.elapsed()).unwrap_or_default();
        let began = SystemTime::now() - age - Duration::from_millis(CHECKOUT_TIME_MAX_MS);
        self.tree.inspect_all(batch.places.keys(), began);
        self.send_changes(&batch);
    }

    /// Reads a file in idle time. One that turns out to have changed waits for the end of the burst like any other.
    fn read_one(&mut self, now: Instant) -> bool {
        let Some(read) = self.tree.read_one() else { return false };
        if let Some(changed) = read {
            self.batch.add(changed, Hint::Finished, now);
        }
        true
    }

    fn poll(&mut self, began: Instant) {
        self.tree.inspect_everything();
        self.send_changes(&Batch::default());
        let ended = Instant::now();
        let pause = Duration::from_millis(POLL_INTERVAL_MS).max((ended - began) * POLL_SHARE);
        self.next_poll = Some(ended + pause);
    }

    fn tell_of_packages_away(&mut self, now: Instant) {
        let away: BTreeSet<PathBuf> = self.tree.packages_away().map(Path::to_owned).collect();
        self.away.retain(|path, _| away.contains(path));
        let mut changes = Changes::empty(now);
        for path in away {
            let (since, told) = self.away.entry(path.clone()).or_insert((now, false));
            if !*told && now.duration_since(*since) >= Duration::from_millis(AWAY_TIME_MAX_MS) {
                *told = true;
                changes.problems.push(WatchError::RootGone { path });
            }
        }
        if !changes.is_empty() {
            self.send(Some(changes));
        }
    }

    fn send_changes(&mut self, batch: &Batch) {
        let changes = self.tree.take_changes(|place| batch.began_at(place));
        if let Some(changes) = changes {
            let files = &changes.files;
            if !files.code.is_empty() || !files.inputs.is_empty() || !files.startup.is_empty() {
                self.intake.suspicion.confirm();
            }
            self.send(Some(changes));
        }
    }

    /// Sends what waits and what is new: at once if the queue has room, merged and later if not.
    fn send(&mut self, new: Option<Changes>) {
        let changes = match (self.unsent.take(), new) {
            (None, None) => return,
            (Some(one), None) | (None, Some(one)) => one,
            (Some(mut old), Some(new)) => {
                old.merge(new);
                old
            }
        };
        if let Err(mpsc::error::TrySendError::Full(changes)) = self.sender.try_send(changes) {
            self.unsent = Some(changes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn batch_waits_for_quiet_but_not_for_ever() {
        let start = Instant::now();
        let mut batch = Batch::default();
        batch.add("/a".into(), Hint::Finished, start);
        assert_eq!(batch.due(), Some(start + milliseconds(QUIET_MS)));
        for step in 1..40 {
            batch.add("/b".into(), Hint::Finished, start + milliseconds(2 * step));
        }
        assert_eq!(batch.due(), Some(start + milliseconds(BATCH_TIME_MAX_MS)));
    }

    #[test]
    fn batch_waits_for_a_file_that_is_being_written() {
        let start = Instant::now();
        let mut batch = Batch::default();
        batch.add("/a".into(), Hint::Unfinished, start);
        batch.add("/b".into(), Hint::Finished, start);
        batch.add("/a".into(), Hint::Touched, start);
        assert_eq!(batch.due(), Some(start + milliseconds(BATCH_TIME_MAX_MS)));
        batch.add("/a".into(), Hint::Finished, start + milliseconds(3));
        assert_eq!(batch.due(), Some(start + milliseconds(3 + QUIET_MS)));
        assert_eq!(batch.began_at(Path::new("/a/below")), start);
    }

    #[test]
    fn flood_of_events_becomes_one_look_at_everything() {
        let intake = Intake::default();
        for number in 0..=INTAKE_COUNT_MAX {
            let event = notify::Event::new(EventKind::Modify(ModifyKind::Any));
            intake.report(Ok(event.add_path(format!("/{number}").into())));
        }
        let waiting = intake.take(None);
        assert!(waiting.rescan && waiting.hints.is_empty());
    }

    #[test]
    fn reading_a_file_is_no_event() {
        let intake = Intake::default();
        let event = notify::Event::new(EventKind::Access(AccessKind::Open(AccessMode::Any)));
        intake.report(Ok(event.add_path("/a".into())));
        assert!(intake.take(Some(Instant::now())).is_empty());
    }

    #[test]
    fn lost_events_ask_for_a_rescan() {
        let intake = Intake::default();
        intake.report(Ok(notify::Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan)));
        assert!(intake.take(None).rescan);
    }
}
