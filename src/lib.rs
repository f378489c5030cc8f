//! devhost: a development server for Rust web apps.
//!
//! # Theory of operation
//!
//! `devhost run` starts the *front*: an actix-web server that owns the port, watches the app's files, builds the
//! app with cargo, and supervises. The app's dependencies are linked once into a shared library, which a
//! single-threaded *zygote* process loads. Each build of the app gives a small cdylib; the zygote forks a *worker*,
//! which loads it and serves over shared memory. A reload is a new worker: requests are held from the save until it
//! is ready, the old one finishes what it has and is thrown away whole.
//!
//! Start reading at [`supervisor`], which decides everything and does nothing; [`runner`] does it. ARCHITECTURE.md
//! has the map and the invariants.
#![cfg(target_os = "linux")]

pub mod bench;
pub mod build;
pub mod cli;
pub mod commands;
mod content;
pub mod error;
pub mod front;
pub mod inputs;
pub mod listen;
pub mod model;
mod network;
pub mod restart;
pub mod runner;
pub mod shm;
pub mod supervisor;
pub mod sys;
pub mod terminal;
pub mod watch;
pub mod wire;
pub mod worker;
pub mod zygote;
