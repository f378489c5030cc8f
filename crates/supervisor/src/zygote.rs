//! Starts zygotes (or keepers) for the code that needs them, and handles their failure and death.

use std::time::Duration;

use devhost_model::{Cause, Failure, Outcome};

use crate::action::{Action, Actions};
use crate::code::Origin;
use crate::event::Timer;
use crate::journey::Journey;
use crate::state::{Supervisor, Wanted, Zygote};

/// How often in a row, with no generation becoming ready in between, a dead zygote is replaced.
pub(crate) const ZYGOTE_DEATHS_COUNT_MAX: u32 = 3;

/// How long a zygote may take to load its libraries.
const PRELOAD_TIME_MAX: Duration = Duration::from_secs(20);

impl Supervisor {
    pub(crate) fn want(&mut self, wanted: Wanted, actions: &mut Actions) {
        match &self.zygote {
            Zygote::Ready { origin } if *origin == wanted.code.origin => {
                self.fork_when_free(wanted, actions);
            }
            Zygote::Preloading { origin } if *origin == wanted.code.origin => self.wanted = Some(wanted),
            _ => {
                let origin = wanted.code.origin.clone();
                self.wanted = Some(wanted);
                self.start_zygote(origin, actions);
            }
        }
    }

    /// Starts a zygote for the next change, unless one is needed now.
    pub(crate) fn prepare_zygote(&mut self, origin: &Origin, actions: &mut Actions) {
        let is_there = matches!(&self.zygote, Zygote::Ready { origin: own } | Zygote::Preloading { origin: own } if own == origin);
        if !is_there && self.wanted.is_none() && self.starting.is_none() {
            self.start_zygote(origin.clone(), actions);
        }
    }

    fn start_zygote(&mut self, origin: Origin, actions: &mut Actions) {
        self.zygotes += 1;
        self.zygote = Zygote::Preloading { origin: origin.clone() };
        actions.push(Action::StartZygote { origin });
        actions.push(Action::Arm { timer: Timer::Preload(self.zygotes), after: PRELOAD_TIME_MAX });
    }

    pub(crate) fn on_zygote_ready(&mut self, actions: &mut Actions) {
        if let Zygote::Preloading { origin } = &self.zygote {
            self.zygote = Zygote::Ready { origin: origin.clone() };
            if let Some(wanted) = self.wanted.take() {
                self.want(wanted, actions);
            }
        }
    }

    pub(crate) fn on_zygote_failed(&mut self, now: Duration, message: String, actions: &mut Actions) {
        if !matches!(self.zygote, Zygote::Preloading { .. }) {
            return;
        }
        self.zygote = Zygote::None;
        actions.push(Action::KillZygote);
        if let Some(Wanted { journey, .. }) = self.wanted.take() {
            self.fail(now, &journey, Failure::start(message, ""), Outcome::StartFailed, actions);
        }
    }

    pub(crate) fn on_preload_timed_out(&mut self, now: Duration, zygote: u64, actions: &mut Actions) {
        if zygote == self.zygotes {
            self.on_zygote_failed(now, "the app's dependencies took too long to load".into(), actions);
        }
    }

