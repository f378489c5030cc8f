//! The keeper: the launcher of the `restart` strategy, for apps that cannot be loaded as a library. Each
//! generation is the app's own binary, started anew. Everything else is the same as with `fork`.
//!
//! It is one process with one thread. It starts programs, speaks for them on their control sockets (they know
//! nothing of devhost), reaps them, and kills their process groups once the front is gone. The interposer,
//! preloaded into each program, moves the app's listener to a private port and tells the keeper. A statically
//! linked program cannot be preloaded into, so the keeper looks for its listener in `/proc`.
//!
//! The keeper never looks at what the app serves, and never builds.

mod process;
mod program;

pub use process::dispatch;
