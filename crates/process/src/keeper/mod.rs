//! The strategy `restart`: each generation is the app's own binary, a fresh program, for apps that cannot be loaded as a
//! library. Builder, supervisor, hold, swap, drain and pages are the same as with `fork`.
//!
//! A *keeper* stands where the zygote stands otherwise: one process with one thread that starts programs when told,
//! speaks for them on their control sockets (they know nothing of devhost), reaps them, and takes them and what they
//! started with it when the front is gone. The interposer is preloaded into each program; it moves the app's listener to a
//! private port and tells the keeper. A program that is linked statically cannot be preloaded into; the keeper looks for
//! its listener in `/proc`.
//!
//! The keeper never looks at what the app serves, and never builds.

pub mod client;
pub mod process;

pub use client::Spawner;

/// The name by which devhost is called to be the keeper.
pub const KEEPER_NAME: &str = "devhost-keeper";
/// The keeper's first argument: its programs have the front's terminal.
const AT_TERMINAL: &str = "at-terminal";
/// The same: they have none.
const APART: &str = "apart";
