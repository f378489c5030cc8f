//! The swap: a generation that is ready replaces the current one.

use std::sync::Arc;
use std::time::Duration;

use devhost_model::{Cause, Outcome, ServerState};

use crate::action::{Action, Actions};
use crate::journey::millis;
use crate::state::{Overlap, Serving, Starting, Supervisor};

impl Supervisor {
    pub(crate) fn on_ready(&mut self, now: Duration, generation: u64, took: Duration, actions: &mut Actions) {
        match &self.starting {
            Some(starting) if starting.generation == generation && starting.loaded => {}
            _ => return,
        }
        let Some(mut starting) = self.starting.take() else { return };
        starting.journey.steps.ready_ms = millis(took);
        let fresh = is_fresh(starting.journey.cause);
        self.zygote_deaths = 0;
        self.learn_from_start(&starting, fresh, actions);
        // After a crash, old code can come back while newer code is being built. Requests keep waiting for the newer code.
        let building = self.is_building();
        let build_id = starting.code.build_id.clone();
        let release = !(building && self.holds());
        let files = starting.journey.files.clone();
        actions.push(Action::Swap { generation, build_id, fresh, release, files });
        self.last_good = Some(Arc::clone(&starting.code));
        let serving = Serving { generation, code: starting.code, since: now, replacing: Vec::new() };
        let old = self.current.replace(serving);
        if fresh && !building && !self.build_broken {
            self.clear_failure(actions);
        }
        let state = if building {
            ServerState::Building
        } else if self.failed {
            ServerState::Failed
        } else {
            ServerState::Ready
        };
        if let Some(old) = old {
            self.drain(old.generation, actions);
        }
        actions.push(Action::Report(starting.journey.report(now, generation, Outcome::Ok)));
        // Last, so that who sees the state finds the report as well.
        actions.push(Action::SetState(state));
        self.catch_up(now, actions);
    }

    fn learn_from_start(&mut self, starting: &Starting, fresh: bool, actions: &mut Actions) {
        if starting.second_try {
            self.overlap = Overlap::Barred;
            let note = "it starts when it is alone: from now on the old code ends before the new one starts \
                        (as with --no-overlap)";
            actions.push(Action::Note(note.into()));
        } else if fresh && self.overlap == Overlap::Blameless {
            self.overlap = Overlap::Tried;
        }
    }
}

/// Returns true if pages of earlier generations are out of date: not after a crash, when the same code comes back.
fn is_fresh(cause: Cause) -> bool {
    match cause {
        Cause::Start | Cause::Change | Cause::Refork | Cause::Rebuild => true,
        Cause::Crash | Cause::Zygote | Cause::Rollback | Cause::Retry => false,
    }
}
