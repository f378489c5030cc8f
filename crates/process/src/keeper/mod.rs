//! The keeper: the launcher of the strategy `restart`, for apps that cannot be loaded as a library. Each generation is the
//! app's own binary, a fresh program. Builder, supervisor, hold, swap, drain and pages are the same as with `fork`.
//!
//! It is one process with one thread. It starts programs when told, speaks for them on their control sockets (they know
//! nothing of devhost), reaps them, and takes them and what they started with it when the front is gone. The interposer is
//! preloaded into each program; it moves the app's listener to a private port and tells the keeper. A statically linked
//! program cannot be preloaded into; the keeper looks for its listener in `/proc`.
//!
//! The keeper never looks at what the app serves, and never builds.

mod process;
mod program;

pub use process::dispatch;
