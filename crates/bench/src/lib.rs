//! `devhost bench`: what each way of reloading an app costs, and what it leaves behind.
//!
//! All measurements end in a [`model::Report`]; presentation knows nothing of measuring.
//!
//! The bench works on copies of the app's workspace under `target/devhost/bench`, one per strategy, and
//! drives devhost from outside, as a child, with the hidden option `run --loading`. That option changes only
//! how a generation gets its code, neither build nor front:
//!
//! - `preloaded`: a fork of a zygote that has loaded the dependencies; what `devhost run` does.
//! - `worker`: the zygote loads nothing, the worker loads the dependencies after the fork.
//! - `fresh`: each generation has a zygote of its own, started once the code is there, with nothing loaded.
//! - `one-process`: no zygote; one process speaks its protocol, loads each generation beside the one before,
//!   serves it on a thread, and stops and unloads the old one.
#![cfg(target_os = "linux")]

pub mod artifacts;
mod cancel;
mod client;
mod edit;
mod edit_search;
mod engine;
mod fork_cost;
mod gauge;
mod load;
mod machine;
pub mod model;
mod process;
mod programs;
mod progress;
pub mod report;
mod rustc_call;
mod subject;
mod ways;
mod workspace_copy;

pub use cancel::Cancel;
pub use engine::{Plan, run};
pub use programs::dispatch;
pub use subject::Subject;
