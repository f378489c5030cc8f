//! A program that was up to date before devhost has built anything serves at once. The first build goes on behind it, and its result
//! takes over at the next change, not before, so that nothing in the app's memory is lost unasked.

use std::sync::Arc;
use std::time::Duration;

use devhost_model::{Cause, Outcome};

use crate::action::{Action, Actions};
use crate::code::Code;
use crate::journey::Journey;
use crate::state::{Build, Supervisor, Wanted};

impl Supervisor {
    /// Starts the program, unless something has changed meanwhile.
    pub(crate) fn on_ready_made(&mut self, build: u64, code: Arc<Code>, actions: &mut Actions) {
        let Build::Running { build: running, begun, behind, .. } = &mut self.build else { return };
        if *running != build {
            return;
        }
        *behind = true;
        let journey = Journey::new(Cause::Start, Vec::new(), *begun);
        self.newest = Some(Arc::clone(&code));
        actions.push(Action::Note(
            "what cargo has built is up to date and serves; devhost builds behind it, and reloads from the next change on".into(),
        ));
        self.want(Wanted { code, journey, second_try: false }, actions);
    }

    /// Keeps what was built behind the program for the next change.
    pub(crate) fn on_built_behind(
        &mut self,
        now: Duration,
        journey: &Journey,
        code: Arc<Code>,
        actions: &mut Actions,
    ) {
        self.build_broken = false;
        self.prepare_zygote(&code.origin, actions);
        self.newest = Some(code);
        let generation = self.current_generation();
        actions.push(Action::Report(journey.report(now, generation, Outcome::Behind)));
        self.catch_up(now, actions);
    }

    /// Starts what was built behind a program that failed to start.
    pub(crate) fn start_what_was_built_behind(
        &mut self,
        failed: &Arc<Code>,
        now: Duration,
        actions: &mut Actions,
    ) {
        let newest = self.newest.clone().filter(|newest| newest != failed);
        if let (Some(code), false, None) = (newest, self.is_in_progress(), &self.current) {
            let journey = Journey::new(Cause::Start, Vec::new(), now);
            actions.push(Action::Hold);
            self.want(Wanted { code, journey, second_try: false }, actions);
        }
    }

