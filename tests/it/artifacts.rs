//! What a reload leaves behind: everything when reloading in one process, nothing when new code gets its own
//! process, and nothing with a plugin that lacks the trait.

use std::cell::Cell;
use std::path::Path;

use devhost_bench::artifacts::kinds::{ArtifactKind, KINDS};
use devhost_bench::artifacts::measure_kinds;
use devhost_bench::model::{ArtifactCell, ArtifactRow, Strategy, Verdict};

use crate::support::scratch;

/// Runs that part of the bench and checks that no process is left. Cancels it once `is_enough` accepts its
/// progress.
fn measure(
    kinds: &'static [ArtifactKind],
    strategies: &[Strategy],
    is_enough: impl Fn(&str) -> bool,
) -> anyhow::Result<Vec<ArtifactRow>> {
    let scratch = scratch();
    let work = scratch.path().join("artifacts");
    let devhost = Path::new(env!("CARGO_BIN_EXE_devhost"));
    let is_cancelled = Cell::new(false);
    let mut progress = |line: &str| is_cancelled.set(is_cancelled.get() || is_enough(line));
    let rows = measure_kinds(devhost, kinds, &work, strategies, 1, &mut progress, &|| is_cancelled.get());
    assert_nothing_runs_in(&work);
    rows
}

/// Every process of the bench is a file in the directory or has one among its arguments.
fn assert_nothing_runs_in(work: &Path) {
    let work = work.to_str().unwrap();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(arguments) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        assert!(!arguments.contains(work), "left running: {arguments}");
    }
}

fn cell(row: &ArtifactRow, strategy: Strategy) -> &ArtifactCell {
    row.cells.iter().find(|cell| cell.strategy == strategy).unwrap()
}

/// Prints and checks the whole table.
fn assert_left_in_one_process_alone(strategies: &[Strategy]) {
    let rows = measure(KINDS, strategies, |_| false).unwrap();
    for row in &rows {
        for cell in &row.cells {
            println!("{:24} {:?} {:?}: {}", row.kind, cell.strategy, cell.verdict, cell.observation);
        }
    }
    assert_eq!(rows.len(), KINDS.len());
    for row in &rows {
        assert_eq!(row.cells.len(), strategies.len());
        for cell in &row.cells {
            assert_eq!(cell.verdict_without_trait, Verdict::Clean, "{}: {}", row.kind, cell.observation);
            let is_left = cell.verdict != Verdict::Clean;
            let is_one_process = cell.strategy == Strategy::Inprocess;
            assert_eq!(is_left, is_one_process, "{} {:?}: {}", row.kind, cell.strategy, cell.observation);
        }
    }
}

#[test]
fn what_is_left_in_one_process_is_not_left_by_a_fork() {
    assert_left_in_one_process_alone(&[Strategy::Inprocess, Strategy::Fork]);
}

#[test]
#[ignore = "compiles each plugin as a program, too"]
fn what_is_left_in_one_process_is_left_in_no_other_way() {
    assert_left_in_one_process_alone(&[
        Strategy::Inprocess,
        Strategy::Fork,
        Strategy::ForkNoPreload,
        Strategy::Spawn,
        Strategy::Restart,
    ]);
}

#[test]
fn a_cancelled_run_gives_the_rows_that_are_complete() {
    let rows = measure(&KINDS[..2], &[Strategy::Inprocess], |line| line.contains(KINDS[1].name)).unwrap();
    let kinds: Vec<&str> = rows.iter().map(|row| row.kind.as_str()).collect();
    assert_eq!(kinds, [KINDS[0].name]);
    let rows = measure(&KINDS[..2], &[Strategy::Inprocess], |line| line.contains("1 of 8")).unwrap();
    assert!(rows.is_empty());
}

#[test]
fn a_plugin_that_does_not_compile_is_named_with_what_the_compiler_says() {
    const BROKEN: &[ArtifactKind] =
        &[ArtifactKind { name: "broken", source: "pub fn start() { missing }", ..KINDS[0] }];
    let error = measure(BROKEN, &[Strategy::Fork], |_| false).unwrap_err().to_string();
    assert!(error.contains("broken") && error.contains("missing"), "{error}");
}

#[test]
fn what_crosses_a_fork_is_told() {
    // The old code leaves a file that makes the new code exit: no fork undoes that.
    const SOURCE: &str = r#"
        fn mark() -> std::path::PathBuf {
            let path = std::env::var("LD_LIBRARY_PATH").unwrap();
            std::path::Path::new(path.split(':').next().unwrap()).join("mark")
        }
        pub fn start(_: crate::State) {
            if cfg!(artifact_trait) && crate::VERSION == 1 {
                std::fs::write(mark(), "").unwrap();
            }
        }
        pub fn answer() -> String {
            if cfg!(artifact_trait) && crate::VERSION == 2 && mark().exists() {
                std::process::abort();
            }
            "no mark".into()
        }
        pub fn stop() {}
    "#;
    const MARKING: &[ArtifactKind] = &[ArtifactKind { name: "marking", source: SOURCE, ..KINDS[0] }];
    let rows = measure(MARKING, &[Strategy::Fork, Strategy::Spawn], |_| false).unwrap();
    for cell in &rows[0].cells {
        assert_eq!(cell.verdict, Verdict::Crashed, "{}", cell.observation);
        assert_eq!(cell.observation, "SIGABRT after a start");
        assert_eq!(cell.verdict_without_trait, Verdict::Clean);
    }
}

#[test]
fn outside_tools_have_no_cell() {
    let rows = measure(KINDS, &[Strategy::Watchexec, Strategy::Dx], |_| false).unwrap();
    assert!(rows.is_empty());
    let rows = measure(&KINDS[..1], &[Strategy::Bacon, Strategy::Fork], |_| false).unwrap();
    assert_eq!(rows[0].cells.len(), 1);
    assert_eq!(cell(&rows[0], Strategy::Fork).try_count, 1);
}
