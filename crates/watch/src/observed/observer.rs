//! Gathers what all workers do with files, for the watcher and for the front. Thread-safe; reads trails whenever it is asked.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use devhost_sys::trail::{Cursor, Look, News, Trail};
use tokio::sync::oneshot;

use super::bounds::Bounds;
use super::knowledge::{Fresh, Knowledge, Reaction};
use super::reading::{Promise, Unclaimed};
use super::written::Found;
use crate::explained::{ANSWER_TIME_MAX, About, Explained, NoAnswer, Question};
use crate::scope::Scope;
use crate::tree::place_of;

/// How many spellings of paths are remembered with where they lead.
const WAYS_COUNT_MAX: usize = 65_536;

/// How far back a new watcher looks for changes that the one before it may not have reported.
const HANDOVER_TIME: Duration = Duration::from_secs(2);

/// How long to wait before looking again whether a call of the app's is over.
const CHANGING_PAUSE: Duration = Duration::from_millis(1);

/// Why the watcher is called.
#[derive(Debug)]
pub(crate) enum Call {
    /// There is something to follow.
    News,
    /// The app has answered with old content: nobody else is to get that.
    Stale,
    /// Somebody asks what a change would do.
    Question(Question),
}

type Watcher = Box<dyn Fn(Call) + Send + Sync>;

/// What all workers do with files.
#[derive(Default)]
pub struct Observer {
    pub(super) state: Mutex<State>,
    /// Some served file has changed, and it is not known yet whether the app looks at it.
    pub(super) has_promises: AtomicBool,
    watcher: Mutex<Option<Watcher>>,
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observer").finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) knowledge: Knowledge,
    bounds: Bounds,
    pub(super) workers: BTreeMap<u64, Worker>,
    workers_count: u64,
    /// Where spelled paths lead. Forgotten with each new worker: a link may lead elsewhere since.
    ways: HashMap<PathBuf, Way>,
    /// Served files of which the app has just answered from memory.
    betrayed: Vec<PathBuf>,
    /// The app may read files in ways that are not seen.
    may_bypass: bool,
}

/// Where a path leads.
#[derive(Debug, Clone)]
struct Way {
    place: PathBuf,
    /// The places of symbolic links among its directories. If one is changed, the path leads elsewhere.
    links: Vec<PathBuf>,
}

impl Way {
    fn of(path: &Path) -> Self {
        let place = place_of(path);
        let links = if place == path {
            Vec::new()
        } else {
            let directories = path.ancestors().skip(1).filter(|directory| directory.is_symlink());
            directories.map(place_of).collect()
        };
        Self { place, links }
    }
}

/// A worker, as far as its use of files is concerned.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) generation: u64,
    trail: Arc<Trail>,
    cursor: Cursor,
    /// Opens that no response has explained yet.
    pub(super) unclaimed: HashMap<PathBuf, Unclaimed>,
    /// How often it has looked at each file, and when last.
    pub(super) looks: HashMap<PathBuf, (u64, SystemTime)>,
    pub(super) promises: HashMap<PathBuf, Promise>,
}

/// A worker's place with the observer, which forgets the worker when this is dropped.
#[derive(Debug)]
pub struct Seat {
    pub(super) observer: Arc<Observer>,
    pub(super) worker: u64,
    trail: Arc<Trail>,
    /// How many events of the trail have been read.
    seen: AtomicU64,
    /// Requests in the worker now, and how many there ever were.
    pub(super) inside: AtomicU32,
    pub(super) entered: AtomicU64,
}

