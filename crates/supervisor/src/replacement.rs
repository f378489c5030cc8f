//! Replaces one of several workers that has ended, while the others serve.

use std::time::Duration;

use devhost_model::End;

use crate::action::{Action, Actions};
use crate::crash::CRASHES_IN_A_ROW_COUNT_MAX;
use crate::event::Timer;
use crate::start::describe_other_code;
use crate::state::{Serving, Supervisor};

impl Supervisor {
    /// Handles the end of one worker while others serve.
    pub(crate) fn on_worker_ended(
        &mut self,
        now: Duration,
        generation: u64,
        end: End,
        actions: &mut Actions,
    ) {
        let Some(since) = self.current_if(generation).map(|current| current.since) else { return };
        actions.push(Action::ReportCrash { end });
        self.count_crash(now, since);
        match self.crash_row() {
            1 => self.replace(generation, actions),
            row if row <= CRASHES_IN_A_ROW_COUNT_MAX => {
                let after = self.crash_backoff();
                actions.push(Action::Arm { timer: Timer::Replace(generation), after });
            }
            _ => actions.push(Action::Note(format!(
                "workers crashed {} times in a row: this one is not replaced before the next change",
                self.crashes
            ))),
        }
    }

    /// Forks a worker in place of one that has ended.
    pub(crate) fn replace(&mut self, generation: u64, actions: &mut Actions) {
        let Some(current) = self.current.as_mut().filter(|current| current.generation == generation) else {
            return;
        };
        self.replacements += 1;
        let replacement = self.replacements;
        current.replacing.push(replacement);
        actions.push(Action::Replace { generation, replacement });
        let timer = Timer::Replacement(replacement);
        actions.push(Action::Arm { timer, after: self.settings.start_time_max });
    }

    pub(crate) fn on_replacement_loaded(&mut self, replacement: u64, build_id: &str, actions: &mut Actions) {
        let Some(current) = &self.current else { return };
        let built = current.code.build_id.clone();
        if built != build_id && self.take_replacement(replacement).is_some() {
            let message = describe_other_code(build_id, &built);
            actions.push(Action::KillReplacement { replacement, message });
        }
    }

    pub(crate) fn on_replacement_ready(&mut self, now: Duration, replacement: u64, actions: &mut Actions) {
        let Some(current) = self.take_replacement(replacement) else { return };
        current.since = now;
        let awaits_newer = self.is_building() || self.starting.is_some() || self.wanted.is_some();
        actions.push(Action::Join { replacement, release: !(awaits_newer && self.holds()) });
    }

    pub(crate) fn on_replacement_timed_out(&mut self, replacement: u64, actions: &mut Actions) {
        if self.take_replacement(replacement).is_some() {
            let limit = self.settings.start_time_max.as_secs_f64();
            let message = format!("it was not ready within {limit:.1} s");
            actions.push(Action::KillReplacement { replacement, message });
        }
    }

    /// Takes a replacement that is not ready yet, if its generation is still the current one.
    pub(crate) fn take_replacement(&mut self, replacement: u64) -> Option<&mut Serving> {
        let current = self.current.as_mut()?;
        let index = current.replacing.iter().position(|number| *number == replacement)?;
        current.replacing.swap_remove(index);
        Some(current)
    }

