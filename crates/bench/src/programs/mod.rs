//! Programs the devhost executable plays for the bench when called by their name: separate processes that may
//! crash, fork, or become rustc, without harm to the bench.

mod artifact_host;
mod artifact_protocol;
mod dispatch;
mod fork_timer;
mod rustc_recorder;

pub(crate) use artifact_protocol::{ARTIFACT_HOST_NAME, HostEvent, HostJob, ReloadMode};
pub use dispatch::dispatch;
pub(crate) use fork_timer::{FORK_TIMER_NAME, TOUCH_SYMBOL};
pub(crate) use rustc_recorder::{RECORDER_LOG_VARIABLE, RECORDER_RUSTC_VARIABLE, RUSTC_RECORDER_NAME};
