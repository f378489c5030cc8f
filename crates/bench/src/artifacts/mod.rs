//! What a reload leaves behind, found out by reloading. Small real plugins, each with one trait known to make
//! trouble, are compiled, and reloaded in each way by a process that may crash or hang. The same plugins
//! without the trait show that the trait is the cause.
//!
//! It runs rustc and processes with a deadline. It loads nothing into its own process, and no verdict is
//! hard-coded: `judge` compares with a cold start.

mod child;
mod compile;
mod judge;
pub mod kinds;
mod measure;

pub(crate) use measure::measure;
pub use measure::measure_kinds;
