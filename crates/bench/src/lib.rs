//! `devhost bench`: what each way of reloading an app costs, and what it leaves behind.
//!
//! Everything that is measured ends in a [`model::Report`]; how it is shown knows nothing of how it was measured.
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
