//! The live line of the running build: when it begins, what it says, and when it is gone. Only after the first build, which has a bar.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::rt;
use devhost_build::Progress;
use devhost_sys::output::Position;
use devhost_terminal::Building;

use super::ids::WorkerId;
use super::input::{Input, Inputs};
use super::state::Runner;

/// Shorter builds show no line.
const QUIET_TIME: Duration = Duration::from_millis(500);

/// How often it is drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(100);

/// The running build, as the live line shows it.
#[derive(Debug)]
pub(super) struct LiveBuild {
    build: u64,
    begun: Instant,
    building: Rc<RefCell<Building>>,
    task: rt::task::JoinHandle<()>,
    /// How much each worker had printed at the last look.
    printed: BTreeMap<WorkerId, Position>,
    is_drawn: bool,
}

impl LiveBuild {
    /// Begins one that the loop is reminded of until this is dropped. Must be called on an actix runtime.
    pub(super) fn begin(build: u64, building: Building, inputs: Inputs) -> Self {
        let task = rt::spawn(async move {
            tokio::time::sleep(QUIET_TIME).await;
            // The loop may be late; then the line is, too.
            while inputs.send(Input::Draw { build }).await.is_ok() {
                tokio::time::sleep(DRAW_INTERVAL).await;
            }
        });
        let building = Rc::new(RefCell::new(building));
        Self { build, begun: Instant::now(), building, task, printed: BTreeMap::new(), is_drawn: false }
    }

    /// Returns what to call with the build's progress.
    pub(super) fn steps(&self) -> impl Fn(&Progress) + use<> {
        let building = Rc::clone(&self.building);
        move |progress| building.borrow_mut().step = describe(progress)
    }
}

impl Drop for LiveBuild {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Runner {
    /// Draws the live line, if this build still runs.
    pub(super) fn draw_live(&mut self, build: u64) {
        let Some(live) = self.live.as_mut().filter(|live| live.build == build) else { return };
        if !self.sides.builds() {
            // Another app is being built, and has the line.
            return;
        }
        let is_first = !std::mem::replace(&mut live.is_drawn, true);
        // What comes through devhost makes way for itself.
        let is_first = is_first || self.output.is_some();
        let printed = self.workers.printed_since(&mut live.printed).filter(|_| !is_first);
        self.terminal.building(&live.building.borrow(), live.begun.elapsed(), printed.as_deref());
    }

    /// Removes the live line, as the build is over.
    pub(super) fn end_live(&mut self) {
        if let Some(mut live) = self.live.take().filter(|live| live.is_drawn) {
            let printed = self.workers.printed_since(&mut live.printed).filter(|_| self.output.is_none());
            self.terminal.building_done(printed.as_deref());
        }
    }
}

/// `serde v1.0.228 12/283`, if there is something to count.
fn describe(progress: &Progress) -> String {
    match progress {
        Progress { current, total: 0 | 1, .. } => current.clone(),
        Progress { current, done, total } => format!("{current} {done}/{total}").trim_start().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_counted_if_there_are_several() {
        let of = |done, total, current: &str| describe(&Progress { done, total, current: current.into() });
        assert_eq!(of(0, 1, "app"), "app");
        assert_eq!(of(12, 283, "serde v1.0.228"), "serde v1.0.228 12/283");
        assert_eq!(of(0, 3, ""), "0/3");
    }
}
