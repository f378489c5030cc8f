//! The test bench: a supervisor with a clock that the test moves, and queries on actions.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use devhost_model::{
    AppKind, BuildReport, Cause, ChangedFiles, Diagnostics, End, Failure, Outcome, StopReason,
};

use crate::action::Action;
use crate::code::{Code, Origin};
use crate::event::{Event, Timer};
use crate::settings::Settings;
use crate::state::{Overlap, Supervisor};

pub(crate) const MS: Duration = Duration::from_millis(1);

pub(crate) fn code(id: &str) -> Arc<Code> {
    Arc::new(Code {
        artifact: format!("/artifacts/{id}.so").into(),
        kind: AppKind::Plugin,
        build_id: id.into(),
        origin: zygote("/deps.so"),
    })
}

pub(crate) fn zygote(library: &str) -> Origin {
    Origin::Zygote { preload: vec![library.into()] }
}

pub(crate) fn build_error() -> Failure {
    Failure::Build { diagnostics: Diagnostics::default(), output: "error".into() }
}

/// A supervisor with a clock that the test moves.
pub(crate) struct Bench {
    pub(crate) supervisor: Supervisor,
    pub(crate) now: Duration,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with_workers(1)
    }

    pub(crate) fn with_workers(workers: u32) -> Self {
        let settings = Settings {
            hold: true,
            overlap: true,
            workers,
            start_time_max: 10_000 * MS,
            drain_time_max: 5_000 * MS,
            stop_time_max: 3_000 * MS,
            damp_echoes: true,
        };
        let mut bench = Self { supervisor: Supervisor::new(settings), now: Duration::ZERO };
        let actions = bench.supervisor.begin(bench.now);
        assert!(actions.contains(&Action::Build { build: 1, changed: Vec::new() }));
        bench
    }

    /// Makes one whose first generation serves code `a`.
    pub(crate) fn serving() -> Self {
        Self::serving_with_workers(1)
    }

    pub(crate) fn serving_with_workers(workers: u32) -> Self {
        let mut bench = Self::with_workers(workers);
        bench.built(1, code("a"));
        let actions = bench.send(Event::ZygoteReady);
        assert!(actions.contains(&Action::Fork { generation: 1, code: code("a") }));
        let actions = bench.start(1, "a");
        assert!(swapped_to(&actions, 1));
        bench
    }

    /// Returns true if nothing is in progress, and no generation but the current one exists.
    pub(crate) fn is_at_rest(&self) -> bool {
        !self.supervisor.is_in_progress() && self.supervisor.draining.is_empty()
    }

    pub(crate) fn send(&mut self, event: Event) -> Vec<Action> {
        self.now += MS;
        self.supervisor.handle(self.now, event)
    }

    pub(crate) fn change(&mut self, file: &str) -> Vec<Action> {
        self.changed(ChangedFiles { code: vec![file.into()], ..ChangedFiles::default() }, false)
    }

    pub(crate) fn change_startup_file(&mut self) -> Vec<Action> {
        self.changed(ChangedFiles { startup: vec![".env".into()], ..ChangedFiles::default() }, false)
    }

    pub(crate) fn changed(&mut self, files: ChangedFiles, busy: bool) -> Vec<Action> {
        self.send(Event::Changed { age: Duration::ZERO, files, busy })
    }

    pub(crate) fn built(&mut self, build: u64, code: Arc<Code>) -> Vec<Action> {
        self.build_ended(build, Ok(code))
    }

    pub(crate) fn build_failed(&mut self, build: u64) -> Vec<Action> {
        self.build_ended(build, Err(build_error()))
    }

    pub(crate) fn build_ended(&mut self, build: u64, result: Result<Arc<Code>, Failure>) -> Vec<Action> {
        self.send(Event::BuildEnded { build, report: BuildReport::default(), settled: Vec::new(), result })
    }

    /// Lets a worker load and become ready.
    pub(crate) fn start(&mut self, generation: u64, build_id: &str) -> Vec<Action> {
        self.send(Event::Forked { generation, took: MS });
        self.send(Event::Loaded { generation, build_id: build_id.into(), took: MS });
        self.send(Event::Ready { generation, took: MS })
    }

    pub(crate) fn crash(&mut self, generation: u64) -> Vec<Action> {
        self.send(Event::Ended { generation, end: End::Signalled { signal: 11 } })
    }

    /// Crashes one of several workers.
    pub(crate) fn crash_one(&mut self, generation: u64) -> Vec<Action> {
        self.send(Event::WorkerEnded { generation, end: End::Signalled { signal: 9 } })
    }
}

