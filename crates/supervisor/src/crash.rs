//! Handles crashes: the code is forked again at once, after more crashes in a row with a delay, and finally no more.

use std::time::Duration;

use devhost_model::{BrowserEvent, Cause, End, Failure};

use crate::action::{Action, Actions};
use crate::event::Timer;
use crate::journey::Journey;
use crate::state::{Supervisor, Wanted};

/// How many crashes in a row, for each worker of a generation, are followed by another fork.
pub(crate) const CRASHES_IN_A_ROW_COUNT_MAX: u32 = 5;

/// A generation that ran this long before it crashed starts a new row.
pub(crate) const CRASH_ROW_TIME: Duration = Duration::from_secs(10);

/// The delay before the second fork in a row of crashes, doubled for each further one. The first has no delay.
const CRASH_BACKOFF_TIME: Duration = Duration::from_millis(100);

impl Supervisor {
    pub(crate) fn on_ended(&mut self, now: Duration, generation: u64, end: End, actions: &mut Actions) {
        self.draining.retain(|draining| draining.generation != generation);
        if self.starting_mut(generation).is_some() {
            self.on_ended_at_start(now, generation, &end, actions);
            return;
        }
        let Some(current) = self.current.take_if(|current| current.generation == generation) else {
            self.fork_waiting(actions);
            return;
        };
        self.bring_back = Cause::Crash;
        actions.push(Action::LoseCurrent);
        actions.push(Action::ReportCrash { end: end.clone() });
        self.count_crash(now, current.since);
        if self.starting.is_some() || self.wanted.is_some() {
            // Its successor is starting already.
            self.fork_waiting(actions);
            return;
        }
        if self.crash_row() > CRASHES_IN_A_ROW_COUNT_MAX {
            self.failed = true;
            let failure = Failure::crash(end, self.crashes, generation);
            actions.push(Action::SetFailure(Some(failure.clone())));
            actions.push(Action::SetState(self.settled_state()));
            actions.push(Action::Tell(BrowserEvent::Failed { failure }));
            if !self.is_building() {
                actions.push(Action::Release);
            }
            return;
        }
        actions.push(Action::SetState(self.waiting_state()));
        if self.crash_row() == 1 {
            self.refork(now, actions);
        } else {
            self.arm_refork(generation, actions);
        }
    }

    pub(crate) fn count_crash(&mut self, now: Duration, since: Duration) {
        let lived = now.saturating_sub(since);
        self.crashes = if lived >= CRASH_ROW_TIME { 1 } else { self.crashes + 1 };
    }

    /// Returns how often each worker has crashed in a row. Several may crash at once, for the same reason.
    pub(crate) fn crash_row(&self) -> u32 {
        self.crashes.div_ceil(self.settings.workers)
    }

    pub(crate) fn crash_backoff(&self) -> Duration {
        CRASH_BACKOFF_TIME * 2u32.pow(self.crash_row().saturating_sub(2))
    }

    pub(crate) fn arm_refork(&self, generation: u64, actions: &mut Actions) {
        let after = self.crash_backoff();
        actions.push(Action::Arm { timer: Timer::Refork(generation), after });
    }

