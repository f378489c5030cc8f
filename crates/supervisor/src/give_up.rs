//! Gives up a build or a start that newer files make useless, and leaves one to finish after several of those.

use std::path::PathBuf;
use std::time::Duration;

use devhost_model::ChangedFiles;

use crate::action::{Action, Actions};
use crate::drain::STOP_TIME_MAX;
use crate::event::Timer;
use crate::state::{DrainPhase, Draining, GiveUps, Overtaking, Supervisor};

/// How many builds and starts in a row are given up because files change, before one is left to finish.
const GIVE_UPS_COUNT_MAX: u32 = 3;

/// For how long builds and starts are given up because files change, before one is left to finish.
const GIVE_UPS_TIME_MAX: Duration = Duration::from_secs(10);

impl Supervisor {
    /// Returns true if what is in progress must be left to finish, because too much before it was given up.
    fn is_left_alone(&self, now: Duration) -> bool {
        let GiveUps { count, since } = self.give_ups;
        count >= GIVE_UPS_COUNT_MAX
            || since.is_some_and(|since| now.saturating_sub(since) >= GIVE_UPS_TIME_MAX)
    }

    /// Returns true if a change has to wait because what is in progress is left to finish; otherwise counts that as given up.
    pub(crate) fn must_wait(
        &mut self,
        now: Duration,
        at: Duration,
        file: Option<&PathBuf>,
        actions: &mut Actions,
    ) -> bool {
        if !self.is_in_progress() {
            return false;
        }
        if !self.is_left_alone(now) {
            self.give_ups.count += 1;
            self.give_ups.since.get_or_insert(now);
            return false;
        }
        if self.overtaking.is_empty() {
            self.overtaking.since = at;
            actions.extend(file.map(|file| Action::TellOfLeftAlone { file: file.clone() }));
        }
        true
    }

    /// Handles what changed meanwhile, once the build or the start that was left to finish is over.
    pub(crate) fn catch_up(&mut self, now: Duration, actions: &mut Actions) {
        if self.is_in_progress() {
            return;
        }
        self.give_ups = GiveUps::default();
        let Overtaking { code, startup, since } = std::mem::take(&mut self.overtaking);
        let files = ChangedFiles { code: code.clone(), startup: startup.clone(), ..ChangedFiles::default() };
        if self.is_put_off(&files, actions) {
            return;
        }
        self.restart_wanted |= !startup.is_empty();
        if !code.is_empty() {
            self.on_code_changed(now, since, code, actions);
        } else if !startup.is_empty() {
            self.on_startup_changed(now, since, startup, actions);
        }
    }

    pub(crate) fn abandon_starting(&mut self, actions: &mut Actions) {
        if let Some(starting) = self.starting.take() {
            let generation = starting.generation;
            self.draining.push(Draining { generation, phase: DrainPhase::Stopping });
            actions.push(Action::KillWorker { generation });
            actions.push(Action::Arm { timer: Timer::Stop(generation), after: STOP_TIME_MAX });
        }
    }
}

#[cfg(test)]
mod tests {
    use devhost_model::BuildReport;

    use super::*;
    use crate::bench::{Bench, MS, build_started, cancels, code, forked, swapped_to};
    use crate::event::Event;

    #[test]
    fn after_some_builds_that_were_given_up_one_is_left_to_finish_and_the_change_is_built_after_it() {
        let mut bench = Bench::serving();
        bench.change("src/a.rs");
        for _ in 0..GIVE_UPS_COUNT_MAX {
            assert!(cancels(&bench.change("src/a.rs")));
        }
        let build = u64::from(GIVE_UPS_COUNT_MAX) + 2;
        let told = Action::TellOfLeftAlone { file: "src/a.rs".into() };
        assert_eq!(bench.change("src/a.rs"), [told]);
        assert_eq!(bench.change("src/b.rs"), [], "it is told once");
        assert_eq!(forked(&bench.built(build, code("b"))), Some((2, "b".into())));
        assert_eq!(bench.change("src/a.rs"), [], "the start is left alone, too");
        let actions = bench.start(2, "b");
        let position = |wanted: &dyn Fn(&Action) -> bool| actions.iter().position(wanted).unwrap();
        let swap = position(&|action| matches!(action, Action::Swap { generation: 2, release: true, .. }));
        let hold = position(&|action| *action == Action::Hold);
        assert!(swap < hold, "those who waited are served, and the next ones wait for the next build");
        assert_eq!(build_started(&actions), Some((build + 1, vec!["src/a.rs".into(), "src/b.rs".into()])));
        // The row is over: the next one may be given up again.
        assert!(cancels(&bench.change("src/a.rs")));
    }

    #[test]
    fn a_build_is_left_to_finish_when_builds_have_been_given_up_for_long() {
        let mut bench = Bench::serving();
        bench.change("src/a.rs");
        assert!(cancels(&bench.change("src/a.rs")));
        bench.now += GIVE_UPS_TIME_MAX;
        assert!(!cancels(&bench.change("src/a.rs")));
    }

    #[test]
    fn what_the_build_has_read_or_written_itself_is_not_built_again() {
        let mut bench = Bench::serving();
        bench.change("src/a.rs");
        for _ in 0..=GIVE_UPS_COUNT_MAX {
            bench.change("src/stamp.rs");
        }
        assert_eq!(bench.supervisor.overtaking(), [PathBuf::from("src/stamp.rs")]);
        let build = u64::from(GIVE_UPS_COUNT_MAX) + 2;
        let settled = vec!["src/stamp.rs".into()];
        bench.send(Event::BuildEnded {
            build,
            report: BuildReport::default(),
            settled,
            result: Ok(code("b")),
        });
        assert_eq!(build_started(&bench.start(2, "b")), None);
    }

    #[test]
    fn a_build_that_was_left_alone_and_fails_is_followed_by_the_next() {
        let mut bench = Bench::serving();
        bench.change("src/a.rs");
        for _ in 0..=GIVE_UPS_COUNT_MAX {
            bench.change("src/a.rs");
        }
        let build = u64::from(GIVE_UPS_COUNT_MAX) + 2;
        let actions = bench.build_failed(build);
        assert_eq!(build_started(&actions), Some((build + 1, vec!["src/a.rs".into()])));
    }

    #[test]
    fn a_start_that_is_given_up_again_and_again_is_left_to_finish() {
        let mut bench = Bench::serving();
        bench.change_startup_file();
        for number in 0..GIVE_UPS_COUNT_MAX {
            bench.now += 10_000 * MS;
            bench.supervisor.give_ups.since = None;
            assert!(forked(&bench.change_startup_file()).is_some(), "{number}");
        }
        bench.now += 10_000 * MS;
        let generation = u64::from(GIVE_UPS_COUNT_MAX) + 2;
        assert_eq!(forked(&bench.change_startup_file()), None);
        let actions = bench.start(generation, "a");
        assert!(swapped_to(&actions, generation));
        assert_eq!(forked(&actions), Some((generation + 1, "a".into())));
    }
}
