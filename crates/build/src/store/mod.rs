//! What devhost keeps on disk, and what of it goes again: `artifacts` has the directory of this run, `collect` removes what
//! earlier runs and builds have left, `units` what cargo has built and nobody needs, `leavings` all of it.

mod artifacts;
mod collect;
mod leavings;
pub(crate) mod units;

pub(crate) use self::artifacts::ArtifactDirectory;
pub(crate) use self::collect::collect;
pub use self::leavings::Leavings;
