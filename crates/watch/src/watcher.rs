//! The watcher: starts the engine, and hands it what builds depend on.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use devhost_model::BuildInputs;
use devhost_sys::inotify;
use tokio::sync::mpsc;

use crate::backend::Backend;
use crate::changes::Changes;
use crate::engine::{Engine, QUEUE_COUNT_MAX};
use crate::error::WatchError;
use crate::intake::Intake;
use crate::scope::{Mode, Scope};
use crate::suspicion::Suspicion;
use crate::tree::{ReadOne, Tree};

/// How long the start may take to read the files.
const FIRST_READING_TIME_MAX_MS: u64 = 100;

/// How far the clock that stamps files may be behind ours: a tick of the kernel, at 100 Hz.
pub(crate) const STAMP_LAG_MAX_MS: u64 = 10;

/// Watches until it is dropped; its threads end with it.
#[derive(Debug)]
pub struct Watcher {
    pub(crate) intake: Arc<Intake>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Starts to watch. When it returns, every directory of the scope is watched, so that no later change is missed.
    ///
    /// The suspicion is raised from the first event of a file that may be code until the changes have been sent; whoever
    /// acts on them settles it.
    ///
    /// # Errors
    /// Returns an error if a root is missing or unreadable, if the kernel's limits are reached, or if the thread
    /// cannot be started.
    pub fn start(
        scope: &Scope,
        mode: Mode,
        suspicion: &Arc<Suspicion>,
    ) -> Result<(Self, mpsc::Receiver<Changes>), WatchError> {
        let intake = Arc::new(Intake::new(Arc::clone(suspicion)));
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
        let mut tree = Tree::new(scope, backend)?;
        // A save that changes nothing is known as such once the file has been read: most projects are read before the
        // first save, and the rest in idle time.
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(FIRST_READING_TIME_MAX_MS)
            && tree.read_one() != ReadOne::NoneLeft
        {}
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
