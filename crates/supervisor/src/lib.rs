//! The supervisor: what happens next, as a state machine.
//!
//! An [`Event`] goes in, [`Action`]s come out. It does no I/O, starts no timer and reads no clock: the runner performs
//! the actions and passes the time with each event. So tests can try every order of events without a process or a wait.
//!
//! It guarantees that at most one build runs, and that a change during a build is built, too; that only the newest code
//! takes over, and only if the worker reports the build id of that build; that a serving generation is replaced only
//! by one that is ready; and that whatever has begun has a deadline.
//!
//! A generation with several workers is treated as one: ready once all of them are, ended once none is left. Only
//! replacements (`replacement.rs`) are decided worker by worker.
//!
//! Start reading at `handle.rs`; all memory is in `state.rs`.
//!
//! What follows from that for people:
//!
//! - A change during a build cancels it and starts one that knows both changes. After three cancelled builds in a row, or ten seconds of
//!   that, the next one may finish and start: what it gives serves, those who waited get it, a line names the file, and the next build
//!   follows at once.
//! - From a change until the new code serves, requests wait (at most 60 s and 1,024 of them). Requests in flight finish in the old generation.
//! - The old generation drains: requests that end by themselves finish (`--drain-ms`). Then `WebSockets` are closed with code 1012 and event
//!   streams are ended, so that clients reconnect; then the worker is stopped, and killed a second later.
//! - A program that is up to date before devhost has built anything serves at once. What is built behind it takes over at the next change.
//! - If a build or a start fails, or a start hangs, the last good generation goes on serving, and open pages show what is wrong.
//! - A fresh start or a build from scratch that the user asks for is like a change of every file that the one or the other reads.
//! - While devhost is paused, changes are kept and requests go to what serves; what had begun before is finished. A fresh start or a build that
//!   the user asks for happens all the same.
//! - After a crash the same code is forked again at once, then after 100 ms, 200 ms, …; after five in a row devhost waits for a change.
//! - If a new generation dies at its start beside a living one (a lock, a second listener), it is tried once more alone. If that works,
//!   generations do not overlap any more in that run.
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

mod action;
#[cfg(test)]
mod bench;
mod build;
mod change;
mod code;
mod crash;
mod drain;
mod echo;
mod event;
mod failure;
mod give_up;
mod handle;
mod journey;
mod pause;
mod ready_made;
mod replacement;
mod requested;
mod settings;
mod start;
mod state;
mod stop;
mod swap;
mod zygote;

pub use action::Action;
pub use code::{Code, Origin};
pub use echo::Answer;
pub use event::{Event, Timer};
pub use settings::Settings;
pub use state::Supervisor;
