//! Starts a generation: from the fork until it is ready or has failed.

use std::sync::Arc;
use std::time::Duration;

use devhost_model::{AppKind, Cause, End, Failure, Outcome};

use crate::action::{Action, Actions};
use crate::crash::CRASHES_IN_A_ROW_COUNT_MAX;
use crate::drain::STOP_TIME_MAX;
use crate::event::Timer;
use crate::journey::millis;
use crate::state::{DrainPhase, Draining, Overlap, Starting, Supervisor, Wanted, Zygote};

/// The exit code of a Rust program whose `main` panicked.
const PANIC_EXIT_CODE: i32 = 101;

const START_TIME_HINT: &str = "give it more time with --start-timeout-ms, if it needs it";

impl Supervisor {
    /// Forks at once, or once the other generations have ended if they must not overlap.
    pub(crate) fn fork_when_free(&mut self, wanted: Wanted, actions: &mut Actions) {
        let alone = wanted.second_try || self.overlap == Overlap::Barred;
        if !alone || !self.any_generation_runs() {
            self.fork(wanted, actions);
            return;
        }
        self.wanted = Some(wanted);
        actions.push(Action::Hold);
        if let Some(current) = self.current.take() {
            self.bring_back = Cause::Rollback;
            actions.push(Action::LoseCurrent);
            self.drain(current.generation, actions);
        }
    }

    /// Forks what waited for the other generations to end.
    pub(crate) fn fork_waiting(&mut self, actions: &mut Actions) {
        if !self.any_generation_runs()
            && matches!(self.zygote, Zygote::Ready { .. })
            && let Some(wanted) = self.wanted.take()
        {
            self.want(wanted, actions);
        }
    }

    fn fork(&mut self, wanted: Wanted, actions: &mut Actions) {
        self.generations += 1;
        let generation = self.generations;
        let Wanted { code, journey, second_try } = wanted;
        self.restart_wanted = false;
        actions.push(Action::Fork { generation, code: Arc::clone(&code) });
        actions.push(Action::Arm { timer: Timer::Start(generation), after: self.settings.start_time_max });
        self.starting =
            Some(Starting { generation, code, loaded: false, detached: false, second_try, journey });
    }

    pub(crate) fn on_forked(&mut self, generation: u64, took: Duration) {
        if let Some(starting) = self.starting_mut(generation) {
            let steps = &mut starting.journey.steps;
            // Of several workers, the slowest is the one that is waited for.
            steps.fork_ms = steps.fork_ms.max(millis(took));
        }
    }

    pub(crate) fn on_detached(&mut self, generation: u64) {
        if let Some(starting) = self.starting_mut(generation) {
            starting.detached = true;
        }
    }

    pub(crate) fn on_loaded(
        &mut self,
        now: Duration,
        generation: u64,
        build_id: &str,
        took: Duration,
        actions: &mut Actions,
    ) {
        let Some(starting) = self.starting_mut(generation) else { return };
        let steps = &mut starting.journey.steps;
        steps.load_ms = steps.load_ms.max(millis(took));
        starting.loaded = true;
        if starting.code.build_id == build_id {
            return;
        }
        let message = describe_other_code(build_id, &starting.code.build_id);
        actions.push(Action::KillWorker { generation });
        self.on_start_failed(now, generation, message, "save the file again".into(), actions);
    }

    pub(crate) fn on_start_failed(
        &mut self,
        now: Duration,
        generation: u64,
        message: String,
        hint: String,
        actions: &mut Actions,
    ) {
        if self.starting_mut(generation).is_none() {
            return;
        }
        let Some(starting) = self.starting.take() else { return };
        if starting.second_try {
            self.overlap = Overlap::Blameless;
        }
        // It usually exits by itself; if not, it is killed.
        self.draining.push(Draining { generation, phase: DrainPhase::Stopping });
        actions.push(Action::Arm { timer: Timer::Stop(generation), after: STOP_TIME_MAX });
        let hint = self.with_hint_at_workers(hint);
        let failure = Failure::Start { message, hint, generation, output: String::new() };
        self.fail(now, &starting.journey, failure, Outcome::StartFailed, actions);
        if starting.journey.cause == Cause::Start {
            self.start_what_was_built_behind(&starting.code, now, actions);
        }
        let is_brought_back = matches!(starting.journey.cause, Cause::Crash | Cause::Rollback | Cause::Retry);
        if is_brought_back && self.crash_row() <= CRASHES_IN_A_ROW_COUNT_MAX {
            self.crashes += 1;
            self.bring_back = Cause::Retry;
            self.arm_refork(generation, actions);
        }
    }

