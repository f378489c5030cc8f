//! Starts builds and handles their end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use devhost_model::{BrowserEvent, BuildReport, Cause, Failure, Outcome, ServerState};

use crate::action::{Action, Actions};
use crate::code::Code;
use crate::journey::{Journey, millis};
use crate::state::{Build, Supervisor, Wanted, Zygote};

impl Supervisor {
    pub(crate) fn start_build(&mut self, now: Duration, begun: Duration, actions: &mut Actions) {
        self.builds += 1;
        let changed = self.unbuilt.clone();
        self.build = Build::Running {
            build: self.builds,
            begun,
            started: now,
            changed: changed.clone(),
            behind: false,
        };
        actions.push(Action::Build { build: self.builds, changed });
    }

    /// Handles the end of a build. One that was cancelled meanwhile is ignored.
    pub(crate) fn on_build_ended(
        &mut self,
        now: Duration,
        build: u64,
        report: BuildReport,
        settled: &[PathBuf],
        result: Result<Arc<Code>, Failure>,
        actions: &mut Actions,
    ) {
        let is_behind = matches!(self.build, Build::Running { behind: true, .. });
        let Some(journey) = self.finish_build(now, build, report) else { return };
        self.overtaking.code.retain(|file| !settled.contains(file));
        match result {
            Ok(code) if is_behind && !self.restart_wanted => {
                self.on_built_behind(now, &journey, code, actions);
            }
            Ok(code) => self.on_built(now, journey, code, actions),
            Err(failure) => self.on_build_failed(now, &journey, failure, actions),
        }
    }

    /// Takes the build that just ended, if it is the running one.
    pub(crate) fn finish_build(&mut self, now: Duration, build: u64, report: BuildReport) -> Option<Journey> {
        match &mut self.build {
            Build::Running { build: running, begun, started, changed, behind } if *running == build => {
                let rebuilt = std::mem::take(&mut self.rebuilding);
                let cause = match (self.generations, rebuilt) {
                    _ if *behind => Cause::Start,
                    (0, _) if changed.is_empty() => Cause::Start,
                    (_, true) => Cause::Rebuild,
                    (_, false) => Cause::Change,
                };
                let mut journey = Journey::new(cause, std::mem::take(changed), *begun);
                journey.steps.notice_ms = millis(started.saturating_sub(*begun));
                journey.steps.build_ms = millis(now.saturating_sub(*started));
                journey.build = Some(report);
                self.build = Build::Idle;
                self.unbuilt.clear();
                Some(journey)
            }
            _ => None,
        }
    }

    pub(crate) fn on_built(
        &mut self,
        now: Duration,
        journey: Journey,
        code: Arc<Code>,
        actions: &mut Actions,
    ) {
        self.build_broken = false;
        self.newest = Some(Arc::clone(&code));
        let unchanged = self.current.as_ref().is_some_and(|current| {
            !code.build_id.is_empty()
                && current.code.build_id == code.build_id
                && current.code.origin == code.origin
        });
        if unchanged && !self.restart_wanted {
            self.clear_failure(actions);
            actions.push(Action::Release);
            let generation = self.current_generation();
            actions.push(Action::Report(journey.report(now, generation, Outcome::Unchanged)));
            actions.push(Action::SetState(ServerState::Ready));
            actions.push(Action::Tell(BrowserEvent::Recovered));
            self.catch_up(now, actions);
            return;
        }
        self.want(Wanted { code, journey, second_try: false }, actions);
    }

    pub(crate) fn on_build_failed(
        &mut self,
        now: Duration,
        journey: &Journey,
        failure: Failure,
        actions: &mut Actions,
    ) {
        // The files of a failed build stay unbuilt until a build succeeds.
        self.unbuilt.clone_from(&journey.files);
        self.build_broken = true;
        self.fail(now, journey, failure, Outcome::BuildFailed, actions);
    }

    /// Builds again what was removed (`cargo clean`) and is needed.
    pub(crate) fn on_code_gone(&mut self, now: Duration, actions: &mut Actions) {
        // The files do not come back, so nothing is forked from them again.
        self.last_good = None;
        self.newest = None;
        self.wanted = None;
        self.abandon_starting(actions);
        if matches!(self.zygote, Zygote::Preloading { .. }) {
            self.zygote = Zygote::None;
            actions.push(Action::KillZygote);
        }
        // Start the result even if the same code is being served.
        self.restart_wanted = true;
        self.wait_for_build();
        if matches!(self.build, Build::Running { .. }) {
            return;
        }
        actions.push(Action::Note(
            "the build was removed from the target directory, so the app is built again".into(),
        ));
        if self.holds() || self.current.is_none() {
            actions.push(Action::Hold);
        }
        actions.push(Action::SetState(self.waiting_state()));
        self.start_build(now, now, actions);
    }
}

