//! The drain: an old generation finishes its requests, then its streams are closed, then it is stopped.

use std::time::Duration;

use devhost_model::StopReason;

use crate::action::{Action, Actions};
use crate::event::Timer;
use crate::state::{DrainPhase, Draining, Supervisor};

/// How many generations may drain at once. One more, and the oldest is stopped.
const DRAINING_COUNT_MAX: usize = 3;

/// How long long-lived streams may take to close at the end of a drain.
const CLOSE_TIME_MAX: Duration = Duration::from_millis(500);

/// How long a worker may take to exit after a reload before it is killed.
pub(crate) const STOP_TIME_MAX: Duration = Duration::from_secs(1);

impl Supervisor {
    pub(crate) fn drain(&mut self, generation: u64, actions: &mut Actions) {
        self.draining.push(Draining { generation, phase: DrainPhase::Finishing });
        actions.push(Action::Drain { generation });
        actions.push(Action::Arm { timer: Timer::Drain(generation), after: self.settings.drain_time_max });
        let excess = self.draining.len().saturating_sub(DRAINING_COUNT_MAX);
        let oldest: Vec<u64> =
            self.draining.iter().take(excess).map(|draining| draining.generation).collect();
        for generation in oldest {
            self.stop_worker(generation, StopReason::Crowded, actions);
        }
    }

    pub(crate) fn on_idle(&mut self, generation: u64, actions: &mut Actions) {
        if self.drain_phase(generation) == Some(DrainPhase::Finishing) {
            self.close_streams(generation, actions);
        }
    }

    fn close_streams(&mut self, generation: u64, actions: &mut Actions) {
        self.set_drain_phase(generation, DrainPhase::Closing);
        actions.push(Action::CloseStreams { generation });
        actions.push(Action::Arm { timer: Timer::Close(generation), after: CLOSE_TIME_MAX });
    }

    pub(crate) fn on_close_timed_out(&mut self, generation: u64, actions: &mut Actions) {
        if self.drain_phase(generation) == Some(DrainPhase::Closing) {
            self.stop_worker(generation, StopReason::Replaced, actions);
        }
    }

    pub(crate) fn on_stop_timed_out(&self, generation: u64, actions: &mut Actions) {
        if self.drain_phase(generation) == Some(DrainPhase::Stopping) {
            actions.push(Action::KillWorker { generation });
        }
    }

    pub(crate) fn on_empty(&mut self, generation: u64, actions: &mut Actions) {
        if matches!(self.drain_phase(generation), Some(DrainPhase::Finishing | DrainPhase::Closing)) {
            self.stop_worker(generation, StopReason::Replaced, actions);
        }
    }

    pub(crate) fn stop_worker(&mut self, generation: u64, reason: StopReason, actions: &mut Actions) {
        if matches!(self.drain_phase(generation), None | Some(DrainPhase::Stopping)) {
            return;
        }
        self.set_drain_phase(generation, DrainPhase::Stopping);
        actions.push(Action::CloseStreams { generation });
        actions.push(Action::StopWorker { generation, reason });
        actions.push(Action::Arm { timer: Timer::Stop(generation), after: STOP_TIME_MAX });
    }
}

#[cfg(test)]
mod tests {
    use devhost_model::End;

    use super::*;
    use crate::bench::{Bench, code};
    use crate::event::Event;

    #[test]
    fn draining_generations_do_not_pile_up() {
        let mut bench = Bench::serving();
        for round in 2..10u64 {
            bench.change("src/a.rs");
            let id = round.to_string();
            bench.built(round, code(&id));
            let actions = bench.start(round, &id);
            let stopped = actions.iter().any(|action| matches!(action, Action::StopWorker { .. }));
            assert_eq!(stopped, round > 1 + DRAINING_COUNT_MAX as u64, "round {round}");
            if stopped {
                let end = End::Exited { code: 0 };
                bench.send(Event::Ended { generation: round - 1 - DRAINING_COUNT_MAX as u64, end });
            }
        }
    }
}
