//! The files that matter, where they are and what was last seen in them. It looks at the file system when told where
//! to look, keeps the watches of the directories right, and says what has changed; it knows no events, no threads
//! and no time.
//!
//! A **place** is a file's path with its directory made canonical (the file's own name is not resolved), so that two
//! spellings of one file are one place. What is reported is the spelling that the caller uses: a source as the build
//! named it, any other file below its root as the root was given.

mod inputs;
mod inspect;
mod meaning;
mod paths;
mod rules;
mod scan;
mod state;
mod watches;

pub(crate) use scan::ReadOne;
pub(crate) use state::Tree;
