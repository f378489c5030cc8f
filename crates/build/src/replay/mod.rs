//! Replay: builds the app by repeating cargo's recorded rustc calls, without cargo. Even with nothing to do,
//! cargo takes a fifth of a second, and more in a larger workspace; a replay takes what rustc needs for the
//! changed crates.
//!
//! # When it is allowed
//!
//! By default it is not. `Recording::judge` allows it if it can prove that cargo would make exactly these
//! calls, and that only the content of known files has changed:
//!
//! 1. The last run of cargo succeeded, and the calls of the app and of each workspace crate it is linked from
//!    are recorded (`record`), under the present settings and the present values of the variables cargo
//!    changes. There is no record if a `RUSTC_WRAPPER` other than a compiler cache stands between cargo and
//!    devhost.
//! 2. Every *guard* is unchanged: the manifests, the lock file, cargo's and rustup's configuration, the
//!    toolchain file (what was missing must still be missing), rustc and devhost themselves, the wrapper's
//!    job sheet, every library other than a workspace crate that is given to a call, the libraries to
//!    preload, the inputs named by build scripts, every file cargo lists for the app that no recorded call
//!    has read, and the sources of recorded crates that the last run of cargo reported but the app is not
//!    linked from (build scripts).
//! 3. Every file reported as changed was read by a recorded call and still exists. The directories of these
//!    files contain the same Rust files and directories as before: a new or missing one could be another
//!    file's module.
//! 4. No crate to be compiled is a procedural macro, has a build script that names no inputs and that only
//!    cargo can run, or is used by a procedural macro, a build script or a package without recorded calls
//!    (one outside of the workspace). Its call was recorded under the present manifests and configuration.
//!    `scripts` explains which build scripts a replay runs, and what follows. Their inputs are no guards.
//! 5. The outputs of the calls are unchanged, and no other process builds in this target directory.
//!
//! Changes are found by content, never by time. Every known file is looked at, whether or not the watcher has
//! reported it, so a file restored with an old time, or a wrong clock, makes no difference. A crate is
//! recompiled if the content of one of its files differs from when it was last compiled, if that compilation
//! failed or was cancelled, or if a crate it uses is recompiled. Files are compared again when rustc is done
//! with them. If one has changed meanwhile, it is unknown which content rustc has read, and the crate is
//! compiled again.
//!
//! Before a crate is replayed, its fingerprint is aged (see `stale`), so that the next run of cargo
//! recompiles it whatever the times of its files.
//!
//! Errors in the code are reported as rustc reports them. Any other failure is not trusted: cargo is asked.
//!
//! # Crates that several apps use
//!
//! What is known of a crate's last compilation is in a `ledger`, which the builders of apps that are served together share. Then rule 5
//! means the last compilation for any of them. One since this app was last built counts as a change in rule 4, though there is nothing
//! to compile; and a crate is recompiled if it was compiled against an earlier compilation of one that it uses.
//!
//! # Why users of a changed crate are compiled again
//!
//! Even if only a function's body has changed: rustc (1.95) puts a hash of the whole crate, bodies included,
//! into its metadata, and refuses (E0460) to link a crate compiled against another one. Two bodies of one
//! private function give two different `.rmeta` files, and linking the old user fails. So on stable this
//! cannot be left out.
//!
//! `tests/it/equivalence` walks through random states of generated workspaces and compares each build with a
//! clean cargo's. It fails if any one part of the rule above is left out.

mod assemble;
mod before;
mod context;
mod inputs;
mod judge;
mod ledger;
mod made;
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
pub(crate) use self::ledger::{Current, Ledger};
pub(crate) use self::manifests::manifest_hashes;
pub(crate) use self::recording::Recording;
#[cfg(any(test, feature = "testing"))]
pub use self::weakness::Weakness;
