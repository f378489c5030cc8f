//! What devhost keeps on disk, and how it is removed: `artifacts` has the directory of this run, `collect`
//! removes what earlier runs and builds have left, `units` unneeded output of cargo, `leavings` everything.
//!
//! Below `target/devhost`, all of which `devhost clean` removes:
//!
//! - `artifacts/run-…`: the code of one run, one file per build. After each successful build everything is
//!   removed except what a worker has or may be forked from again (two), and the directories of runs whose
//!   lock nobody holds. A run removes its own at its end.
//! - `preload`: libraries of dependencies by hash. The last three used and those in use are kept. Findings
//!   about a set of dependencies are forgotten after 30 days.
//! - `tmp`, `preload/making-…`: leftovers of a killed rustc, removed after an hour.
//! - `debug`, `release` …: cargo's; see `units.rs`.
//! - `bin`, `calls`, `externs`, `job-sheet`, `report`, `memory`, `scripts`, `shadow`, `uses`: links and small
//!   documents, by key, crate or target. They stay, except for `calls` and `externs` of removed units, and
//!   old `uses`.
//! - `link`: plans for the next link, with merged objects and hard links to rustc's, per call of an app (see
//!   `quick`). They go with the units that they are for.
//! - `bench`: the copies of `devhost bench`. They stay.

mod artifacts;
mod collect;
mod leavings;
pub(crate) mod units;

pub(crate) use self::artifacts::ArtifactDirectory;
pub(crate) use self::collect::collect;
pub use self::leavings::Leavings;
