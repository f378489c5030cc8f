//! Dispatches each event to the function that handles it.

use std::time::Duration;

use devhost_model::ServerState;

use crate::action::{Action, Actions};
use crate::event::{Event, Timer};
use crate::state::{Overlap, Supervisor};

impl Supervisor {
    /// Starts the first build.
    pub fn begin(&mut self, now: Duration) -> Actions {
        let mut actions = vec![Action::SetState(ServerState::Starting)];
        self.start_build(now, now, &mut actions);
        actions
    }

    /// Decides what to do about an event.
    pub fn handle(&mut self, now: Duration, event: Event) -> Actions {
        let mut actions = Vec::new();
        if self.stopping {
            self.handle_while_stopping(event, &mut actions);
            return actions;
        }
        match event {
            Event::Changed { age, files, busy } => {
                self.on_changed(now, now.saturating_sub(age), files, busy, &mut actions);
            }
            Event::BuildEnded { build, report, settled, result } => {
                self.on_build_ended(now, build, report, &settled, result, &mut actions);
            }
            Event::ReadyMade { build, code } => self.on_ready_made(build, code, &mut actions),
            Event::CodeGone => self.on_code_gone(now, &mut actions),
            Event::ZygoteReady => self.on_zygote_ready(&mut actions),
            Event::ZygoteFailed { message } => self.on_zygote_failed(now, message, &mut actions),
            Event::ZygoteDied { lost } => self.on_zygote_died(now, &lost, &mut actions),
            Event::Forked { generation, took } => self.on_forked(generation, took),
            Event::Loaded { generation, build_id, took } => {
                self.on_loaded(now, generation, &build_id, took, &mut actions);
            }
            Event::Ready { generation, took } => self.on_ready(now, generation, took, &mut actions),
            Event::StartFailed { generation, message, hint } => {
                self.on_start_failed(now, generation, message, hint, &mut actions);
            }
            Event::Detached { generation } => self.on_detached(generation),
            Event::KeepsItsPort => self.overlap = Overlap::Barred,
            Event::Ended { generation, end } => self.on_ended(now, generation, end, &mut actions),
            Event::WorkerEnded { generation, end } => {
                self.on_worker_ended(now, generation, end, &mut actions);
            }
            Event::ReplacementLoaded { replacement, build_id } => {
                self.on_replacement_loaded(replacement, &build_id, &mut actions);
            }
            Event::ReplacementReady { replacement } => {
                self.on_replacement_ready(now, replacement, &mut actions);
            }
            Event::Idle { generation } => self.on_idle(generation, &mut actions),
            Event::Empty { generation } => self.on_empty(generation, &mut actions),
            Event::Timer(timer) => self.on_timer(now, timer, &mut actions),
            Event::Refork => self.on_refork_asked(now, &mut actions),
            Event::Rebuild => self.on_rebuild_asked(now, &mut actions),
            Event::Pause => self.on_pause_asked(&mut actions),
            Event::Resume => self.on_resume_asked(now, &mut actions),
            Event::Stop => self.stop(&mut actions),
        }
        actions
    }

    fn on_timer(&mut self, now: Duration, timer: Timer, actions: &mut Actions) {
        match timer {
            Timer::Start(generation) => self.on_start_timed_out(now, generation, actions),
            Timer::Drain(generation) => self.on_idle(generation, actions),
            Timer::Close(generation) => self.on_close_timed_out(generation, actions),
            Timer::Stop(generation) => self.on_stop_timed_out(generation, actions),
            Timer::Refork(_) => self.refork(now, actions),
            Timer::Echo(answer) => self.answer_echo(now, answer, actions),
            Timer::Replace(generation) => self.replace(generation, actions),
            Timer::Replacement(replacement) => self.on_replacement_timed_out(replacement, actions),
            Timer::Preload(zygote) => self.on_preload_timed_out(now, zygote, actions),
            Timer::Shutdown => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use devhost_model::{End, Outcome, StopReason};

    use super::*;
    use crate::bench::{Bench, build_started, code, forked, outcome, swapped_to};

    #[test]
    fn a_change_is_built_forked_and_swapped_and_the_old_generation_drains() {
        let mut bench = Bench::serving();
        let actions = bench.change("src/a.rs");
        assert!(actions.contains(&Action::Hold));
        assert_eq!(build_started(&actions), Some((2, vec!["src/a.rs".into()])));
        let actions = bench.built(2, code("b"));
        assert_eq!(forked(&actions), Some((2, "b".into())));
        let actions = bench.start(2, "b");
        assert!(swapped_to(&actions, 2));
        assert!(actions.contains(&Action::Drain { generation: 1 }));
        assert_eq!(outcome(&actions), Some(Outcome::Ok));
        let actions = bench.send(Event::Idle { generation: 1 });
        assert!(actions.contains(&Action::CloseStreams { generation: 1 }));
        let actions = bench.send(Event::Empty { generation: 1 });
        assert!(actions.contains(&Action::StopWorker { generation: 1, reason: StopReason::Replaced }));
        bench.send(Event::Ended { generation: 1, end: End::Exited { code: 0 } });
        assert!(bench.is_at_rest());
    }

    #[test]
    fn edit_during_build_is_not_lost() {
        let mut bench = Bench::serving();
        bench.change("src/a.rs");
        let actions = bench.change("src/b.rs");
        assert!(actions.contains(&Action::CancelBuild));
        assert_eq!(build_started(&actions), Some((3, vec!["src/a.rs".into(), "src/b.rs".into()])));
        assert!(bench.built(2, code("old")).is_empty(), "the cancelled build counts");
        assert_eq!(forked(&bench.built(3, code("b"))), Some((2, "b".into())));
    }

    #[test]
    fn edit_during_start_kills_what_starts_and_builds_again() {
        let mut bench = Bench::serving();
        bench.change("src/a.rs");
        bench.built(2, code("b"));
        let actions = bench.change("src/a.rs");
        assert!(actions.contains(&Action::KillWorker { generation: 2 }));
        assert!(build_started(&actions).is_some());
        assert!(bench.start(2, "b").is_empty(), "the abandoned generation took over");
        let actions = bench.built(3, code("c"));
        assert_eq!(forked(&actions), Some((3, "c".into())));
    }

    #[test]
    fn edit_during_drain_builds_again() {
        let mut bench = Bench::serving();
        bench.change("src/a.rs");
        bench.built(2, code("b"));
        bench.start(2, "b");
        assert!(build_started(&bench.change("src/a.rs")).is_some());
    }
}
