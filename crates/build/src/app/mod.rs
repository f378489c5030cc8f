//! Finds what `devhost run` should serve, and collects what a build has to know of it. Asks cargo and
//! believes it; never reads a manifest itself and never builds. Sources are read only to see whether a
//! library says `export!`.
//!
//! - `locate` resolves an argument to a package or library, `choose` decides which package and target is the
//!   app, and `describe` (with `closure` and `variables`) collects what a build needs to know: an [`App`].
//! - `members` finds the packages of a workspace alone.
//! - `metadata` asks cargo, with `partial` if cargo cannot say everything.

mod choose;
mod closure;
mod describe;
mod locate;
mod members;
mod metadata;
mod names;
mod packages;
mod partial;
mod target;
mod variables;

pub use devhost_plugin::PACKAGE_NAME as PLUGIN_PACKAGE;

pub(crate) use self::locate::refresh;
pub use self::locate::{Located, Location, find, locate, place_of_builds};
pub use self::members::{Members, Place};
pub use self::metadata::host_triple;
pub use self::packages::library;
pub use self::target::{App, PathPackage, Prebuilt, Target};
