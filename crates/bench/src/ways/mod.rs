//! The compared ways from a save to the new code. Each works in its own copy of the workspace, and none knows
//! of the others.

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