pub(crate) fn replaced(actions: &[Action]) -> Option<(u64, u64)> {
    actions.iter().find_map(|action| match action {
        Action::Replace { generation, replacement } => Some((*generation, *replacement)),
        _ => None,
    })
}

pub(crate) fn replace_later(actions: &[Action]) -> Option<Duration> {
    actions.iter().find_map(|action| match action {
        Action::Arm { timer: Timer::Replace(_), after } => Some(*after),
        _ => None,
    })
}

pub(crate) fn swapped_to(actions: &[Action], generation: u64) -> bool {
    actions.iter().any(|action| matches!(action, Action::Swap { generation: to, .. } if *to == generation))
}

pub(crate) fn build_started(actions: &[Action]) -> Option<(u64, Vec<PathBuf>)> {
    actions.iter().find_map(|action| match action {
        Action::Build { build, changed } => Some((*build, changed.clone())),
        _ => None,
    })
}

pub(crate) fn forked(actions: &[Action]) -> Option<(u64, String)> {
    actions.iter().find_map(|action| match action {
        Action::Fork { generation, code } => Some((*generation, code.build_id.clone())),
        _ => None,
    })
}

pub(crate) fn outcome(actions: &[Action]) -> Option<Outcome> {
    actions.iter().find_map(|action| match action {
        Action::Report(reload) => Some(reload.outcome),
        _ => None,
    })
}

pub(crate) fn has_failure(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::SetFailure(Some(_))))
}

pub(crate) fn plain(id: &str) -> Arc<Code> {
    Arc::new(Code { kind: AppKind::Plain, ..(*code(id)).clone() })
}

pub(crate) fn exited(code: i32) -> End {
    End::Exited { code }
}

/// With a plain app's first generation that serves code `a`, and code `b` on its way as generation 2.
pub(crate) fn plain_and_starting(overlap: bool) -> Bench {
    let mut bench = Bench::new();
    bench.supervisor.overlap = if overlap { Overlap::Tried } else { Overlap::Barred };
    bench.built(1, plain("a"));
    bench.send(Event::ZygoteReady);
    assert!(swapped_to(&bench.start(1, "a"), 1));
    bench.change("src/a.rs");
    bench
}

/// Lets generation 1 drain and end.
pub(crate) fn end_first(bench: &mut Bench) -> Vec<Action> {
    bench.send(Event::Idle { generation: 1 });
    let actions = bench.send(Event::Empty { generation: 1 });
    assert!(actions.contains(&Action::StopWorker { generation: 1, reason: StopReason::Replaced }));
    bench.send(Event::Ended { generation: 1, end: End::Signalled { signal: 15 } })
}

pub(crate) fn note(actions: &[Action]) -> Option<&str> {
    actions.iter().find_map(|action| match action {
        Action::Note(note) => Some(note.as_str()),
        _ => None,
    })
}

/// Of the reload that is told.
pub(crate) fn cause(actions: &[Action]) -> Option<Cause> {
    actions.iter().find_map(|action| match action {
        Action::Report(reload) => Some(reload.cause),
        _ => None,
    })
}

pub(crate) fn cancels(actions: &[Action]) -> bool {
    actions.contains(&Action::CancelBuild)
}
