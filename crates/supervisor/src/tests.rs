//! The supervisor tried in every order that matters, without a process or a clock.

use super::*;
use devhost_model::Diagnostics;

const MS: Duration = Duration::from_millis(1);

fn code(id: &str) -> Arc<Code> {
    Arc::new(Code {
        artifact: format!("/artifacts/{id}.so").into(),
        kind: AppKind::Plugin,
        build_id: id.into(),
        origin: zygote("/deps.so"),
    })
}

fn zygote(library: &str) -> Origin {
    Origin::Zygote { preload: vec![library.into()] }
}

fn build_error() -> Failure {
    Failure::Build { diagnostics: Diagnostics::default(), output: "error".into() }
}

/// A supervisor with a clock that a test moves.
struct Bench {
    supervisor: Supervisor,
    now: Duration,
}

impl Bench {
    fn new() -> Self {
        Self::with_workers(1)
    }

    fn with_workers(workers: u32) -> Self {
        let settings = Settings {
            hold: true,
            overlap: true,
            workers,
            start_time_max: 10_000 * MS,
            drain_time_max: 5_000 * MS,
            stop_time_max: 3_000 * MS,
        };
        let mut bench = Self { supervisor: Supervisor::new(settings), now: Duration::ZERO };
        let actions = bench.supervisor.begin(bench.now);
        assert!(actions.contains(&Action::Build { build: 1, changed: Vec::new() }));
        bench
    }

    /// With a first generation that serves code `a`.
    fn serving() -> Self {
        Self::serving_with_workers(1)
    }

    fn serving_with_workers(workers: u32) -> Self {
        let mut bench = Self::with_workers(workers);
        bench.built(1, code("a"));
        let actions = bench.send(Event::ZygoteReady);
        assert!(actions.contains(&Action::Fork { generation: 1, code: code("a") }));
        let actions = bench.start(1, "a");
        assert!(swapped_to(&actions, 1));
        bench
    }

    fn send(&mut self, event: Event) -> Vec<Action> {
        self.now += MS;
        self.supervisor.handle(self.now, event)
    }

    fn change(&mut self, file: &str) -> Vec<Action> {
        self.changed(ChangedFiles { code: vec![file.into()], ..ChangedFiles::default() }, false)
    }

    fn change_startup_file(&mut self) -> Vec<Action> {
        self.changed(ChangedFiles { startup: vec![".env".into()], ..ChangedFiles::default() }, false)
    }

    fn changed(&mut self, files: ChangedFiles, busy: bool) -> Vec<Action> {
        self.send(Event::Changed { age: Duration::ZERO, files, busy })
    }

    fn built(&mut self, build: u64, code: Arc<Code>) -> Vec<Action> {
        self.build_ended(build, Ok(code))
    }

    fn build_failed(&mut self, build: u64) -> Vec<Action> {
        self.build_ended(build, Err(build_error()))
    }

    fn build_ended(&mut self, build: u64, result: Result<Arc<Code>, Failure>) -> Vec<Action> {
        self.send(Event::BuildEnded { build, report: BuildReport::default(), settled: Vec::new(), result })
    }

    /// A worker that loads and becomes ready.
    fn start(&mut self, generation: u64, build_id: &str) -> Vec<Action> {
        self.send(Event::Forked { generation, took: MS });
        self.send(Event::Loaded { generation, build_id: build_id.into(), took: MS });
        self.send(Event::Ready { generation, took: MS })
    }

    fn crash(&mut self, generation: u64) -> Vec<Action> {
        self.send(Event::Ended { generation, end: End::Signalled { signal: 11 } })
    }
}

impl Bench {
    /// One of several workers.
    fn crash_one(&mut self, generation: u64) -> Vec<Action> {
        self.send(Event::WorkerEnded { generation, end: End::Signalled { signal: 9 } })
    }
}

fn replaced(actions: &[Action]) -> Option<(u64, u64)> {
    actions.iter().find_map(|action| match action {
        Action::Replace { generation, replacement } => Some((*generation, *replacement)),
        _ => None,
    })
}

fn replace_later(actions: &[Action]) -> Option<Duration> {
    actions.iter().find_map(|action| match action {
        Action::Arm { timer: Timer::Replace(_), after } => Some(*after),
        _ => None,
    })
}

fn swapped_to(actions: &[Action], generation: u64) -> bool {
    actions.iter().any(|action| matches!(action, Action::Swap { generation: to, .. } if *to == generation))
}

fn build_started(actions: &[Action]) -> Option<(u64, Vec<PathBuf>)> {
    actions.iter().find_map(|action| match action {
        Action::Build { build, changed } => Some((*build, changed.clone())),
        _ => None,
    })
}

