//! What the user asks for while devhost runs: a fresh start of the same code, or a build from scratch.

use std::time::Duration;

use devhost_model::{BrowserEvent, Cause};

use crate::action::{Action, Actions};
use crate::change::add_new;
use crate::journey::Journey;
use crate::state::{Build, Supervisor, Wanted};

impl Supervisor {
    /// Starts the newest code anew, as after a change of a file that it reads when it starts.
    pub(crate) fn on_refork_asked(&mut self, now: Duration, actions: &mut Actions) {
        if self.is_building() {
            // Even if it gives the same code.
            self.restart_wanted = true;
            actions.push(Action::Note("the app is being built, and started anew once that is done".into()));
            return;
        }
        let Some(code) = self.startable() else {
            actions.push(Action::Note("there is no code to start: it has to build first".into()));
            return;
        };
        // It reads them when it starts.
        let files = self.take_pending_startup();
        self.begin_anew(actions);
        actions.push(Action::SetState(self.waiting_state()));
        let journey = Journey::new(Cause::Refork, files, now);
        self.want(Wanted { code, journey, second_try: false }, actions);
    }

    /// Builds the app's own packages from scratch, and starts the result even if it is the same code.
    pub(crate) fn on_rebuild_asked(&mut self, now: Duration, actions: &mut Actions) {
        if matches!(self.build, Build::Running { .. }) {
            actions.push(Action::CancelBuild);
        }
        let code = self.take_pending_code();
        add_new(&mut self.unbuilt, code);
        self.take_pending_startup();
        self.begin_anew(actions);
        self.restart_wanted = true;
        self.rebuilding = true;
        actions.push(Action::Discard);
        actions.push(Action::Tell(BrowserEvent::Building { files: Vec::new() }));
        actions.push(Action::SetState(self.waiting_state()));
        self.start_build(now, now, actions);
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use devhost_model::Outcome;

    use super::*;
    use crate::bench::{
        Bench, build_started, cancels, cause, code, forked, has_failure, note, outcome, swapped_to,
    };
    use crate::event::Event;

    fn reloads_pages(actions: &[Action]) -> bool {
        actions.iter().any(|action| matches!(action, Action::Swap { fresh: true, release: true, .. }))
    }

    #[test]
    fn a_fresh_start_is_a_fork_of_the_same_code_that_requests_wait_for() {
        let mut bench = Bench::serving();
        let actions = bench.send(Event::Refork);
        assert!(actions.contains(&Action::Hold));
        assert_eq!((build_started(&actions), forked(&actions)), (None, Some((2, "a".into()))));
        let actions = bench.start(2, "a");
        assert!(reloads_pages(&actions) && actions.contains(&Action::Drain { generation: 1 }));
        assert_eq!(cause(&actions), Some(Cause::Refork));
    }

    #[test]
    fn a_fresh_start_gives_up_one_that_hangs() {
        let mut bench = Bench::serving();
        bench.send(Event::Refork);
        let actions = bench.send(Event::Refork);
        assert!(actions.contains(&Action::KillWorker { generation: 2 }));
        assert_eq!(forked(&actions), Some((3, "a".into())));
    }

    #[test]
    fn a_fresh_start_during_a_build_is_that_of_what_is_built_even_if_it_is_the_same() {
        let mut bench = Bench::serving();
        bench.change("src/a.rs");
        let actions = bench.send(Event::Refork);
        assert!(!cancels(&actions) && forked(&actions).is_none() && note(&actions).is_some());
        assert_eq!(forked(&bench.built(2, code("a"))), Some((2, "a".into())));
    }

    #[test]
    fn a_fresh_start_of_code_that_does_not_build_is_that_of_the_last_good_one() {
        let mut bench = Bench::serving();
        bench.change("src/a.rs");
        bench.build_failed(2);
        assert_eq!(forked(&bench.send(Event::Refork)), Some((2, "a".into())));
        let actions = bench.start(2, "a");
        assert!(
            swapped_to(&actions, 2) && !actions.contains(&Action::SetFailure(None)),
            "it is still broken"
        );
        let mut bench = Bench::new();
        bench.build_failed(1);
        let actions = bench.send(Event::Refork);
        assert!(forked(&actions).is_none() && note(&actions).is_some());
    }

    #[test]
    fn a_fresh_start_that_fails_leaves_the_old_generation() {
        let mut bench = Bench::serving();
        bench.send(Event::Refork);
        let actions =
            bench.send(Event::StartFailed { generation: 2, message: "no".into(), hint: String::new() });
        assert!(has_failure(&actions) && actions.contains(&Action::Release));
        assert_eq!(outcome(&actions), Some(Outcome::StartFailed));
    }

    #[test]
    fn code_that_was_given_up_is_started_again_when_the_user_asks() {
        let mut bench = Bench::serving();
        let mut generation = 1;
        while !has_failure(&bench.crash(generation)) {
            bench.send(Event::Timer(crate::event::Timer::Refork(generation)));
            generation += 1;
            bench.start(generation, "a");
        }
        assert_eq!(forked(&bench.send(Event::Refork)), Some((generation + 1, "a".into())));
        let actions = bench.start(generation + 1, "a");
        assert!(actions.contains(&Action::SetFailure(None)));
    }

    #[test]
    fn a_build_from_scratch_throws_away_first_and_starts_even_the_same_code() {
        let mut bench = Bench::serving();
        let actions = bench.send(Event::Rebuild);
        let position = |wanted: &dyn Fn(&Action) -> bool| actions.iter().position(wanted).unwrap();
        let discard = position(&|action| *action == Action::Discard);
        assert!(discard < position(&|action| matches!(action, Action::Build { .. })));
        assert!(actions.contains(&Action::Hold));
        assert_eq!(build_started(&actions), Some((2, Vec::new())));
        assert_eq!(forked(&bench.built(2, code("a"))), Some((2, "a".into())));
        let actions = bench.start(2, "a");
        assert!(reloads_pages(&actions));
        assert_eq!(cause(&actions), Some(Cause::Rebuild));
        bench.change("src/a.rs");
        bench.built(3, code("b"));
        assert_eq!(cause(&bench.start(3, "b")), Some(Cause::Change));
    }

    #[test]
    fn a_build_from_scratch_during_a_build_takes_its_place_and_knows_its_files() {
        let mut bench = Bench::serving();
        bench.change("src/a.rs");
        let actions = bench.send(Event::Rebuild);
        assert!(cancels(&actions));
        assert_eq!(build_started(&actions), Some((3, vec!["src/a.rs".into()])));
        // An edit meanwhile starts it once more.
        let actions = bench.change("src/b.rs");
        assert_eq!(build_started(&actions), Some((4, vec!["src/a.rs".into(), "src/b.rs".into()])));
        bench.built(4, code("b"));
        assert_eq!(cause(&bench.start(2, "b")), Some(Cause::Rebuild));
    }

    #[test]
    fn a_pause_stops_neither() {
        let mut bench = Bench::serving();
        bench.send(Event::Pause);
        bench.change_startup_file();
        let actions = bench.send(Event::Refork);
        assert!(forked(&actions).is_some() && !actions.contains(&Action::Hold));
        assert!(reloads_pages(&bench.start(2, "a")));
        bench.change("src/a.rs");
        let actions = bench.send(Event::Rebuild);
        assert!(!actions.contains(&Action::Hold), "{actions:?}");
        assert_eq!(build_started(&actions), Some((2, vec![PathBuf::from("src/a.rs")])));
        bench.built(2, code("b"));
        bench.start(3, "b");
        let actions = bench.send(Event::Resume);
        assert!(build_started(&actions).is_none() && forked(&actions).is_none(), "all of it was acted on");
    }
}