impl Observer {
    /// Creates an observer of an app whose files are in a scope.
    pub fn of(scope: &Scope) -> Arc<Self> {
        fn canonical<'p>(paths: impl Iterator<Item = &'p PathBuf>) -> Vec<PathBuf> {
            paths.map(|path| crate::tree::canonical(path)).collect()
        }
        let around = scope.surroundings.iter().map(|surroundings| &surroundings.path);
        let project = scope.roots.iter().chain([&scope.workspace_root]).chain(around);
        let observer = Self::default();
        observer.lock().bounds = Bounds::new(canonical(project), canonical(scope.exclude.iter()));
        Arc::new(observer)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Observes one more worker.
    pub fn seat(self: &Arc<Self>, generation: u64, trail: Arc<Trail>) -> Arc<Seat> {
        let mut state = self.lock();
        state.workers_count += 1;
        let number = state.workers_count;
        let worker = Worker {
            generation,
            trail: Arc::clone(&trail),
            cursor: Cursor::default(),
            unclaimed: HashMap::new(),
            looks: HashMap::new(),
            promises: HashMap::new(),
        };
        state.workers.insert(number, worker);
        state.ways.clear();
        drop(state);
        Arc::new(Seat {
            observer: Arc::clone(self),
            worker: number,
            trail,
            seen: AtomicU64::new(0),
            inside: AtomicU32::new(0),
            entered: AtomicU64::new(0),
        })
    }

    /// Notes that a generation is ready: what it reads from now on, it does not read at the start.
    pub fn ready(&self, generation: u64) {
        self.read_all();
        let mut state = self.lock();
        if let Some(generation) = state.knowledge.generation(generation) {
            generation.is_ready = true;
        }
    }

    /// Makes a generation the serving one. `is_fresh` says that it is more than the replacement of one that has crashed.
    pub fn make_current(&self, generation: u64, is_fresh: bool) {
        self.read_all();
        self.lock().knowledge.make_current(generation, is_fresh);
        self.call(Call::News);
    }

    /// Says whether the app may read files in ways that are not seen.
    pub fn set_may_bypass(&self, may: bool) {
        self.lock().may_bypass = may;
    }

    /// Returns true if what devhost has not seen did not happen. Otherwise names of files are to be trusted, too.
    pub fn is_trusted(&self) -> bool {
        let state = self.lock();
        !state.may_bypass && state.knowledge.is_seeing()
    }

    /// Returns true if the app uses more files than can be followed.
    pub fn is_full(&self) -> bool {
        self.lock().knowledge.is_full()
    }

    /// Lists the places that the app uses, sorted.
    pub(crate) fn used_places(&self) -> Vec<PathBuf> {
        self.read_all();
        self.lock().knowledge.used_places()
    }

    /// Returns true if a file is as the app left it, or the app is writing it, as far as was read.
    pub(crate) fn is_left_by_app(&self, place: &Path) -> bool {
        self.lock().knowledge.is_left_by_app(place)
    }

    /// Returns true if a change of the place may start the app anew, or be shown by it.
    pub(crate) fn may_matter(&self, place: &Path) -> bool {
        self.read_all();
        self.lock().knowledge.may_matter(place)
    }

    /// Finds what a change of the place leads to. `appeared` says that it is new or gone.
    pub(crate) fn reaction_at(&self, place: &Path, appeared: bool) -> Option<Reaction> {
        self.lock().knowledge.reaction(place, appeared)
    }

    /// Returns true if the app has made the place what it is now. Asked once for each change. What the app does can be seen
    /// before it is noted: until the deadline, waits for the end of calls that are under way.
    pub(crate) fn is_own_work(&self, place: &Path, deadline: Instant) -> bool {
        loop {
            // In this order: what is found now is the work of calls that are noted by the time they are over.
            let found = Found::at(place);
            let mut is_unsure = self.is_changing();
            is_unsure |= self.read_all();
            let mut state = self.lock();
            let is_own = state.knowledge.is_own_work(place, &found);
            if is_own || !is_unsure || Instant::now() >= deadline {
                state.knowledge.forget_touch(place);
                return is_own;
            }
            drop(state);
            std::thread::sleep(CHANGING_PAUSE);
        }
    }

    fn is_changing(&self) -> bool {
        self.lock().workers.values().any(|worker| worker.trail.is_changing())
    }

    /// Notes that browsers are told to load a served file again.
    pub(crate) fn promise(&self, place: &Path) {
        self.lock().promise(place);
        self.has_promises.store(true, Ordering::Release);
    }

    /// Returns the places that are to be followed from now on, and the files that the app answers from memory.
    pub(crate) fn take_news(&self) -> (Vec<Fresh>, Vec<PathBuf>) {
        self.read_all();
        let mut state = self.lock();
        (state.knowledge.take_fresh(), std::mem::take(&mut state.betrayed))
    }

