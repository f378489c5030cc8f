//! The processes that devhost runs beside the app, as `devhost.toml` names them: watchers of stylesheets, code generators,
//! migrations, databases.
//!
//! [`Sides`] is the runner's handle. Behind it, on a thread of its own, a crew (`crew.rs`) does what the director
//! (`director.rs`) decides, a state machine without I/O and clock. Each process is looked after by an *attendant*
//! (`attendant.rs`): a small process that starts it, reports its end, and ends it with all that it has started, also if
//! devhost is killed. `run.rs` is the front's side of that, with the process's output.
//!
//! Never builds, never watches files, and does not know the app.
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

mod attendant;
mod backoff;
mod channel;
mod crew;
mod director;
mod lines;
mod orders;
mod output;
mod probe;
mod run;
mod sides;
mod start;
mod words;

pub use attendant::dispatch;
pub use lines::Lines;
pub use sides::{Place, Sides};