    /// Has the running build waited for, if there is one: what was to serve meanwhile does not.
    pub(crate) fn wait_for_build(&mut self) {
        if let Build::Running { behind, .. } = &mut self.build {
            *behind = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use devhost_model::{AppKind, ServerState};

    use super::*;
    use crate::bench::{
        Bench, MS, build_started, cancels, exited, forked, has_failure, note, outcome, plain, swapped_to,
    };
    use crate::code::Origin;
    use crate::event::Event;

    fn program(id: &str) -> Arc<Code> {
        Arc::new(Code {
            artifact: format!("/artifacts/{id}").into(),
            kind: AppKind::Plain,
            build_id: id.into(),
            origin: Origin::Keeper,
        })
    }

    /// With a program on its way.
    fn found() -> Bench {
        let mut bench = Bench::new();
        let actions = bench.send(Event::ReadyMade { build: 1, code: program("own") });
        assert!(note(&actions).unwrap().contains("up to date"));
        assert!(actions.contains(&Action::StartZygote { origin: Origin::Keeper }));
        assert_eq!(forked(&bench.send(Event::ZygoteReady)), Some((1, "own".into())));
        bench
    }

    fn serving() -> Bench {
        let mut bench = found();
        let actions = bench.start(1, "own");
        let swap = |action: &Action| matches!(action, Action::Swap { generation: 1, release: true, .. });
        assert!(actions.iter().any(swap) && actions.contains(&Action::SetState(ServerState::Ready)));
        bench
    }

    fn started_zygote(actions: &[Action]) -> bool {
        let is_zygote =
            |action: &Action| matches!(action, Action::StartZygote { origin: Origin::Zygote { .. } });
        actions.iter().any(is_zygote)
    }

    #[test]
    fn what_is_built_behind_it_takes_over_at_the_next_change_and_not_before() {
        let mut bench = serving();
        let actions = bench.built(1, plain("a"));
        assert_eq!((outcome(&actions), forked(&actions)), (Some(Outcome::Behind), None));
        assert!(started_zygote(&actions), "it is ready when it is needed");
        assert!(!actions.contains(&Action::Hold) && bench.send(Event::ZygoteReady).is_empty());
        assert!(build_started(&bench.change("src/a.rs")).is_some());
        assert_eq!(forked(&bench.built(2, plain("b"))), Some((2, "b".into())));
        let actions = bench.start(2, "b");
        assert!(swapped_to(&actions, 2) && actions.contains(&Action::Drain { generation: 1 }));
    }

    #[test]
    fn an_edit_while_it_is_built_gives_that_build_up_and_serves_the_new_code() {
        let mut bench = serving();
        let actions = bench.change("src/a.rs");
        assert!(cancels(&actions) && actions.contains(&Action::Hold));
        assert_eq!(build_started(&actions), Some((2, vec!["src/a.rs".into()])));
        assert!(bench.built(1, plain("a")).is_empty(), "it was cancelled");
        bench.built(2, plain("b"));
        assert_eq!(forked(&bench.send(Event::ZygoteReady)), Some((2, "b".into())));
    }

    #[test]
    fn an_edit_before_it_is_ready_ends_it() {
        let mut bench = found();
        assert!(bench.change("src/a.rs").contains(&Action::KillWorker { generation: 1 }));
        assert!(bench.start(1, "own").is_empty());
        let mut bench = Bench::new();
        bench.change("src/a.rs");
        assert!(bench.send(Event::ReadyMade { build: 1, code: program("own") }).is_empty());
    }

    #[test]
    fn a_file_that_it_reads_starts_it_anew_and_later_what_was_built() {
        let mut bench = serving();
        let actions = bench.change_startup_file();
        assert_eq!(forked(&actions), Some((2, "own".into())));
        assert!(swapped_to(&bench.start(2, "own"), 2));
        bench.built(1, plain("a"));
        bench.now += 10_000 * MS;
        bench.send(Event::ZygoteReady);
        assert_eq!(forked(&bench.change_startup_file()), Some((3, "a".into())));
    }

    #[test]
    fn if_it_does_not_start_what_is_built_is_tried() {
        let mut bench = found();
        let actions = bench.send(Event::Ended { generation: 1, end: exited(1) });
        assert!(has_failure(&actions));
        assert!(started_zygote(&bench.built(1, plain("a"))));
        assert_eq!(forked(&bench.send(Event::ZygoteReady)), Some((2, "a".into())));
        assert!(bench.start(2, "a").contains(&Action::SetFailure(None)));
    }

    #[test]
    fn if_it_does_not_start_what_was_built_meanwhile_is_tried_once() {
        let mut bench = found();
        assert_eq!(forked(&bench.built(1, plain("a"))), None);
        let actions = bench.send(Event::Ended { generation: 1, end: exited(1) });
        assert!(has_failure(&actions) && started_zygote(&actions));
        assert_eq!(forked(&bench.send(Event::ZygoteReady)), Some((2, "a".into())));
        let actions = bench.send(Event::Ended { generation: 2, end: exited(1) });
        assert!(has_failure(&actions) && forked(&actions).is_none() && bench.is_at_rest());
    }

    #[test]
    fn if_it_crashes_it_comes_back() {
        let mut bench = serving();
        assert_eq!(forked(&bench.crash(1)), Some((2, "own".into())));
        assert!(swapped_to(&bench.start(2, "own"), 2));
        bench.built(1, plain("a"));
        bench.send(Event::ZygoteReady);
        bench.now += 60_000 * MS;
        bench.crash(2);
        assert_eq!(forked(&bench.send(Event::ZygoteReady)), Some((3, "own".into())));
    }

    #[test]
    fn a_build_behind_it_that_fails_is_said_and_it_serves_on() {
        let mut bench = serving();
        let actions = bench.build_failed(1);
        assert!(has_failure(&actions) && !actions.contains(&Action::LoseCurrent));
        assert_eq!(forked(&actions), None);
    }

    #[test]
    fn the_user_can_have_it_started_anew_meanwhile() {
        let mut bench = serving();
        assert_eq!(forked(&bench.send(Event::Refork)), Some((2, "own".into())));
    }
}