    /// Gives up a start that takes too long.
    pub(crate) fn on_start_timed_out(&mut self, now: Duration, generation: u64, actions: &mut Actions) {
        let Some(starting) = self.starting_mut(generation) else { return };
        let (step, hint) = match (starting.loaded, starting.code.kind) {
            (true, AppKind::Plain) => (
                "listen",
                "devhost expects it to bind a TCP port and to serve HTTP on it; if it needs more time, set --start-timeout-ms",
            ),
            (true, AppKind::Plugin) => ("start", START_TIME_HINT),
            (false, _) => ("load", START_TIME_HINT),
        };
        let message =
            format!("the app did not {step} within {:.1} s", self.settings.start_time_max.as_secs_f64());
        actions.push(Action::KillWorker { generation });
        self.on_start_failed(now, generation, message, hint.into(), actions);
    }

    /// Adds to the hint that the app may not be able to run several times at once, if there are several workers.
    fn with_hint_at_workers(&self, hint: String) -> String {
        let workers = self.settings.workers;
        if workers == 1 {
            return hint;
        }
        let cause = format!(
            "{workers} processes of it start (--workers); one that can only run once needs --workers 1"
        );
        if hint.is_empty() { cause } else { format!("{hint}; {cause}") }
    }

    pub(crate) fn on_ended_at_start(
        &mut self,
        now: Duration,
        generation: u64,
        end: &End,
        actions: &mut Actions,
    ) {
        if let Some(wanted) = self.take_for_second_try(generation) {
            actions.push(Action::Note(format!(
                "{} while the old code was running beside it; it is tried once more alone",
                Self::describe_end(AppKind::Plain, end)
            )));
            self.want(wanted, actions);
            return;
        }
        let Some(starting) = self.starting_mut(generation) else { return };
        let (kind, detached) = (starting.code.kind, starting.detached);
        let exited =
            "arguments for it go after `--`; with --stdin it reads what devhost reads, and has its terminal";
        let (message, hint) = match (kind, end) {
            (AppKind::Plain, _) if detached => (
                "the app has become a daemon: it forked and ended before it listened".into(),
                "devhost needs it in the foreground; daemons often have an option for that, which goes after `--`, \
                 such as `devhost run -- --foreground`",
            ),
            (AppKind::Plain, End::Exited { code: 0 }) => (
                Self::describe_end(kind, end),
                "devhost expects a server: a program that binds a TCP port, serves HTTP on it, and neither ends nor goes \
                 to the background",
            ),
            // A panic has printed its reason.
            (AppKind::Plain, End::Exited { code }) if *code != PANIC_EXIT_CODE => {
                (Self::describe_end(kind, end), exited)
            }
            (AppKind::Plain | AppKind::Plugin, _) => (Self::describe_end(kind, end), ""),
        };
        self.on_start_failed(now, generation, message, hint.into(), actions);
        self.draining.retain(|draining| draining.generation != generation);
        self.fork_waiting(actions);
    }

    fn describe_end(kind: AppKind, end: &End) -> String {
        match (kind, end) {
            (AppKind::Plain, End::Exited { code }) => {
                format!("the app exited with code {code} before it listened")
            }
            (AppKind::Plain, _) => format!("{end} before it listened"),
            (AppKind::Plugin, _) => format!("{end} before it was ready"),
        }
    }

    /// Takes a generation that died while starting, if another one that was running may be the reason.
    fn take_for_second_try(&mut self, generation: u64) -> Option<Wanted> {
        if self.overlap != Overlap::Tried || !self.any_generation_runs() {
            return None;
        }
        let starting = self.starting.take_if(|starting| {
            starting.generation == generation
                && starting.code.kind == AppKind::Plain
                && !starting.second_try
                && !starting.detached
        })?;
        Some(Wanted { code: starting.code, journey: starting.journey, second_try: true })
    }
}

