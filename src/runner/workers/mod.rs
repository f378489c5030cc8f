//! The workers: their links, pids, and what they are doing.
//!
//! The supervisor knows only generations; here each has one or more workers. A generation is ready once all
//! its workers are, drained once all are, and has ended once none is left.
//!
//! [`Workers`] is one table, in `table`; the other files change it.

mod drivers;
mod ends;
mod forking;
mod listeners;
mod outputs;
mod serving;
mod table;
mod worker;

pub(super) use drivers::Drivers;
pub(super) use forking::StartWith;
pub(super) use table::Workers;
