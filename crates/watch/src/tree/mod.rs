//! The tree: which files matter, where they are, and what was last seen in them. It looks at the file system when told where,
//! keeps directories watched, and tells what has changed. It knows no events, no threads and no clock.
//!
//! A **place** is a file's path with its directory made canonical (but not the file's own name), so that two spellings of
//! a file are one place. Changes are reported in the caller's spelling: a source as the build named it, any other file
//! below its root as the root was given.

mod explain;
mod inputs;
mod inspect;
mod meaning;
mod observed;
mod paths;
mod rules;
mod scan;
mod siblings;
mod state;
mod watches;

pub(crate) use paths::{below, canonical, place_of};
pub(crate) use scan::ReadOne;
pub(crate) use state::Tree;
