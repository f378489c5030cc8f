//! `devhost bench`: what each way of reloading an app costs, and what it leaves behind.
//!
//! Everything that is measured ends in a [`model::Report`]; how it is shown knows nothing of how it was measured.

pub mod artifacts;
pub mod model;
pub mod report;
