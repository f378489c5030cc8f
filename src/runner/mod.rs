//! The runner: performs what the supervisor decides, and tells it what happened.
//!
//! It lives on the front's main thread for the life of the process, because the kernel ties a zygote that preloads to the
//! thread that started it. Everything that waits is a task that sends one [`Input`](input::Input), with a deadline of its own;
//! the loop in `main_loop` never waits for anything else. Decisions are the supervisor's alone.
//!
//! Inputs become events in `translate` (with `launchers`, `listening`, `builds`, `changes` and `job_control`, by what they are
//! about), and the supervisor's actions are performed in `perform` and `forks`. All of them work on the one `state::Runner`.

mod attendance;
mod authors;
mod builds;
mod changes;
pub(crate) mod env_files;
mod foreground;
mod forks;
mod further;
mod ids;
mod input;
mod job_control;
mod launcher;
mod launchers;
mod listening;
mod main_loop;
mod names;
mod perform;
mod port;
mod process_state;
mod relay;
mod signals;
mod stall;
mod start;
mod state;
mod stdin;
mod translate;
mod watching;
mod workers;

pub(crate) use foreground::dispatch;
pub(crate) use port::PortPlan;
pub(crate) use start::{Parts, run};
pub(crate) use watching::Watching;
