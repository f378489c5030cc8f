//! What devhost keeps on disk, and how it is removed again: `artifacts` has the directory of this run, `collect` removes what
//! earlier runs and builds have left, `units` what cargo has built and is no longer needed, `leavings` everything.

mod artifacts;
mod collect;
mod leavings;
pub(crate) mod units;

pub(crate) use self::artifacts::ArtifactDirectory;
pub(crate) use self::collect::collect;
pub use self::leavings::Leavings;