    /// Calls `watcher` when something cannot wait. Hands everything out again, to that new watcher.
    pub(crate) fn subscribe(&self, watcher: impl Fn(Call) + Send + Sync + 'static) {
        let since = SystemTime::now().checked_sub(HANDOVER_TIME).unwrap_or(SystemTime::UNIX_EPOCH);
        self.lock().knowledge.hand_out_again(since);
        *self.watcher.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(watcher));
    }

    pub(super) fn call(&self, call: Call) {
        if let Some(watcher) = &*self.watcher.lock().unwrap_or_else(PoisonError::into_inner) {
            watcher(call);
        }
    }

    /// Asks the watcher what a change would do: the same judgement that a change gets.
    ///
    /// # Errors
    /// The watcher does not answer within three seconds.
    pub async fn explain(&self, about: About) -> Result<Explained, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        self.call(Call::Question(Question { about, answer }));
        match tokio::time::timeout(ANSWER_TIME_MAX, answered).await {
            Ok(Ok(explained)) => Ok(explained),
            Ok(Err(_)) | Err(_) => Err(NoAnswer),
        }
    }

    /// Reads what all workers have done. Returns true if one of them is just noting a write.
    fn read_all(&self) -> bool {
        let mut state = self.lock();
        let workers: Vec<u64> = state.workers.keys().copied().collect();
        let mut is_partial = false;
        for worker in workers {
            is_partial |= state.read(worker);
        }
        is_partial
    }
}

impl State {
    /// Reads what a worker has done since the last call. Returns true if it is just noting a write.
    pub(super) fn read(&mut self, number: u64) -> bool {
        let Some(worker) = self.workers.get_mut(&number) else { return false };
        let generation = worker.generation;
        let News { notes, writes, is_observed, is_full, lost_writes, is_partial } =
            worker.trail.news(&mut worker.cursor);
        if let Some(generation) = self.knowledge.generation(generation) {
            generation.is_observed |= is_observed;
            generation.is_full |= is_full;
        }
        if lost_writes {
            self.knowledge.forget_open(number);
        }
        for written in &writes {
            self.knowledge.add_written(number, written);
        }
        for note in notes {
            let Way { place, links } = self.way(&note.path);
            if !self.bounds.hold(&place) {
                continue;
            }
            for link in links {
                self.knowledge.note(generation, link, Look::Read, 1, note.first);
            }
            if let Look::Made | Look::Removed = note.look {
                self.knowledge.touch(place, note.look, note.last);
                continue;
            }
            if let (Some(worker), Look::Read | Look::Stat) = (self.workers.get_mut(&number), note.look) {
                worker.unclaimed.entry(place.clone()).or_default().add(&note);
                let (looks, last) = worker.looks.entry(place.clone()).or_insert((0, note.last));
                *looks += u64::from(note.count);
                *last = note.last.max(*last);
            }
            self.knowledge.note(generation, place, note.look, note.count, note.first);
        }
        is_partial
    }

    fn way(&mut self, path: &Path) -> Way {
        if let Some(way) = self.ways.get(path) {
            return way.clone();
        }
        let way = Way::of(path);
        if self.ways.len() >= WAYS_COUNT_MAX {
            self.ways.clear();
        }
        self.ways.insert(path.to_owned(), way.clone());
        way
    }

    pub(super) fn betray(&mut self, place: PathBuf) {
        // A request that is sent again may meet the same generation.
        if self.knowledge.remember(&place) {
            self.betrayed.push(place);
        }
    }
}

impl Seat {
    /// Reads what the worker has done, if anything. Returns true if there was something.
    pub(super) fn read(&self) -> bool {
        let sequence = self.trail.sequence();
        if self.seen.swap(sequence, Ordering::AcqRel) == sequence {
            return false;
        }
        self.observer.lock().read(self.worker);
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.observer.lock();
        state.read(self.worker);
        state.knowledge.forget_open(self.worker);
        state.workers.remove(&self.worker);
    }
}