    fn current_if(&self, generation: u64) -> Option<&Serving> {
        self.current.as_ref().filter(|current| current.generation == generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, MS, code, has_failure, replace_later, replaced, swapped_to};
    use crate::crash::CRASH_ROW_TIME;
    use crate::event::Event;

    #[test]
    fn a_worker_that_is_gone_is_replaced_while_the_generation_serves_on() {
        let mut bench = Bench::serving_with_workers(3);
        let actions = bench.crash_one(1);
        assert_eq!(replaced(&actions), Some((1, 1)));
        assert!(!actions.contains(&Action::LoseCurrent) && !actions.contains(&Action::Hold), "{actions:?}");
        assert!(actions.iter().any(|action| matches!(action, Action::ReportCrash { .. })));
        let loaded = bench.send(Event::ReplacementLoaded { replacement: 1, build_id: "a".into() });
        assert!(loaded.is_empty(), "{loaded:?}");
        let actions = bench.send(Event::ReplacementReady { replacement: 1 });
        assert_eq!(actions, [Action::Join { replacement: 1, release: true }]);
        assert!(bench.send(Event::Timer(Timer::Replacement(1))).is_empty(), "its deadline is over");
        assert!(bench.send(Event::ReplacementReady { replacement: 1 }).is_empty(), "it joins once");
    }

    #[test]
    fn each_of_several_workers_has_a_row_of_crashes_of_its_own() {
        let mut bench = Bench::serving_with_workers(2);
        let mut waits = Vec::new();
        loop {
            let actions = bench.crash_one(1);
            match (replaced(&actions), replace_later(&actions)) {
                (Some(_), None) => waits.push(Duration::ZERO),
                (None, Some(after)) => {
                    waits.push(after);
                    assert!(replaced(&bench.send(Event::Timer(Timer::Replace(1)))).is_some());
                }
                (None, None) => {
                    assert!(actions.iter().any(|action| matches!(action, Action::Note(_))), "{actions:?}");
                    break;
                }
                both => panic!("{both:?}"),
            }
        }
        assert_eq!(waits, [0, 0, 100, 100, 200, 200, 400, 400, 800, 800].map(|ms| ms * MS));
        // The others serve on; only when none is left is it a failure.
        assert!(has_failure(&bench.crash(1)));
        bench.change("src/a.rs");
        bench.built(2, code("b"));
        bench.start(2, "b");
        assert_eq!(replaced(&bench.crash_one(2)), Some((2, 11)), "a change begins a new row");
    }

    #[test]
    fn replacements_far_apart_are_not_a_row() {
        let mut bench = Bench::serving_with_workers(2);
        for _ in 0..20 {
            bench.now += CRASH_ROW_TIME;
            let (_, replacement) = replaced(&bench.crash_one(1)).expect("it is replaced at once");
            bench.send(Event::ReplacementReady { replacement });
        }
    }

    #[test]
    fn a_replacement_that_is_late_or_loaded_other_code_is_killed() {
        let mut bench = Bench::serving_with_workers(2);
        bench.crash_one(1);
        bench.crash_one(1);
        let other = bench.send(Event::ReplacementLoaded { replacement: 1, build_id: "b".into() });
        let late = bench.send(Event::Timer(Timer::Replacement(2)));
        for (replacement, actions) in [(1, other), (2, late)] {
            let killed = |action: &Action| matches!(action, Action::KillReplacement { replacement: it, .. } if *it == replacement);
            assert!(actions.iter().any(killed), "{actions:?}");
            assert!(bench.send(Event::ReplacementReady { replacement }).is_empty(), "it is dead");
        }
    }

    #[test]
    fn a_replacement_does_not_release_requests_that_wait_for_newer_code() {
        let mut bench = Bench::serving_with_workers(2);
        bench.change("src/a.rs");
        bench.crash_one(1);
        let join = |replacement, release| vec![Action::Join { replacement, release }];
        assert_eq!(bench.send(Event::ReplacementReady { replacement: 1 }), join(1, false));
        bench.built(2, code("b"));
        bench.crash_one(1);
        assert_eq!(bench.send(Event::ReplacementReady { replacement: 2 }), join(2, false));
        bench.send(Event::StartFailed { generation: 2, message: "no".into(), hint: String::new() });
        bench.crash_one(1);
        bench.send(Event::Timer(Timer::Replace(1)));
        assert_eq!(bench.send(Event::ReplacementReady { replacement: 3 }), join(3, true));
    }

    #[test]
    fn what_a_generation_before_has_lost_is_not_replaced() {
        let mut bench = Bench::serving_with_workers(2);
        bench.crash_one(1);
        bench.change("src/a.rs");
        bench.built(2, code("b"));
        assert!(swapped_to(&bench.start(2, "b"), 2));
        assert!(bench.send(Event::ReplacementReady { replacement: 1 }).is_empty());
        assert!(bench.crash_one(1).is_empty());
        assert!(bench.send(Event::Timer(Timer::Replace(1))).is_empty());
    }
}
