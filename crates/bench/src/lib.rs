//! `devhost bench`: what each way of reloading an app costs, and what it leaves behind.
//!
//! Everything that is measured ends in a [`model::Report`]; how it is shown knows nothing of how it was measured.
#![cfg(target_os = "linux")]

pub mod artifact_host;
pub mod artifacts;
mod cancel;
mod client;
mod edit;
mod engine;
mod fork_cost;
pub mod fork_cost_process;
mod gauge;
mod load;
mod machine;
pub mod model;
mod process;
mod progress;
pub mod report;
mod subject;
mod ways;

pub use cancel::Cancel;
pub use engine::{Plan, run};
pub use subject::Subject;
