//! The workers that the runner knows: their links, pids, and what they are doing.
//!
//! The supervisor knows generations; here each has its workers, one or several. What it is told of a generation holds
//! for all of them: it is ready once each is, drained once each is, and has ended once none is left.
//!
//! [`Workers`] has one table, in `table`; the other files change it.

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
