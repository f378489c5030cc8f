//! Watches the files that an app is made of, and reports what has changed, sorted by what it leads to. Reads and watches
//! the file system; never builds, never waits for the reader of the changes, never writes a file.
//!
//! # How it works
//!
//! Each directory that is not ignored has a watch of its own, so that `target` and `node_modules` cost nothing. An event
//! is only a hint where to look: what counts is what the tree (`tree`) finds there, compared with what it saw last. So
//! all ways of saving (in place, rename over, delete and create) are alike, saves that change nothing are dropped,
//! and polling and recovery after lost events work the same way. The engine (`engine.rs`) waits for the end of a
//! burst and sends one batch. A slow reader gets merged batches, never fewer changes.
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

mod backend;
mod batch;
mod changes;
mod classify;
mod engine;
mod error;
mod events;
mod explained;
mod hint;
mod ignores;
mod input_directories;
mod intake;
mod observed;
mod scope;
mod suspicion;
#[cfg(test)]
mod tests;
mod tree;
mod watcher;

pub use changes::Changes;
pub use classify::is_stylesheet;
pub use error::WatchError;
pub use explained::{About, Effect, Explained, Explanation, NoAnswer, explain_unserved};
pub use observed::{Answer, Check, Comparison, Look, Observer, Seat};
pub use scope::{Mode, Scope, Surroundings};
pub use suspicion::Suspicion;
pub use watcher::Watcher;