fn forked(actions: &[Action]) -> Option<(u64, String)> {
    actions.iter().find_map(|action| match action {
        Action::Fork { generation, code } => Some((*generation, code.build_id.clone())),
        _ => None,
    })
}

fn outcome(actions: &[Action]) -> Option<Outcome> {
    actions.iter().find_map(|action| match action {
        Action::Report(reload) => Some(reload.outcome),
        _ => None,
    })
}

fn has_failure(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::SetFailure(Some(_))))
}

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
    assert!(!bench.supervisor.is_busy());
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

#[test]
fn draining_generations_do_not_pile_up() {
    let mut bench = Bench::serving();
    for round in 2..10u64 {
        bench.change("src/a.rs");
        let id = round.to_string();
        bench.built(round, code(&id));
        let actions = bench.start(round, &id);
        let stopped = actions.iter().any(|action| matches!(action, Action::StopWorker { .. }));
        assert_eq!(stopped, round > 1 + DRAINING_COUNT_MAX as u64, "round {round}");
        if stopped {
            let end = End::Exited { code: 0 };
            bench.send(Event::Ended { generation: round - 1 - DRAINING_COUNT_MAX as u64, end });
        }
    }
}

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
                forked(&bench.send(Event::Timer(Timer::Refork(generation)))).expect("a fork after the wait").0
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
fn a_failed_start_keeps_the_last_good_generation() {
    let mut bench = Bench::serving();
    bench.change("src/a.rs");
    bench.built(2, code("b"));
    let actions =
        bench.send(Event::StartFailed { generation: 2, message: "no database".into(), hint: String::new() });
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
fn a_last_good_generation_that_crashes_during_a_failing_build_comes_back() {
    let mut bench = Bench::serving();
    bench.change("src/a.rs");
    bench.built(2, code("b"));
    assert_eq!(forked(&bench.crash(1)), None, "its successor is on its way");
    let actions =
        bench.send(Event::StartFailed { generation: 2, message: "no database".into(), hint: String::new() });
    assert_eq!(forked(&actions), Some((3, "a".into())));
    assert!(!actions.contains(&Action::Release), "requests wait for the last good generation");
}

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

#[test]
fn new_environment_means_a_fork_without_a_build() {
    let mut bench = Bench::serving();
    let actions = bench.change_startup_file();
    assert_eq!((build_started(&actions), forked(&actions)), (None, Some((2, "a".into()))));
}

#[test]
fn new_environment_starts_code_that_would_not_start_before() {
    let mut bench = Bench::serving();
    bench.change("src/a.rs");
    bench.built(2, code("b"));
    bench.send(Event::StartFailed { generation: 2, message: "KEY is missing".into(), hint: String::new() });
    assert_eq!(forked(&bench.change_startup_file()), Some((3, "b".into())));
    assert!(bench.start(3, "b").contains(&Action::SetFailure(None)));
}

#[test]
fn new_environment_during_a_build_restarts_even_the_same_code() {
    let mut bench = Bench::serving();
    bench.change("src/a.rs");
    assert_eq!(forked(&bench.change_startup_file()), None);
    assert_eq!(forked(&bench.built(2, code("a"))), Some((2, "a".into())));
}

#[test]
fn a_stylesheet_or_a_static_file_needs_neither_build_nor_fork() {
    let mut bench = Bench::serving();
    let files = ChangedFiles {
        styles: vec!["static/a.css".into()],
        statics: vec!["static/a.js".into()],
        ..ChangedFiles::default()
    };
    let actions = bench.changed(files, false);
    assert_eq!(
        actions,
        [
            Action::SwapStyles { files: vec!["static/a.css".into()] },
            Action::ReloadPages { files: vec!["static/a.js".into()] }
        ]
    );
}

#[test]
fn stop_ends_every_worker_and_then_exits() {
    let mut bench = Bench::serving();
    bench.change("src/a.rs");
    let actions = bench.send(Event::Stop);
    assert!(actions.contains(&Action::CancelBuild));
    assert!(actions.contains(&Action::StopWorker { generation: 1, reason: StopReason::Shutdown }));
    assert!(!actions.contains(&Action::Exit));
    let actions = bench.send(Event::Ended { generation: 1, end: End::Exited { code: 0 } });
    assert_eq!(actions, [Action::Exit]);
}

#[test]
fn stop_has_a_deadline() {
    let mut bench = Bench::serving();
    bench.send(Event::Stop);
    assert_eq!(bench.send(Event::Timer(Timer::Shutdown)), [Action::Exit]);
}

fn plain(id: &str) -> Arc<Code> {
    Arc::new(Code { kind: AppKind::Plain, ..(*code(id)).clone() })
}

fn exited(code: i32) -> End {
    End::Exited { code }
}

/// With a plain app's first generation that serves code `a`, and code `b` on its way as generation 2.
fn plain_and_starting(overlap: bool) -> Bench {
    let mut bench = Bench::new();
    bench.supervisor.overlap = if overlap { Overlap::Tried } else { Overlap::Barred };
    bench.built(1, plain("a"));
    bench.send(Event::ZygoteReady);
    assert!(swapped_to(&bench.start(1, "a"), 1));
    bench.change("src/a.rs");
    bench
}

/// Lets generation 1 drain and end.
fn end_first(bench: &mut Bench) -> Vec<Action> {
    bench.send(Event::Idle { generation: 1 });
    let actions = bench.send(Event::Empty { generation: 1 });
    assert!(actions.contains(&Action::StopWorker { generation: 1, reason: StopReason::Replaced }));
    bench.send(Event::Ended { generation: 1, end: End::Signalled { signal: 15 } })
}

fn note(actions: &[Action]) -> Option<&str> {
    actions.iter().find_map(|action| match action {
        Action::Note(note) => Some(note.as_str()),
        _ => None,
    })
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

/// Of the reload that is told.
fn cause(actions: &[Action]) -> Option<Cause> {
    actions.iter().find_map(|action| match action {
        Action::Report(reload) => Some(reload.cause),
        _ => None,
    })
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

#[test]
fn thousands_of_changed_files_are_counted_and_a_few_named() {
    let mut bench = Bench::serving();
    let code: Vec<PathBuf> = (0..5_000).map(|number| format!("src/{number}.rs").into()).collect();
    let actions = bench.changed(ChangedFiles { code, ..ChangedFiles::default() }, false);
    let told = actions.iter().find_map(|action| match action {
        Action::Tell(BrowserEvent::Building { files }) => Some(files.len()),
        _ => None,
    });
    assert_eq!(told, Some(FILES_NAMED_COUNT_MAX));
    let actions = bench.build_failed(2);
    let told = actions.iter().find_map(|action| match action {
        Action::Report(reload) => Some((reload.files.len(), reload.files_left_out)),
        _ => None,
    });
    assert_eq!(told, Some((FILES_NAMED_COUNT_MAX, 5_000 - FILES_NAMED_COUNT_MAX)));
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

#[test]
fn a_start_that_fails_with_several_workers_says_so() {
    for (workers, is_said) in [(1, false), (2, true)] {
        let mut bench = Bench::serving_with_workers(workers);
        bench.change("src/a.rs");
        bench.built(2, code("b"));
        let actions =
            bench.send(Event::StartFailed { generation: 2, message: "locked".into(), hint: "look".into() });
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

#[test]
fn an_app_whose_listener_cannot_be_moved_never_runs_beside_itself() {
    let mut bench = plain_and_starting(true);
    bench.send(Event::KeepsItsPort);
    assert_eq!(forked(&bench.built(2, plain("b"))), None);
    assert_eq!(forked(&end_first(&mut bench)), Some((2, "b".into())));
}

fn cancels(actions: &[Action]) -> bool {
    actions.contains(&Action::CancelBuild)
}

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
    bench.send(Event::BuildEnded { build, report: BuildReport::default(), settled, result: Ok(code("b")) });
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

#[test]
fn an_app_that_writes_what_starts_it_comes_to_rest_and_is_started_once_more_at_last() {
    let mut bench = Bench::serving();
    let files = || ChangedFiles { startup: vec!["config.toml".into()], ..ChangedFiles::default() };
    let mut generation = 1;
    let later = (0..20).find_map(|_| {
        let actions = bench.changed(files(), true);
        if let Some((forked, _)) = forked(&actions) {
            generation = forked;
            bench.start(forked, "a");
            return None;
        }
        assert!(actions.contains(&Action::TellOfEcho { answer: Answer::Start, file: "config.toml".into() }));
        actions.iter().find_map(|action| match action {
            Action::Arm { timer: timer @ Timer::Echo(Answer::Start), after } => Some((*timer, *after)),
            _ => None,
        })
    });
    let (timer, after) = later.expect("it goes on for ever");
    bench.now += after;
    assert_eq!(forked(&bench.send(Event::Timer(timer))), Some((generation + 1, "a".into())));
}

#[test]
fn files_that_may_be_inputs_are_built_and_keep_what_else_they_mean() {
    let mut bench = Bench::serving();
    let file = || vec![PathBuf::from("static/a.css")];
    let files = ChangedFiles { inputs: file(), styles: file(), ..ChangedFiles::default() };
    let actions = bench.changed(files, false);
    assert_eq!(build_started(&actions), Some((2, file())));
    assert!(actions.contains(&Action::SwapStyles { files: file() }));
}