#[cfg(test)]
mod tests {
    use devhost_model::End;

    use super::*;
    use crate::bench::{Bench, build_started, code, forked, has_failure, outcome, swapped_to, zygote};
    use crate::event::Event;

    #[test]
    fn a_failed_build_keeps_the_last_good_generation_and_recovers_by_itself() {
        let mut bench = Bench::serving();
        bench.change("src/a.rs");
        let actions = bench.build_failed(2);
        assert!(has_failure(&actions) && actions.contains(&Action::Release));
        assert_eq!(outcome(&actions), Some(Outcome::BuildFailed));
        // Back to what it was: the same code is serving already.
        let actions = bench.change("src/a.rs");
        assert_eq!(build_started(&actions), Some((3, vec!["src/a.rs".into()])));
        let actions = bench.built(3, code("a"));
        assert!(actions.contains(&Action::SetFailure(None)));
        assert!(actions.contains(&Action::Tell(BrowserEvent::Recovered)));
        assert!(actions.contains(&Action::Release));
        assert_eq!((outcome(&actions), forked(&actions)), (Some(Outcome::Unchanged), None));
    }

    #[test]
    fn files_of_a_failed_build_belong_to_the_next_one() {
        let mut bench = Bench::serving();
        bench.change("src/a.rs");
        bench.build_failed(2);
        let (_, changed) = build_started(&bench.change("src/b.rs")).unwrap();
        assert_eq!(changed, [PathBuf::from("src/a.rs"), "src/b.rs".into()]);
    }

    #[test]
    fn a_broken_first_build_recovers() {
        let mut bench = Bench::new();
        let actions = bench.build_failed(1);
        assert!(has_failure(&actions) && actions.contains(&Action::Release));
        bench.change("src/a.rs");
        bench.built(2, code("a"));
        assert!(forked(&bench.send(Event::ZygoteReady)).is_some());
        let actions = bench.start(1, "a");
        assert!(swapped_to(&actions, 1) && actions.contains(&Action::SetFailure(None)));
    }

    #[test]
    fn code_that_was_removed_is_built_again_and_started_though_it_is_the_same() {
        let mut bench = Bench::serving();
        let actions = bench.crash(1);
        assert_eq!(forked(&actions), Some((2, "a".into())));
        let actions = bench.send(Event::CodeGone);
        assert!(actions.contains(&Action::Hold) && actions.contains(&Action::KillWorker { generation: 2 }));
        assert_eq!(build_started(&actions), Some((2, Vec::new())));
        bench.send(Event::Ended { generation: 2, end: End::Lost });
        let actions = bench.built(2, code("a"));
        assert_eq!(forked(&actions), Some((3, "a".into())));
        assert!(swapped_to(&bench.start(3, "a"), 3));
    }

    #[test]
    fn a_zygote_whose_libraries_were_removed_waits_for_the_build() {
        let mut bench = Bench::serving();
        let actions = bench.send(Event::ZygoteDied { lost: vec![1] });
        assert!(actions.contains(&Action::StartZygote { origin: zygote("/deps.so") }));
        let actions = bench.send(Event::CodeGone);
        assert!(actions.contains(&Action::KillZygote));
        assert_eq!(build_started(&actions), Some((2, Vec::new())));
        // Nothing is forked from what is gone, so a build that fails ends it.
        let actions = bench.build_failed(2);
        assert_eq!((forked(&actions), build_started(&actions)), (None, None));
        assert!(actions.contains(&Action::Release));
        bench.change("src/lib.rs");
        bench.built(3, code("b"));
        assert!(forked(&bench.send(Event::ZygoteReady)).is_some());
    }

    #[test]
    fn removed_code_does_not_disturb_a_build_that_runs() {
        let mut bench = Bench::serving();
        bench.change("src/lib.rs");
        bench.crash(1);
        let actions = bench.send(Event::CodeGone);
        assert_eq!(build_started(&actions), None);
        let actions = bench.built(2, code("b"));
        assert_eq!(forked(&actions).map(|(_, id)| id), Some("b".into()));
    }
}
