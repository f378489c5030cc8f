//! The processes beside the app: what a build and the app's first start wait for.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use devhost_build::{self as build, Builder, Progress};
use devhost_model::{BuildReport, Error, SideProcess, StatusBoard, WAITING_FOR};
use devhost_sides::{Place, Sides};
use devhost_terminal::Terminal;
use tokio::sync::Mutex;

use super::launcher::DEVHOST;
use super::signals::{Signals, Wish};

/// What the runner has of them.
#[derive(Debug)]
pub(super) struct Beside {
    sides: Sides,
    /// The app has not been started yet, and waits for those that say when they are ready.
    is_first: Cell<bool>,
}

impl Beside {
    /// Starts them.
    pub(super) fn start(
        processes: Vec<SideProcess>,
        terminal: &Arc<Terminal>,
        status: &Arc<StatusBoard>,
        stop_time_max: Duration,
    ) -> Result<Self, Error> {
        let place = Place {
            devhost: PathBuf::from(DEVHOST),
            terminal: Arc::clone(terminal),
            status: Arc::clone(status),
            stop_time_max,
        };
        let sides = Sides::start(processes, place)
            .map_err(|error| Error::fault(format!("failed to start the side processes: {error}")))?;
        Ok(Self { sides, is_first: Cell::new(true) })
    }

    /// Builds, once what has to run before has succeeded. The result for the app's first start comes when the processes that
    /// say when they are ready are so; a build that has failed without them is made again.
    pub(super) async fn build(
        &self,
        builder: Rc<Mutex<Builder>>,
        changed: &[PathBuf],
        progress: &mut dyn FnMut(Progress),
    ) -> Built {
        let waiting = |who: &str| Progress { done: 0, total: 1, current: format!("{WAITING_FOR}{who}") };
        let begun = SystemTime::now();
        if let Err(failure) = self.sides.prepare(|who| progress(waiting(who))).await {
            let outcome = build::Outcome::Failed(failure);
            return Built { started: begun, outcome, report: BuildReport::default() };
        }
        let lacked_some = self.is_first.get() && self.sides.is_awaited();
        let mut built = build_once(&builder, changed, progress).await;
        if self.is_first.get() {
            self.sides.ready(|who| progress(waiting(who))).await;
            if lacked_some && !built.is_ok() {
                built = build_once(&builder, changed, progress).await;
            }
            // Once the app has been started, a process that is not ready is its own business.
            self.is_first.set(!built.is_ok());
        }
        built
    }

    /// Makes these the processes that run.
    pub(super) fn apply(&self, processes: Vec<SideProcess>) {
        self.sides.apply(processes);
    }

    /// Suspends them together with devhost.
    pub(super) fn suspend(&self) {
        self.sides.suspend();
    }

    /// Lets them go on.
    pub(super) fn proceed(&self) {
        self.sides.proceed();
    }

    /// Ends them; at once, if the user is in a hurry or asks again.
    pub(super) async fn end(&self, signals: &mut Signals, is_in_a_hurry: bool) {
        let asked_again = async { while !(is_in_a_hurry || matches!(signals.recv().await, Wish::End(_))) {} };
        tokio::select! {
            () = self.sides.end() => {}
            () = asked_again => self.sides.kill().await,
        }
    }
}

/// What a build came to.
pub(super) struct Built {
    pub(super) started: SystemTime,
    pub(super) outcome: build::Outcome,
    pub(super) report: BuildReport,
}

impl Built {
    fn is_ok(&self) -> bool {
        matches!(self.outcome, build::Outcome::Built(_))
    }
}

async fn build_once(
    builder: &Mutex<Builder>,
    changed: &[PathBuf],
    progress: &mut dyn FnMut(Progress),
) -> Built {
    let mut builder = builder.lock().await;
    let started = SystemTime::now();
    let outcome = builder.build(changed, progress).await;
    Built { started, outcome, report: builder.last_report().clone() }
}