pub(crate) fn describe_other_code(loaded: &str, built: &str) -> String {
    format!("the worker loaded other code (build id {loaded}) than was built ({built})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{
        Bench, MS, code, end_first, exited, forked, has_failure, note, outcome, plain, plain_and_starting,
        swapped_to,
    };
    use crate::event::Event;

    #[test]
    fn a_worker_that_loaded_other_code_never_takes_over() {
        let mut bench = Bench::serving();
        bench.change("src/a.rs");
        bench.built(2, code("b"));
        bench.send(Event::Forked { generation: 2, took: MS });
        let actions = bench.send(Event::Loaded { generation: 2, build_id: "a".into(), took: MS });
        assert!(actions.contains(&Action::KillWorker { generation: 2 }));
        assert_eq!(outcome(&actions), Some(Outcome::StartFailed));
        assert!(bench.send(Event::Ready { generation: 2, took: MS }).is_empty());
    }

    #[test]
    fn a_failed_start_keeps_the_last_good_generation() {
        let mut bench = Bench::serving();
        bench.change("src/a.rs");
        bench.built(2, code("b"));
        let actions = bench.send(Event::StartFailed {
            generation: 2,
            message: "no database".into(),
            hint: String::new(),
        });
        assert!(has_failure(&actions) && actions.contains(&Action::Release));
        assert!(!actions.contains(&Action::LoseCurrent));
    }

    #[test]
    fn a_hanging_start_is_killed_and_said() {
        let mut bench = Bench::serving();
        bench.change("src/a.rs");
        bench.built(2, code("b"));
        let actions = bench.send(Event::Timer(Timer::Start(2)));
        assert!(actions.contains(&Action::KillWorker { generation: 2 }) && has_failure(&actions));
        assert_eq!(outcome(&actions), Some(Outcome::StartFailed));
    }

    #[test]
    fn a_worker_that_exits_before_it_is_ready_failed_to_start() {
        let mut bench = Bench::serving();
        bench.change("src/a.rs");
        bench.built(2, code("b"));
        assert_eq!(outcome(&bench.crash(2)), Some(Outcome::StartFailed));
    }

    #[test]
    fn a_plain_app_that_does_not_listen_in_time_is_told_what_is_expected() {
        let mut bench = plain_and_starting(true);
        bench.built(2, plain("b"));
        bench.send(Event::Loaded { generation: 2, build_id: "b".into(), took: MS });
        let actions = bench.send(Event::Timer(Timer::Start(2)));
        let told = |action: &Action| matches!(action, Action::SetFailure(Some(Failure::Start { message, hint, .. })) if message.contains("did not listen") && hint.contains("TCP port"));
        assert!(actions.iter().any(told), "{actions:?}");
        assert!(!actions.contains(&Action::LoseCurrent), "a hang is no reason for a second try");
    }

    #[test]
    fn a_start_that_fails_with_several_workers_says_so() {
        for (workers, is_said) in [(1, false), (2, true)] {
            let mut bench = Bench::serving_with_workers(workers);
            bench.change("src/a.rs");
            bench.built(2, code("b"));
            let actions = bench.send(Event::StartFailed {
                generation: 2,
                message: "locked".into(),
                hint: "look".into(),
            });
            let hint = actions.iter().find_map(|action| match action {
                Action::SetFailure(Some(Failure::Start { hint, .. })) => Some(hint.clone()),
                _ => None,
            });
            let hint = hint.expect("it failed");
            assert!(hint.starts_with("look"), "{hint}");
            assert_eq!(hint.contains("--workers 1"), is_said, "{hint}");
        }
    }

    #[test]
    fn without_overlap_the_old_generation_ends_before_the_new_one_is_forked() {
        let mut bench = plain_and_starting(false);
        let actions = bench.built(2, plain("b"));
        assert_eq!(forked(&actions), None);
        for wanted in [Action::Hold, Action::LoseCurrent, Action::Drain { generation: 1 }] {
            assert!(actions.contains(&wanted), "{wanted:?} in {actions:?}");
        }
        assert_eq!(forked(&end_first(&mut bench)), Some((2, "b".into())));
        assert!(swapped_to(&bench.start(2, "b"), 2));
    }

    #[test]
    fn without_overlap_a_plugin_app_waits_as_well() {
        let mut bench = Bench::serving();
        bench.supervisor.overlap = Overlap::Barred;
        bench.change("src/a.rs");
        assert_eq!(forked(&bench.built(2, code("b"))), None);
        assert_eq!(forked(&end_first(&mut bench)), Some((2, "b".into())));
    }

    #[test]
    fn without_overlap_an_edit_while_the_old_generation_ends_forks_only_the_newest_code() {
        let mut bench = plain_and_starting(false);
        bench.built(2, plain("b"));
        bench.change("src/a.rs");
        assert_eq!(forked(&end_first(&mut bench)), None);
        assert_eq!(forked(&bench.built(3, plain("c"))), Some((2, "c".into())));
    }

    #[test]
    fn without_overlap_a_failed_start_brings_the_last_good_code_back() {
        let mut bench = plain_and_starting(false);
        bench.built(2, plain("b"));
        end_first(&mut bench);
        let actions = bench.send(Event::Ended { generation: 2, end: exited(1) });
        assert!(has_failure(&actions) && !actions.contains(&Action::Release));
        assert_eq!(forked(&actions), Some((3, "a".into())));
    }

    #[test]
    fn without_overlap_a_crash_of_the_ending_generation_starts_the_new_one() {
        let mut bench = plain_and_starting(false);
        bench.built(2, plain("b"));
        assert_eq!(forked(&bench.crash(1)), Some((2, "b".into())));
    }

    #[test]
    fn a_plain_app_that_dies_beside_the_old_one_is_tried_once_more_alone_and_so_from_then_on() {
        let mut bench = plain_and_starting(true);
        assert_eq!(forked(&bench.built(2, plain("b"))), Some((2, "b".into())));
        let actions = bench.send(Event::Ended { generation: 2, end: exited(1) });
        assert!(note(&actions).unwrap().contains("exited with code 1"), "{actions:?}");
        assert!(!has_failure(&actions) && actions.contains(&Action::Drain { generation: 1 }));
        assert_eq!(forked(&end_first(&mut bench)), Some((3, "b".into())));
        let actions = bench.start(3, "b");
        assert!(swapped_to(&actions, 3) && note(&actions).unwrap().contains("--no-overlap"));
        bench.change("src/a.rs");
        assert_eq!(forked(&bench.built(3, plain("c"))), None);
    }

    #[test]
    fn code_that_fails_alone_as_well_costs_the_old_generation_only_once() {
        let mut bench = plain_and_starting(true);
        bench.built(2, plain("b"));
        bench.send(Event::Ended { generation: 2, end: exited(101) });
        end_first(&mut bench);
        let actions = bench.send(Event::Ended { generation: 3, end: exited(101) });
        assert!(has_failure(&actions));
        assert_eq!(forked(&actions), Some((4, "a".into())), "the last good code comes back");
        bench.start(4, "a");
        bench.change("src/a.rs");
        bench.built(3, plain("c"));
        let actions = bench.send(Event::Ended { generation: 5, end: exited(101) });
        assert!(has_failure(&actions) && !actions.contains(&Action::LoseCurrent));
        // New code that starts makes the next failure worth another try.
        bench.change("src/a.rs");
        bench.built(4, plain("d"));
        assert!(swapped_to(&bench.start(6, "d"), 6));
        bench.change("src/a.rs");
        bench.built(5, plain("e"));
        assert!(note(&bench.send(Event::Ended { generation: 7, end: exited(1) })).is_some());
    }

    #[test]
    fn a_daemon_is_no_reason_for_a_second_try() {
        let mut bench = plain_and_starting(true);
        bench.built(2, plain("b"));
        bench.send(Event::Loaded { generation: 2, build_id: "b".into(), took: MS });
        bench.send(Event::Detached { generation: 2 });
        let actions = bench.send(Event::Ended { generation: 2, end: exited(0) });
        let failed = |action: &Action| matches!(action, Action::SetFailure(Some(Failure::Start { message, .. })) if message.contains("daemon"));
        assert!(actions.iter().any(failed), "{actions:?}");
        assert!(!actions.contains(&Action::LoseCurrent));
    }

    #[test]
    fn an_app_whose_listener_cannot_be_moved_never_runs_beside_itself() {
        let mut bench = plain_and_starting(true);
        bench.send(Event::KeepsItsPort);
        assert_eq!(forked(&bench.built(2, plain("b"))), None);
        assert_eq!(forked(&end_first(&mut bench)), Some((2, "b".into())));
    }
}
