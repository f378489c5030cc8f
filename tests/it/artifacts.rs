//! What a reload leaves behind: every kind is really left in one process, none where a forked child serves, and none by a
//! plugin without the trait.

use std::path::Path;

use devhost::bench::artifacts::measure_with;
use devhost::bench::model::{ArtifactCell, ArtifactRow, Strategy, Verdict};

use crate::support::scratch;

fn measure(strategies: &[Strategy], tries: u32) -> Vec<ArtifactRow> {
    let work = scratch();
    let devhost = Path::new(env!("CARGO_BIN_EXE_devhost"));
    let rows = measure_with(devhost, work.path(), strategies, tries, &mut |_| {}, &|| false).unwrap();
    assert_nothing_runs_in(work.path());
    rows
}

/// Every process of the bench has a file of the directory among its arguments, or is one.
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

#[test]
fn what_is_left_in_one_process_is_not_left_by_a_fork() {
    let rows = measure(&[Strategy::Inprocess, Strategy::Fork], 1);
    for row in &rows {
        for cell in &row.cells {
            println!("{:24} {:?} {:?}: {}", row.kind, cell.strategy, cell.verdict, cell.observation);
        }
    }
    for row in &rows {
        let inprocess = cell(row, Strategy::Inprocess);
        assert_ne!(inprocess.verdict, Verdict::Clean, "{}: {}", row.kind, inprocess.observation);
        let fork = cell(row, Strategy::Fork);
        assert_eq!(fork.verdict, Verdict::Clean, "{}: {}", row.kind, fork.observation);
        for cell in &row.cells {
            assert_eq!(cell.verdict_without_trait, Verdict::Clean, "{}: {}", row.kind, cell.observation);
        }
    }
    let names: std::collections::BTreeSet<_> = rows.iter().map(|row| &row.kind).collect();
    assert_eq!(names.len(), devhost::bench::artifacts::kinds::KINDS.len());
}
