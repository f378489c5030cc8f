//! Finds what `devhost run` is to serve, and collects what a build has to know of it. It asks cargo and believes what cargo
//! says; it never reads a manifest itself and never builds anything. Of the sources it reads only whether a library says
//! `export!`.
//!
//! - `locate` finds the package or library that an argument means, `choose` decides which package and which of its targets is
//!   the app, `describe` (with `closure` and `variables`) collects what a build needs to know of it: an [`App`].
//! - `metadata` asks cargo, with `partial` if cargo cannot say everything.

mod choose;
mod closure;
mod describe;
mod locate;
mod metadata;
mod names;
mod packages;
mod partial;
mod target;
mod variables;

pub use devhost_plugin::PACKAGE_NAME as PLUGIN_PACKAGE;

pub(crate) use self::locate::refresh;
pub use self::locate::{Located, Location, find, locate, place_of_builds};
pub use self::metadata::host_triple;
pub use self::packages::library;
pub use self::target::{App, PathPackage, Prebuilt, Target};
