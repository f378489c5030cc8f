//! The processes beside the app: what a build and the app's first start wait for. Apps that are served together share them, and
//! take turns at building.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use devhost_build::{self as build, Builder, Progress};
use devhost_model::{BuildReport, Error, Failure, SideProcess, StatusBoard, WAITING_FOR};
use devhost_sides::{Place, Sides};
use devhost_terminal::Terminal;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};

use super::launcher::DEVHOST;
use super::signals::{Signals, Wish};

/// What apps that are served together share.
#[derive(Debug)]
pub(super) struct Common {
    sides: Sides,
    /// The processes that each app's file names.
    lists: RefCell<Vec<Vec<SideProcess>>>,
    /// One cargo runs at a time.
    turn: Semaphore,
}

impl Common {
    /// Starts the processes, each once: one list for each app.
    pub(super) fn start(
        lists: Vec<Vec<SideProcess>>,
        terminal: &Arc<Terminal>,
        statuses: Vec<Arc<StatusBoard>>,
        stop_time_max: Duration,
    ) -> Result<Self, Error> {
        let place = Place {
            devhost: PathBuf::from(DEVHOST),
            terminal: Arc::clone(terminal),
            statuses,
            stop_time_max,
        };
        let sides = Sides::start(united(&lists), place)
            .map_err(|error| Error::fault(format!("failed to start the side processes: {error}")))?;
        Ok(Self { sides, lists: RefCell::new(lists), turn: Semaphore::new(1) })
    }

    /// Suspends the processes together with devhost.
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

/// Returns the processes of all lists: of several with the same name the first.
fn united(lists: &[Vec<SideProcess>]) -> Vec<SideProcess> {
    let mut all: Vec<SideProcess> = Vec::new();
    for process in lists.iter().flatten() {
        if all.iter().all(|known| known.name != process.name) {
            all.push(process.clone());
        }
    }
    all
}

/// What the runner has of them.
#[derive(Debug)]
pub(super) struct Beside {
    common: Rc<Common>,
    /// The app's place in the lists.
    place: usize,
    /// They are ended with the last app, and not with this one.
    is_shared: bool,
    /// The app has not been started yet, and waits for those that say when they are ready.
    is_first: Cell<bool>,
    /// It is this app's turn to build.
    builds: Cell<bool>,
}

impl Beside {
    /// Starts them for one app.
    pub(super) fn start(
        processes: Vec<SideProcess>,
        terminal: &Arc<Terminal>,
        status: &Arc<StatusBoard>,
        stop_time_max: Duration,
    ) -> Result<Self, Error> {
        let common = Common::start(vec![processes], terminal, vec![Arc::clone(status)], stop_time_max)?;
        Ok(Self { is_shared: false, ..Self::of(&Rc::new(common), 0) })
    }

    /// Makes the handle of one of several apps.
    pub(super) fn of(common: &Rc<Common>, place: usize) -> Self {
        Self {
            common: Rc::clone(common),
            place,
            is_shared: true,
            is_first: Cell::new(true),
            builds: Cell::new(false),
        }
    }

    /// Builds, once what has to run before has succeeded. The result for the app's first start comes when the processes that
    /// say when they are ready are so; a build that has failed without them is made again.
    pub(super) async fn build(
        &self,
        builder: Rc<Mutex<Builder>>,
        changed: &[PathBuf],
        progress: &mut dyn FnMut(Progress),
    ) -> Built {
        let sides = &self.common.sides;
        let begun = SystemTime::now();
        if let Err(failure) = sides.prepare(|who| progress(waiting_for(who))).await {
            return Built::failed(begun, failure);
        }
        let lacked_some = self.is_first.get() && sides.is_awaited();
        let mut built = self.build_once(&builder, changed, progress).await;
        if self.is_first.get() {
            sides.ready(|who| progress(waiting_for(who))).await;
            if lacked_some && !built.is_ok() {
                built = self.build_once(&builder, changed, progress).await;
            }
            // Once the app has been started, a process that is not ready is its own business.
            self.is_first.set(!built.is_ok());
        }
        built
    }

