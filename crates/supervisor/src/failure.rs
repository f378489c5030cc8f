//! Reports that the newest code cannot be served.

use std::time::Duration;

use devhost_model::{BrowserEvent, Cause, Failure, Outcome, ServerState};

use crate::action::{Action, Actions};
use crate::journey::Journey;
use crate::state::{Build, Supervisor};
use crate::zygote::ZYGOTE_DEATHS_COUNT_MAX;

impl Supervisor {
    /// Reports why the newest code is not being served. What serves goes on.
    pub(crate) fn fail(
        &mut self,
        now: Duration,
        journey: &Journey,
        failure: Failure,
        outcome: Outcome,
        actions: &mut Actions,
    ) {
        self.failed = true;
        self.wait_for_build();
        actions.push(Action::SetFailure(Some(failure.clone())));
        let generation = self.current_generation();
        actions.push(Action::Report(journey.report(now, generation, outcome)));
        // After the report, so that who sees the state finds the report as well.
        actions.push(Action::SetState(ServerState::Failed));
        actions.push(Action::Tell(BrowserEvent::Failed { failure }));
        // The last good generation crashed or was ended while its successor was tried: bring it back.
        let may_refork = matches!(journey.cause, Cause::Change | Cause::Refork | Cause::Rebuild)
            && self.zygote_deaths <= ZYGOTE_DEATHS_COUNT_MAX;
        if may_refork && matches!(self.build, Build::Idle) {
            self.refork(now, actions);
        }
        let successor = self.starting.is_some() || self.wanted.is_some();
        if self.current.is_some() || !successor {
            actions.push(Action::Release);
        }
        self.catch_up(now, actions);
    }

    pub(crate) fn clear_failure(&mut self, actions: &mut Actions) {
        if self.failed {
            self.failed = false;
            actions.push(Action::SetFailure(None));
        }
    }
}
