//! The gate decides which worker a request goes to, and whether it waits first.
//!
//! The runner operates the gate (hold, swap, fail); requests pass through it. An admitted request keeps its
//! generation alive until its `Visit` is dropped. Admission and swap take the same lock, so a generation
//! that drains and has no visits left stays idle.
//!
//! A generation may have several workers. A request goes to the one with the fewest requests and stays there.
//! If that one is at its limit (`slots`), the request queues.

mod admission;
mod backend;
mod control;
mod state;
mod visit;

pub use backend::Backend;
pub use control::Gate;
pub use state::Visits;

pub(crate) use admission::{Admission, HELD_COUNT_MAX, HOLD_TIME_MAX};
pub(crate) use visit::Visit;
