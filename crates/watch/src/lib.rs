//! Watches the files that the app is made of and says what has changed, sorted by what it leads to. May read and
//! watch the file system; never builds, never waits for whoever reads the changes, and never writes a file.
//!
//! # Theory of operation
//!
//! Each directory that is not ignored has a watch of its own, so that `target` and `node_modules` cost none. An event
//! is only a hint where to look: what counts is what the tree (`tree.rs`) finds there, compared with what it saw last.
//! That makes every way of saving (in place, rename over, delete and create) the same, drops saves that change
//! nothing, and lets polling and a recovery after lost events share one way. The engine (`engine.rs`) waits until a burst
//! is over and sends one batch; a slow reader gets merged batches, never fewer changes.
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

mod classify;
mod engine;
mod error;
mod ignores;
mod inputs;
mod suspicion;
#[cfg(test)]
mod tests;
mod tree;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;

pub use error::WatchError;
pub use suspicion::Suspicion;

use engine::{Engine, Intake, QUEUE_COUNT_MAX};
use tree::{Backend, Tree};

use devhost_model::{BuildInputs, ChangedFiles};
use devhost_sys::inotify;

/// How long the start may take to read the files.
const FIRST_READING_TIME_MAX_MS: u64 = 100;
/// How far the clock that stamps files may be behind ours: a tick of the kernel, at 100 Hz.
const STAMP_LAG_MAX_MS: u64 = 10;

/// What is watched.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// The directories of the app's path packages.
    pub roots: Vec<PathBuf>,
    /// The workspace's root. Only its manifests and its `.env` are watched, unless it is a root too.
    pub workspace_root: PathBuf,
    /// Directories around the packages, in which served files are looked for.
    pub surroundings: Vec<Surroundings>,
    /// Target directories: nothing in them counts, even if a build names it.
    pub exclude: Vec<PathBuf>,
    /// Files that mean a build or a new load whatever they are and wherever they lie.
    pub extra_files: Vec<PathBuf>,
}

/// A directory from which the app may serve or read files that are in none of its packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// The directory. It need not exist.
    pub path: PathBuf,
    /// How many levels of directories below it are looked at.
    pub depth_max: usize,
}

/// How changes are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The kernel tells (inotify).
    Native,
    /// Everything is looked at twice a second: for file systems that tell nothing (network and container mounts).
    Poll,
}

/// What has changed.
#[derive(Debug, Clone)]
pub struct Changes {
    /// The files: each list sorted, without duplicates, and spelled as in the sources or as the roots were.
    pub files: ChangedFiles,
    /// Why some changes may no longer be seen. The watcher goes on as well as it can.
    pub problems: Vec<WatchError>,
    /// When the first of the events happened.
    pub at: Instant,
}

impl Changes {
    fn empty(at: Instant) -> Self {
        Self { files: ChangedFiles::default(), problems: Vec::new(), at }
    }

    /// True if nothing has changed and nothing went wrong.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.problems.is_empty()
    }

    /// Adds later changes.
    pub fn merge(&mut self, later: Self) {
        self.files.merge(later.files);
        self.problems.extend(later.problems);
        self.problems.dedup();
        self.at = self.at.min(later.at);
    }
}

/// Watches until it is dropped; its threads end with it.
#[derive(Debug)]
pub struct Watcher {
    intake: Arc<Intake>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Starts to watch. When it returns, every directory of the scope is watched: no later change is missed.
    pub fn start(scope: Scope, mode: Mode) -> Result<(Self, mpsc::Receiver<Changes>), WatchError> {
        Self::start_with(scope, mode, Arc::default())
    }

    /// As [`Watcher::start`]. The suspicion is raised from the first event of a file that may be code until the changes have
    /// been sent; whoever acts on them settles it.
    pub fn start_with(
        scope: Scope,
        mode: Mode,
        suspicion: Arc<Suspicion>,
    ) -> Result<(Self, mpsc::Receiver<Changes>), WatchError> {
        let intake = Arc::new(Intake::new(Arc::clone(&suspicion)));
        let backend = match mode {
            Mode::Native => {
                let reporter = Arc::clone(&intake);
                let before = inotify::descriptors();
                let watcher = notify::recommended_watcher(move |event| reporter.report(event))
                    .map_err(|error| WatchError::from_notify(&error, &scope.workspace_root))?;
                let new = inotify::descriptors().into_iter().find(|descriptor| !before.contains(descriptor));
                suspicion.look_at(new.and_then(inotify::Queue::of));
                Backend::Native(watcher)
            }
            Mode::Poll => Backend::Poll,
        };
        let mut tree = Tree::new(&scope, backend)?;
        // A save that changes nothing is known as such once the file has been read: most projects are read before the
        // first save, and the rest in idle time.
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(FIRST_READING_TIME_MAX_MS) && tree.read_one().is_some()
        {
        }
        let (sender, receiver) = mpsc::channel(QUEUE_COUNT_MAX);
        let engine = Engine::new(Arc::clone(&intake), tree, sender, mode == Mode::Poll);
        let thread = std::thread::Builder::new()
            .name("devhost-watch".into())
            .spawn(move || engine.run())
            .map_err(|error| WatchError::Failed { message: error.to_string() })?;
        Ok((Self { intake, thread: Some(thread) }, receiver))
    }

    /// Takes what the last build depends on. All of it counts wherever it lies, also if it is ignored, except in excluded
    /// directories.
    ///
    /// A file that was not followed as code before, and was changed since `started`, when the build started, counts as
    /// changed: the build may have read what was in it before.
    pub fn set_inputs_built_since(&self, inputs: BuildInputs, started: SystemTime) {
        self.intake.set_inputs(inputs, with_lag(started));
    }

    /// Until inputs are set again, every file below the roots asks for a build, and those of an earlier build do: one that
    /// started at `started` has failed, and nobody knows what it would have read.
    pub fn doubt(&self, known: BuildInputs, started: SystemTime) {
        self.intake.doubt(known, with_lag(started));
    }
}

fn with_lag(time: SystemTime) -> SystemTime {
    time.checked_sub(Duration::from_millis(STAMP_LAG_MAX_MS)).unwrap_or(time)
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.intake.stop();
        if let Some(thread) = self.thread.take() {
            // If it panicked, it has said so already.
            let _ = thread.join();
        }
    }
}
