//! The [`Builder`]: builds one target, repeatedly.
//!
//! - `base` has the builder and what all ways of building share, `memory` its state across runs of devhost.
//! - `build` is a build from the outside; `attempts` repeats it if it lost its footing; `library_or_program`
//!   chooses between `library` (with `replayed` and `linkage`) and `program`; `prebuilt` takes what something
//!   else has built.
//! - `ready_made` takes what the user's cargo has built, to begin with.
//! - `cargo_run` runs cargo; `link_ahead` prepares the next link; `artifacts` names the results; `traces` tells
//!   what a build has read and written.

mod artifacts;
mod attempts;
mod base;
mod build;
mod cargo_run;
mod discard;
mod library;
mod library_or_program;
mod link_ahead;
mod linkage;
mod memory;
mod prebuilt;
mod program;
mod ready_made;
mod replayed;
mod traces;

pub use self::base::Builder;
pub use self::traces::Trace;
