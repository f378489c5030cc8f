//! The zygote: the single-threaded process from which every worker is forked.
//!
//! [`dispatch`] finds out whether this process is one. `forking` is what then runs in it, or `one_process` if it is told to
//! load the generations into itself. It never has a second thread: `preload` counts after each library, and `forking` before
//! each fork.

mod app_process;
mod dispatch;
mod forking;
mod one_process;
mod preload;

pub use dispatch::dispatch;
pub use preload::{PreloadError, PreloadFault, preload};
