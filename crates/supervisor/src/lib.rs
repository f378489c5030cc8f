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
mod replacement;
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