    /// Looks for a program that needs no build, once what has to run before has succeeded. It comes when the processes that say when
    /// they are ready are so.
    ///
    /// # Errors
    /// What has to run before has failed, and so has the build.
    pub(super) async fn ready_made(
        &self,
        builder: &Mutex<Builder>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Option<(SystemTime, build::Artifact)>, Built> {
        let sides = &self.common.sides;
        let started = SystemTime::now();
        sides
            .prepare(|who| progress(waiting_for(who)))
            .await
            .map_err(|failure| Built::failed(started, failure))?;
        let turn = self.turn(progress).await;
        let found = builder.lock().await.ready_made().await;
        drop(turn);
        if found.is_some() {
            sides.ready(|who| progress(waiting_for(who))).await;
            self.is_first.set(false);
        }
        Ok(found.map(|artifact| (started, artifact)))
    }

    /// Builds while something serves that is as new.
    pub(super) async fn build_behind(
        &self,
        builder: &Mutex<Builder>,
        progress: &mut dyn FnMut(Progress),
    ) -> Built {
        let _turn = self.turn(progress).await;
        let mut builder = builder.lock().await;
        let started = SystemTime::now();
        let outcome = builder.build_behind(progress).await;
        Built { started, outcome, report: builder.last_report().clone() }
    }

    /// Waits until no other app is being built. Until what is returned is dropped, it is this app's turn.
    pub(super) async fn turn(&self, progress: &mut dyn FnMut(Progress)) -> Turn<'_> {
        let turn = &self.common.turn;
        if turn.available_permits() == 0 {
            progress(waiting_for(OTHER_BUILD));
        }
        // It is never closed.
        let permit = turn.acquire().await.ok();
        self.builds.set(true);
        Turn { builds: &self.builds, _permit: permit }
    }

    /// Returns true while it is this app's turn to build, which it always is for an app alone.
    pub(super) fn builds(&self) -> bool {
        !self.is_shared || self.builds.get()
    }

    async fn build_once(
        &self,
        builder: &Mutex<Builder>,
        changed: &[PathBuf],
        progress: &mut dyn FnMut(Progress),
    ) -> Built {
        // Ends after the builder's lock, which a cancelled build holds until it has been killed.
        let _turn = self.turn(progress).await;
        let mut builder = builder.lock().await;
        let started = SystemTime::now();
        let outcome = builder.build(changed, progress).await;
        Built { started, outcome, report: builder.last_report().clone() }
    }

    /// Makes these the processes that run for this app.
    pub(super) fn apply(&self, processes: Vec<SideProcess>) {
        let mut lists = self.common.lists.borrow_mut();
        lists[self.place] = processes;
        self.common.sides.apply(united(&lists));
    }

    /// Returns what this app shares with others.
    pub(super) fn common(&self) -> &Common {
        &self.common
    }

    /// Ends them; at once, if the user is in a hurry or asks again. Those of several apps run on.
    pub(super) async fn end(&self, signals: &mut Signals, is_in_a_hurry: bool) {
        if !self.is_shared {
            self.common.end(signals, is_in_a_hurry).await;
        }
    }
}

fn waiting_for(who: &str) -> Progress {
    Progress { done: 0, total: 1, current: format!("{WAITING_FOR}{who}") }
}

/// What a build waits for while another app is being built.
const OTHER_BUILD: &str = "the build of another app";

/// One app's turn to build.
#[derive(Debug)]
pub(super) struct Turn<'b> {
    builds: &'b Cell<bool>,
    _permit: Option<SemaphorePermit<'b>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.builds.set(false);
    }
}

/// What a build came to.
pub(super) struct Built {
    pub(super) started: SystemTime,
    pub(super) outcome: build::Outcome,
    pub(super) report: BuildReport,
}

impl Built {
    fn failed(started: SystemTime, failure: Failure) -> Self {
        Self { started, outcome: build::Outcome::Failed(failure), report: BuildReport::default() }
    }

    fn is_ok(&self) -> bool {
        matches!(self.outcome, build::Outcome::Built(_))
    }
}
