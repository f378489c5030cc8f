//! The zygote: the single-threaded process from which every worker is forked.
//!
//! [`process`] is what runs in it; [`client`] is the front's side. They share [`control`] and nothing else.

pub mod client;
pub mod control;
pub mod preload;
pub mod process;
