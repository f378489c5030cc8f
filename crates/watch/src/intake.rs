//! The intake: where events and requests wait for the engine's thread.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use devhost_model::BuildInputs;

use crate::classify::may_lead_to_a_start;
use crate::error::WatchError;
use crate::events::Report;
use crate::explained::Question;
use crate::hint::Hint;
use crate::observed::{Call, Observer};
use crate::suspicion::Suspicion;

/// How many events may wait. More are replaced by one look at everything.
const INTAKE_COUNT_MAX: usize = 16_384;

/// How many questions may wait. Further ones get no answer.
const QUESTIONS_COUNT_MAX: usize = 32;

/// What waits for the engine.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) hints: Vec<(PathBuf, Hint, Instant)>,
    pub(crate) problems: Vec<WatchError>,
    pub(crate) inputs: Option<(BuildInputs, SystemTime)>,
    /// The known inputs of a build that failed later.
    pub(crate) doubt: Option<(BuildInputs, SystemTime)>,
    /// The app has done something with files that cannot wait.
    pub(crate) is_poked: bool,
    pub(crate) questions: Vec<Question>,
    /// How many events have raised the suspicion, these included.
    pub(crate) raised: u64,
    /// Events were lost.
    pub(crate) rescan: bool,
    pub(crate) stop: bool,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.hints.is_empty()
            && self.problems.is_empty()
            && self.inputs.is_none()
            && self.doubt.is_none()
            && !self.is_poked
            && !self.rescan
            && !self.stop
    }
}

/// Paths that may be code although their names do not say so.
#[derive(Debug, Default)]
struct Suspects {
    files: HashSet<PathBuf>,
    directories: Vec<PathBuf>,
    /// Directories from which macros have read files, where a new one may be code.
    beside: HashSet<PathBuf>,
    /// Every path.
    all: bool,
}

impl Suspects {
    fn have(&self, path: &Path) -> bool {
        self.all
            || self.files.contains(path)
            || path.parent().is_some_and(|directory| self.beside.contains(directory))
            || self.directories.iter().any(|directory| path.starts_with(directory))
    }
}

/// Where events and requests wait for the engine. Bounded: too many events become one look at everything.
#[derive(Debug, Default)]
pub(super) struct Intake {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    suspect: Mutex<Suspects>,
    suspicion: Arc<Suspicion>,
    observer: Arc<Observer>,
}

impl Intake {
    /// Makes an empty intake, which raises the suspicion.
    pub(super) fn new(suspicion: Arc<Suspicion>, observer: Arc<Observer>) -> Self {
        Self { suspicion, observer, ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while it holds the lock, and if it did, what waits would still be consistent.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what the kernel says.
    pub(super) fn report(&self, report: Report) {
        let now = Instant::now();
        let mut waiting = self.lock();
        match report {
            Report::Event(place, hint) => {
                if self.may_be_code(&place) {
                    self.suspicion.raise();
                }
                waiting.hints.push((place, hint, now));
                if waiting.hints.len() > INTAKE_COUNT_MAX {
                    waiting.hints.clear();
                    waiting.rescan = true;
                }
            }
            Report::Lost => {
                self.suspicion.raise();
                waiting.rescan = true;
            }
            Report::Failed(error) => {
                let path = error.paths.first().cloned().unwrap_or_default();
                if waiting.problems.is_empty() {
                    waiting.problems.push(WatchError::from_notify(&error, &path));
                }
                waiting.rescan = true;
            }
        }
        self.arrived.notify_one();
    }

    /// Guesses from the path whether the file may be code, or one that the app uses; the tree will find out. Also if it is only
    /// served: what a request opens before the verdict would count as read.
    fn may_be_code(&self, path: &Path) -> bool {
        let is_suspect = || self.suspects().have(path);
        may_lead_to_a_start(path) || is_suspect() || self.observer.may_matter(path)
    }

    pub(crate) fn suspicion(&self) -> &Suspicion {
        &self.suspicion
    }

    fn suspects(&self) -> MutexGuard<'_, Suspects> {
        self.suspect.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on what the last build depends on.
    pub(super) fn set_inputs(&self, inputs: BuildInputs, since: SystemTime) {
        let BuildInputs { files, named, packages } = &inputs;
        *self.suspects() = Suspects {
            files: files.iter().cloned().collect(),
            directories: named.iter().chain(packages).cloned().collect(),
            beside: files
                .iter()
                .filter(|file| is_no_rust(file))
                .filter_map(|file| file.parent())
                .map(Path::to_owned)
                .collect(),
            all: false,
        };
        let mut waiting = self.lock();
        // An earlier request may still be waiting, so what changed since then has not been seen.
        let since = waiting.inputs.take().map_or(since, |(_, earlier)| earlier.min(since));
        waiting.inputs = Some((inputs, since));
        waiting.doubt = None;
        self.arrived.notify_one();
    }

    /// Passes on that a build has failed.
    pub(super) fn doubt(&self, known: BuildInputs, since: SystemTime) {
        self.suspects().all = true;
        let mut waiting = self.lock();
        let since = waiting.doubt.take().map_or(since, |(_, earlier)| earlier.min(since));
        waiting.doubt = Some((known, since));
        self.arrived.notify_one();
    }

    /// Makes the engine ask what the app has done, or answer.
    pub(super) fn call(&self, call: Call) {
        let mut waiting = self.lock();
        match call {
            Call::News => {}
            Call::Stale => self.suspicion.raise(),
            // A question that finds no room is dropped, and with it the hope of an answer.
            Call::Question(question) if waiting.questions.len() < QUESTIONS_COUNT_MAX => {
                waiting.questions.push(question);
            }
            Call::Question(_) => return,
        }
        waiting.is_poked = true;
        self.arrived.notify_one();
    }

    /// Tells the engine to end.
    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.arrived.notify_one();
    }

    /// Takes what waits. If nothing does, waits until something arrives or the deadline is over.
    pub(crate) fn take(&self, deadline: Option<Instant>) -> Waiting {
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
        waiting.raised = self.suspicion.raised();
        std::mem::take(&mut *waiting)
    }
}

fn is_no_rust(file: &Path) -> bool {
    file.extension().is_none_or(|extension| extension != "rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flood_of_events_becomes_one_look_at_everything() {
        let intake = Intake::default();
        for number in 0..=INTAKE_COUNT_MAX {
            intake.report(Report::Event(format!("/{number}").into(), Hint::Finished));
        }
        let waiting = intake.take(None);
        assert!(waiting.rescan && waiting.hints.is_empty());
    }

    #[test]
    fn lost_events_ask_for_a_rescan() {
        let intake = Intake::default();
        intake.report(Report::Lost);
        assert!(intake.take(None).rescan);
    }
}
