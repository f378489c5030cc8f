//! The supervisor: what happens next, as a state machine.
//!
//! One closed [`Event`] goes in, [`Action`]s come out. It does no I/O, starts no timer and reads no clock: the
//! runner performs the actions, and says with each event what time it is. So every order of events can be tried
//! in a test without a process or a wait.
//!
//! Its promises: at most one build runs, and a change during it starts one more; no code but the newest built
//! takes over, and only if the worker reports the build id that was built; a generation that serves is replaced
//! only by one that is ready; whatever has begun has a deadline.
//!
//! A generation may have several workers. It is one thing here nevertheless: ready when all of them are, and ended when
//! none is left. Only the replacement of one that is gone while others serve is decided worker by worker.
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
