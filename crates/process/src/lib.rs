//! The processes behind the front: the launchers of workers, and the workers themselves.
//!
//! A *launcher* is a [`zygote`], which forks workers, or a [`keeper`], which runs the app's own program for
//! each. Both are single-threaded for life, obey the same commands, reap every child and report every end.
//! [`LauncherClient`] is the front's side of either. A worker loads one generation's code, or is the app's
//! program; the interposer (`worker/interpose.c`) moves its listener to a private port.
//!
//! `handover.rs` lists what crosses a fork. Nothing here knows HTTP, watches files or builds.
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
pub use client::{AppStart, Argv, ForkOrder, LauncherClient, Loading, Role, Streams};
pub use control::{Listening, Report, WorkerCommand, WorkerReport};
