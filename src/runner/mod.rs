//! The runner: performs the supervisor's decisions, and tells it what happened.
//!
//! It lives on the front's main thread for the life of the process, because the kernel ties a preloading
//! zygote to the thread that started it. Everything that waits is a task with its own deadline that sends an
//! [`Input`](input::Input); the loop in `main_loop` waits for nothing else. Only the supervisor decides.
//!
//! Several apps have a `Runner` each, all on this thread; `together` has what they share: signals, keys, the processes beside them,
//! and the turn to build. `app_output` prints what each of them prints.
//!
//! `translate` turns inputs into events (with `launchers`, `listening`, `builds`, `changes`, `config_file`,
//! `job_control` and `orders`, by subject); `perform` and `forks` perform actions. All work on the one `state::Runner`.

mod app_output;
mod attendance;
mod authors;
pub(crate) mod browser;
mod builds;
mod changes;
mod config_file;
pub(crate) mod env_files;
mod foreground;
mod forks;
mod further;
mod ids;
mod input;
mod job;
mod job_control;
mod keys;
mod launcher;
mod launchers;
mod listening;
mod live_build;
mod main_loop;
mod member;
mod names;
mod orders;
mod perform;
pub(crate) mod port;
mod process_state;
mod relay;
mod sides;
mod signals;
mod stall;
mod start;
mod state;
mod stdin;
mod together;
mod translate;
mod uses;
mod watching;
mod workers;

pub(crate) use config_file::{ConfigFile, Said};
pub(crate) use foreground::dispatch;
pub(crate) use port::{Early, Occasion, PortPlan};
pub(crate) use start::{Parts, run};
pub(crate) use together::{NotServed, run_together};
pub(crate) use watching::{Watching, scope};
