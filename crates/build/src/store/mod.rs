//! What devhost keeps on disk, and how it is removed again: `artifacts` has the directory of this run, `collect` removes what
//! earlier runs and builds have left, `units` what cargo has built and is no longer needed, `leavings` everything.
//!
//! Below `target/devhost`, all of which `devhost clean` removes:
//!
//! - `artifacts/run-…`: the code of one run, one file a build. After each good build everything is removed except what a worker has
//!   or may be forked again (two), and the directories of runs whose lock nobody holds. A run removes its own at its end.
//! - `preload`: libraries of dependencies by their hash. The three used last and those in use are kept. What was learned about a
//!   set of dependencies is forgotten after 30 days.
//! - `tmp`, `preload/making-…`: leftovers of a killed rustc, removed after an hour.
//! - `debug`, `release` …: cargo's; see `units.rs`.
//! - `bin`, `calls`, `externs`, `job-sheet`, `report`, `memory`, `shadow`: links and small documents, by key, crate or target. They stay,
//!   except for `calls` and `externs` of removed units.
//! - `bench`: the copies of `devhost bench`. They stay.

mod artifacts;
mod collect;
mod leavings;
pub(crate) mod units;

pub(crate) use self::artifacts::ArtifactDirectory;
pub(crate) use self::collect::collect;
pub use self::leavings::Leavings;