    /// Forks the last good code, after a crash or a start that failed.
    pub(crate) fn refork(&mut self, now: Duration, actions: &mut Actions) {
        if self.current.is_some() || self.starting.is_some() || self.wanted.is_some() {
            return;
        }
        if let Some(code) = self.last_good.clone() {
            let journey = Journey::new(self.bring_back, Vec::new(), now);
            self.want(Wanted { code, journey, second_try: false }, actions);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{
        Bench, MS, build_started, cause, code, end_first, exited, forked, has_failure, plain,
        plain_and_starting,
    };
    use crate::event::Event;

    #[test]
    fn a_crashed_worker_is_forked_again_at_once() {
        let mut bench = Bench::serving();
        let actions = bench.crash(1);
        assert!(actions.contains(&Action::LoseCurrent));
        assert_eq!(forked(&actions), Some((2, "a".into())));
        let actions = bench.start(2, "a");
        assert!(actions.iter().any(|action| matches!(action, Action::Swap { fresh: false, .. })));
    }

    #[test]
    fn repeated_crashes_back_off_and_stop_until_the_next_change() {
        let mut bench = Bench::serving();
        let mut waits = Vec::new();
        let mut generation = 1;
        loop {
            let actions = bench.crash(generation);
            if has_failure(&actions) {
                assert!(actions.contains(&Action::Release));
                break;
            }
            let fork = match forked(&actions) {
                Some((fork, _)) => fork,
                None => {
                    let after = actions.iter().find_map(|action| match action {
                        Action::Arm { timer: Timer::Refork(_), after } => Some(*after),
                        _ => None,
                    });
                    waits.push(after.expect("a crash leads to a fork, a wait or a failure"));
                    forked(&bench.send(Event::Timer(Timer::Refork(generation))))
                        .expect("a fork after the wait")
                        .0
                }
            };
            generation = fork;
            bench.start(generation, "a");
        }
        assert_eq!(waits, [100 * MS, 200 * MS, 400 * MS, 800 * MS]);
        assert!(build_started(&bench.change("src/a.rs")).is_some());
        assert!(forked(&bench.built(2, code("a"))).is_some());
    }

    #[test]
    fn crashes_far_apart_are_not_a_row() {
        let mut bench = Bench::serving();
        for generation in 1..20 {
            bench.now += CRASH_ROW_TIME;
            assert!(forked(&bench.crash(generation)).is_some());
            bench.start(generation + 1, "a");
        }
    }

    #[test]
    fn a_crash_during_a_build_does_not_release_held_requests_to_old_code() {
        let mut bench = Bench::serving();
        bench.change("src/a.rs");
        bench.crash(1);
        let actions = bench.start(2, "a");
        assert!(actions.iter().any(|action| matches!(action, Action::Swap { release: false, .. })));
        assert!(!actions.contains(&Action::Release));
    }

    #[test]
    fn a_last_good_generation_that_crashes_during_a_failing_build_comes_back() {
        let mut bench = Bench::serving();
        bench.change("src/a.rs");
        bench.built(2, code("b"));
        assert_eq!(forked(&bench.crash(1)), None, "its successor is on its way");
        let actions = bench.send(Event::StartFailed {
            generation: 2,
            message: "no database".into(),
            hint: String::new(),
        });
        assert_eq!(forked(&actions), Some((3, "a".into())));
        assert!(!actions.contains(&Action::Release), "requests wait for the last good generation");
    }

    #[test]
    fn the_last_good_code_that_made_room_has_not_crashed() {
        let mut bench = plain_and_starting(false);
        bench.built(2, plain("b"));
        assert!(forked(&end_first(&mut bench)).is_some());
        let actions = bench.send(Event::Ended { generation: 2, end: exited(1) });
        assert_eq!(forked(&actions), Some((3, "a".into())));
        assert_eq!(cause(&bench.start(3, "a")), Some(Cause::Rollback));
    }

    #[test]
    fn a_start_after_a_failed_one_is_told_apart_from_one_after_a_crash() {
        let mut bench = Bench::serving();
        bench.crash(1);
        // The restart dies at its start, and is tried again.
        bench.crash(2);
        let actions = bench.send(Event::Timer(Timer::Refork(2)));
        assert_eq!(forked(&actions), Some((3, "a".into())));
        assert_eq!(cause(&bench.start(3, "a")), Some(Cause::Retry));
        assert_eq!(forked(&bench.crash(3)), None, "it is the second crash in a row");
        bench.send(Event::Timer(Timer::Refork(3)));
        assert_eq!(cause(&bench.start(4, "a")), Some(Cause::Crash));
    }
}
