//! What forks and what is forked: the zygote and the keeper, their clients in the front, the control protocol between
//! them, and the worker with its interposer.
//!
//! The zygote and the worker have one thread and allocate nothing after a fork that they could do without. Nothing here
//! knows HTTP, watches files or builds.
#![cfg(target_os = "linux")]

pub mod keeper;
pub mod worker;
pub mod zygote;
