//! The ways from a save to the new code that are compared. Each works in a copy of the workspace of its own, and none
//! knows of the others.

mod cargo;
mod context;
mod devhost;
mod rustc;
mod seed;
mod server;
mod tool;
mod way;

pub(crate) use cargo::Cargo;
pub(crate) use context::Context;
pub(crate) use devhost::Devhost;
pub(crate) use rustc::Rustc;
pub(crate) use seed::Seed;
pub(crate) use tool::{Tool, find as find_tool};
pub(crate) use way::{Way, ms};