    pub(crate) fn on_zygote_died(&mut self, now: Duration, lost: &[u64], actions: &mut Actions) {
        if self.zygote == Zygote::None {
            return;
        }
        let preloading = matches!(self.zygote, Zygote::Preloading { .. });
        self.zygote = Zygote::None;
        self.zygote_deaths += 1;
        if self.current.take_if(|current| lost.contains(&current.generation)).is_some() {
            actions.push(Action::LoseCurrent);
        }
        self.draining.retain(|draining| !lost.contains(&draining.generation));
        let begun = Journey::new(Cause::Zygote, Vec::new(), now);
        let wanted = match (self.wanted.take(), self.starting.take()) {
            (Some(wanted), _) => Some(wanted),
            (None, Some(starting)) => Some(Wanted {
                code: starting.code,
                journey: starting.journey,
                second_try: starting.second_try,
            }),
            // The current generation is an earlier zygote's and serves on; the next change starts another zygote.
            (None, None) if self.current.is_some() => return,
            (None, None) => {
                self.last_good.clone().map(|code| Wanted { code, journey: begun.clone(), second_try: false })
            }
        };
        if self.zygote_deaths > ZYGOTE_DEATHS_COUNT_MAX {
            let message = if preloading {
                "the zygote died each time while it loaded the app's dependencies"
            } else {
                "the zygote died again and again"
            };
            let hint = "the next change starts it again";
            let failure = Failure::start(message, hint);
            let journey = wanted.map_or(begun, |wanted| wanted.journey);
            self.fail(now, &journey, failure, Outcome::StartFailed, actions);
            return;
        }
        if let Some(wanted) = wanted {
            actions.push(Action::SetState(self.waiting_state()));
            self.want(wanted, actions);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::bench::{Bench, code, forked, has_failure, swapped_to, zygote};
    use crate::code::Code;
    use crate::event::Event;

    #[test]
    fn a_dead_zygote_is_replaced_and_the_code_forked_again() {
        let mut bench = Bench::serving();
        let actions = bench.send(Event::ZygoteDied { lost: vec![1] });
        assert!(actions.contains(&Action::LoseCurrent));
        assert!(actions.contains(&Action::StartZygote { origin: zygote("/deps.so") }));
        assert_eq!(forked(&bench.send(Event::ZygoteReady)), Some((2, "a".into())));
        assert!(swapped_to(&bench.start(2, "a"), 2));
    }

    #[test]
    fn a_generation_of_an_earlier_zygote_outlives_the_death_of_the_present_one() {
        let mut bench = Bench::serving();
        bench.change("Cargo.toml");
        let other = Arc::new(Code { origin: zygote("/other.so"), ..(*code("b")).clone() });
        bench.built(2, Arc::clone(&other));
        let actions = bench.send(Event::ZygoteDied { lost: Vec::new() });
        assert!(!actions.contains(&Action::LoseCurrent));
        assert!(
            actions.contains(&Action::StartZygote { origin: zygote("/other.so") }),
            "what is wanted is tried again"
        );
        assert_eq!(forked(&bench.send(Event::ZygoteReady)), Some((2, "b".into())));
        bench.send(Event::StartFailed { generation: 2, message: "no database".into(), hint: String::new() });
        let actions = bench.send(Event::ZygoteDied { lost: Vec::new() });
        assert!(actions.is_empty(), "the first generation still serves, and nothing is wanted: {actions:?}");
    }

    #[test]
    fn a_zygote_that_dies_again_and_again_is_given_up() {
        let mut bench = Bench::serving();
        for _ in 0..ZYGOTE_DEATHS_COUNT_MAX {
            assert!(!has_failure(&bench.send(Event::ZygoteDied { lost: vec![1] })));
        }
        let actions = bench.send(Event::ZygoteDied { lost: vec![1] });
        assert!(has_failure(&actions));
        assert!(!actions.iter().any(|action| matches!(action, Action::StartZygote { .. })));
    }

    #[test]
    fn other_dependencies_mean_another_zygote() {
        let mut bench = Bench::serving();
        bench.change("Cargo.toml");
        let other = Arc::new(Code { origin: zygote("/other.so"), ..(*code("b")).clone() });
        let actions = bench.built(2, other);
        assert!(actions.contains(&Action::StartZygote { origin: zygote("/other.so") }));
        assert_eq!(forked(&bench.send(Event::ZygoteReady)), Some((2, "b".into())));
    }

    #[test]
    fn code_that_is_a_program_means_a_keeper() {
        let mut bench = Bench::serving();
        bench.change("build.rs");
        let program = Arc::new(Code { origin: Origin::Keeper, ..(*code("b")).clone() });
        let actions = bench.built(2, program);
        assert!(actions.contains(&Action::StartZygote { origin: Origin::Keeper }));
        assert_eq!(forked(&bench.send(Event::ZygoteReady)), Some((2, "b".into())));
    }
}
