//! Builds an app for devhost: cargo runs on the app's crate in devhost's own target directory with devhost as
//! its rustc wrapper, and the result is a fresh library a worker can load.
//!
//! In devhost's main process:
//!
//! - [`app`] asks cargo what there is to build.
//! - [`Builder`] (`builder`) builds it, repeatedly: `cargo` runs cargo, `replay` repeats its rustc calls
//!   without it, `inspector` checks the result.
//! - `seed` takes over what cargo had built before devhost's first start, `stale` makes cargo see changes it
//!   would miss, `footing` notices what was removed during a build.
//! - `fresh` and `unchanged` find out whether the user's own build is up to date.
//! - `fallback` and [`program_only`] know why an app cannot be a library, `explain` why a build has failed.
//! - `store` keeps artifacts, and removes what is no longer needed.
//!
//! In processes that cargo and rustc start, which [`dispatch`] enters:
//!
//! - `wrapper` adds devhost's flags to the app's rustc call; `record` writes each call down. `deps` makes the
//!   library of dependencies, with `linker` as its linker; `plain`, with `root` and `shadow`, turns a plain
//!   app's binary into a library. `quick` links a replayed app quickly.
//! - `script` takes the place of build scripts to record how cargo runs them.
//! - `guard` ensures that no build outlives its cancellation or devhost.
//!
//! The two sides talk by `job_sheet`. Nothing here knows of serving processes, HTTP or the watcher. Nothing
//! writes outside devhost's own target directory (in the user's, `fresh` has cargo look and no more), and a file a worker may have mapped is never rewritten.
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

pub mod allocator;
pub mod app;
mod attended;
mod build_lock;
mod builder;
mod call;
mod cargo;
mod cargo_text;
mod dep_info;
mod deps;
pub mod diagnostics;
mod directives;
mod dispatch;
mod documents;
mod environment;
mod exit_code;
mod explain;
pub mod export;
mod extern_kind;
mod fallback;
mod file_times;
mod footing;
mod fresh;
mod guard;
mod helper_error;
mod inputs;
mod inspector;
mod job_sheet;
mod known_file;
mod last_build;
mod linker;
mod outcome;
mod paths;
mod plain;
pub mod program_only;
mod quick;
mod record;
mod refusal;
mod replay;
mod root;
mod script;
mod seed;
mod settings;
mod shadow;
mod stale;
mod store;
mod tool;
mod unchanged;
mod unseen;
mod wrapper;

pub use self::app::{App, PathPackage, Prebuilt, Target};
pub use self::builder::{Builder, Trace};
pub use self::dispatch::dispatch;
pub use self::fallback::note as note_of_own_program;
pub use self::inputs::ScriptInputs;
pub use self::last_build::{LastBuild, last_build, script_names_inputs};
pub use self::outcome::{Artifact, Outcome, Progress};
pub use self::paths::normalize;
#[cfg(any(test, feature = "testing"))]
pub use self::replay::Weakness;
pub use self::seed::take_over_dependencies;
pub use self::settings::{CargoOptions, Choice, DebugInfo, Deps, Settings, Strategy};
pub use self::store::Leavings;
pub use self::unseen::crate_that_bypasses_libc;
