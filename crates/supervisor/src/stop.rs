//! Ends devhost: every worker is told to stop, and nothing else begins.

use devhost_model::{AppKind, StopReason};

use crate::action::{Action, Actions};
use crate::event::{Event, Timer};
use crate::state::{Build, DrainPhase, Draining, Supervisor};

impl Supervisor {
    pub(crate) fn stop(&mut self, actions: &mut Actions) {
        self.stopping = true;
        if matches!(self.build, Build::Running { .. }) {
            self.build = Build::Idle;
            actions.push(Action::CancelBuild);
        }
        self.wanted = None;
        // A plain app that is starting is told to stop like any other. A plugin cannot be told before it is ready.
        if let Some(starting) = self.starting.take_if(|starting| starting.code.kind == AppKind::Plain) {
            self.draining.push(Draining { generation: starting.generation, phase: DrainPhase::Finishing });
        }
        self.abandon_starting(actions);
        if let Some(current) = self.current.take() {
            self.draining.push(Draining { generation: current.generation, phase: DrainPhase::Finishing });
        }
        let generations: Vec<u64> = self.draining.iter().map(|draining| draining.generation).collect();
        for generation in generations {
            self.stop_worker(generation, StopReason::Shutdown, actions);
        }
        actions.push(Action::Arm { timer: Timer::Shutdown, after: self.settings.stop_time_max });
        self.exit_when_over(actions);
    }

    pub(crate) fn handle_while_stopping(&mut self, event: Event, actions: &mut Actions) {
        match event {
            Event::Ended { generation, .. } => {
                self.draining.retain(|draining| draining.generation != generation);
                self.exit_when_over(actions);
            }
            Event::ZygoteDied { lost } => {
                self.draining.retain(|draining| !lost.contains(&draining.generation));
                self.exit_when_over(actions);
            }
            // A second Ctrl-C ends everything at once.
            Event::Timer(Timer::Shutdown) | Event::Stop => {
                self.draining.clear();
                self.exit_when_over(actions);
            }
            _ => {}
        }
    }

    fn exit_when_over(&self, actions: &mut Actions) {
        if self.draining.is_empty() {
            actions.push(Action::Exit);
        }
    }
}

#[cfg(test)]
mod tests {
    use devhost_model::End;

    use super::*;
    use crate::bench::Bench;

    #[test]
    fn stop_ends_every_worker_and_then_exits() {
        let mut bench = Bench::serving();
        bench.change("src/a.rs");
        let actions = bench.send(Event::Stop);
        assert!(actions.contains(&Action::CancelBuild));
        assert!(actions.contains(&Action::StopWorker { generation: 1, reason: StopReason::Shutdown }));
        assert!(!actions.contains(&Action::Exit));
        let actions = bench.send(Event::Ended { generation: 1, end: End::Exited { code: 0 } });
        assert_eq!(actions, [Action::Exit]);
    }

    #[test]
    fn stop_has_a_deadline() {
        let mut bench = Bench::serving();
        bench.send(Event::Stop);
        assert_eq!(bench.send(Event::Timer(Timer::Shutdown)), [Action::Exit]);
    }
}
