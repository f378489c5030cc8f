//! The processes behind the front: what launches workers, and the workers themselves.
//!
//! A *launcher* is a [`zygote`], which forks workers, or a [`keeper`], which starts the app's own program for each. Both have
//! one thread for life, obey the same commands, reap every child and report every end. [`LauncherClient`] is the
//! front's side of either. A worker loads one generation's code, or is the app's program; the interposer
//! (`worker/interpose.c`) moves its listener to a private port.
//!
//! The list of what crosses a fork is `handover.rs`. Nothing here knows HTTP, watches files or builds.
#![cfg(target_os = "linux")]

mod channel;
mod client;
mod control;
mod handover;
pub mod keeper;
mod role;
mod worker;
pub mod zygote;

pub use channel::Channel;
pub use client::{AppStart, Argv, ForkOrder, LauncherClient, Loading, Role};
pub use control::{Listening, Report, WorkerCommand, WorkerReport};
