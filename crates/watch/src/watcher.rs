//! The watcher: starts the engine, and tells it what builds depend on.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use devhost_model::BuildInputs;
use tokio::sync::mpsc;

use crate::backend::Backend;
use crate::changes::Changes;
use crate::engine::{Engine, QUEUE_COUNT_MAX};
use crate::error::WatchError;
use crate::events;
use crate::intake::Intake;
use crate::observed::Observer;
use crate::scope::{Mode, Scope};
use crate::suspicion::Suspicion;
use crate::tree::{ReadOne, Tree};

/// How long starting may take to read files.
const FIRST_READING_TIME_MAX_MS: u64 = 100;

/// How far file timestamps may lag behind the clock: one tick of a kernel at 100 Hz.
pub(crate) const STAMP_LAG_MAX_MS: u64 = 10;

/// Watches files until it is dropped; its threads end with it.
#[derive(Debug)]
pub struct Watcher {
    pub(crate) intake: Arc<Intake>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Starts to watch. When it returns, every directory of the scope is watched, and no later change is missed.
    ///
    /// Raises the suspicion at the first event of a file that may be code. Whoever acts on the changes settles it.
    ///
    /// # Errors
    /// Returns an error if a root is missing or unreadable, if the kernel's limits are reached, or if the thread
    /// cannot be started.
    pub fn start(
        scope: &Scope,
        mode: Mode,
        suspicion: &Arc<Suspicion>,
        observer: &Arc<Observer>,
    ) -> Result<(Self, mpsc::Receiver<Changes>), WatchError> {
        let intake = Arc::new(Intake::new(Arc::clone(suspicion), Arc::clone(observer)));
        let called = Arc::downgrade(&intake);
        observer.subscribe(move |call| {
            if let Some(intake) = called.upgrade() {
                intake.call(call);
            }
        });
        let backend = match mode {
            Mode::Native => {
                let receiver = Arc::clone(&intake);
                let (watcher, unheard) =
                    events::open(&scope.workspace_root, move |report| receiver.report(report))
                        .map_err(|error| WatchError::from_notify(&error, &scope.workspace_root))?;
                suspicion.look_at(Some(unheard));
                Backend::Native(watcher)
            }
            Mode::Poll => {
                suspicion.look_at(None);
                Backend::Poll
            }
        };
        let mut tree = Tree::new(scope, backend, Arc::clone(observer))?;
        // A save that changes nothing is recognized only if the file was read before it: read what time allows now, and
        // the rest in idle time.
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

    /// Sets what the last build depends on. It counts wherever it is, even if it is ignored, except in excluded directories.
    ///
    /// A file that did not count as code before and was changed after `started`, when the build started, counts as changed:
    /// the build may have read its older content.
    pub fn set_inputs_built_since(&self, inputs: BuildInputs, started: SystemTime) {
        self.intake.set_inputs(inputs, with_lag(started));
    }

    /// Makes every file below the roots, and the `known` inputs of earlier builds, ask for a build until inputs are set again:
    /// the build that started at `started` has failed, and what it would have read is unknown.
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
            // If it panicked, the panic has been printed.
            let _ = thread.join();
        }
    }
}
