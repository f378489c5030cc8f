//! Replay: builds the app by making cargo's recorded rustc calls again, without cargo. cargo's own no-op costs a fifth
//! of a second and grows with the workspace; a replay costs what rustc needs for the crates that changed.
//!
//! # When it is allowed
//!
//! By default it is not. `Recording::judge` allows it if it can prove that cargo would make the very same calls, for
//! no other crates, and that nothing but the content of known files is different:
//!
//! 1. The last run of cargo succeeded, and there is a record (`record`) under the present settings, made with the
//!    present values of the variables that cargo changes, for the app and for each crate of the workspace that it is
//!    linked from. Where a wrapper of the user's own (`RUSTC_WRAPPER`), other than a compiler cache, stands between cargo
//!    and devhost, there is none.
//! 2. Every *guard* is as it was: the manifests, the lock file, cargo's and rustup's configuration, the toolchain file
//!    (those that are missing must still be missing), rustc and devhost themselves, the wrapper's job sheet, every
//!    library that a call is given and that is no crate of the workspace, the libraries to preload, what build scripts
//!    have named as their inputs, every file that cargo lists for the app and no recorded call does, and the sources of
//!    recorded crates that the last run of cargo reported and that the app is not linked from (build scripts).
//! 3. Every file that is said to have changed is one that a recorded call has read, and each of them still exists. In
//!    the directories that they lie in, there is no other Rust file and no other directory than before: a file that is
//!    new or gone may be found as another one's module.
//! 4. No crate to be compiled is a procedural macro, has a build script that names no inputs and that only cargo can run, or
//!    is used by a procedural macro, a build script or a package whose calls are not recorded (one outside of the
//!    workspace). Its call was recorded under the present manifests and configuration.
//!    Which build scripts a replay runs, and what follows from it, stands at the head of `scripts`. Their inputs are no guards.
//! 5. What the calls have made is as they left it, and nobody else builds in this target directory.
//!
//! What has changed is found by content, never by time: every known file is looked at, whether the watcher has told of
//! it or not, so that a file restored with an old time, or a clock that is wrong, makes no difference. A crate is
//! compiled again if one of its files has another content than when it was last compiled, if that compilation failed or
//! was cancelled, or if a crate that it uses is. Files are compared once more when rustc is done with them; if one has
//! changed meanwhile, nobody knows which content rustc has read, and the crate is compiled again.
//!
//! Before a crate is replayed, cargo's memory of it is aged (see `stale`), so that the next run of cargo
//! compiles it anew whatever its files' times say.
//!
//! Errors in the code are said as rustc says them. Any other failure is not believed: cargo is asked.

mod assemble;
mod before;
mod context;
mod inputs;
mod judge;
mod manifests;
mod perform;
mod recording;
mod run;
mod scripts;
mod unit;
mod unit_finder;
mod weakness;

pub(crate) use self::before::Before;
pub(crate) use self::context::Context;
pub(crate) use self::manifests::manifest_hashes;
pub(crate) use self::recording::Recording;
#[cfg(any(test, feature = "testing"))]
pub use self::weakness::Weakness;
