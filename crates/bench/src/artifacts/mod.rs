//! What a reload leaves behind, found out by reloading: small real plugins, each with one trait that is known to make
//! trouble, are compiled, and reloaded in each way by a process that may crash or hang. The same plugins without the trait show
//! that it is the trait that is seen.
//!
//! It may run rustc and processes with a deadline. It loads nothing into its own process, and no verdict is written down:
//! `judge` compares with a cold start.

mod child;
mod compile;
mod judge;
pub mod kinds;
mod measure;

pub(crate) use measure::measure;
pub use measure::measure_kinds;
