//! Watches the files that the app is made of and says what has changed, sorted by what it leads to. May read and
//! watch the file system; never builds, never waits for whoever reads the changes, and never writes a file.
//!
//! # Theory of operation
//!
//! Each directory that is not ignored has a watch of its own, so that `target` and `node_modules` cost none. An event
//! is only a hint where to look: what counts is what the tree (`tree.rs`) finds there, compared with what it saw last.
//! That makes every way of saving (in place, rename over, delete and create) the same, drops saves that change
//! nothing, and lets polling and a recovery after lost events share one way. The engine (`engine.rs`) waits until a burst
//! is over and sends one batch; a slow reader gets merged batches, never fewer changes.
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

mod backend;
mod batch;
mod changes;
mod classify;
mod engine;
mod error;
mod hint;
mod ignores;
mod input_directories;
mod intake;
mod scope;
mod suspicion;
#[cfg(test)]
mod tests;
mod tree;
mod watcher;

pub use changes::Changes;
pub use error::WatchError;
pub use scope::{Mode, Scope, Surroundings};
pub use suspicion::Suspicion;
pub use watcher::Watcher;
