//! The zygote: the single-threaded process from which every worker is forked.
//!
//! [`process`] is what runs in it, or `one_process` where it is told to load the generations into itself; [`client`] is the front's side. They share [`control`] and nothing else.

pub mod client;
pub mod control;
mod one_process;
pub mod preload;
pub mod process;
