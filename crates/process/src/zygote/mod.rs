//! The zygote: the single-threaded process from which every worker is forked.
//!
//! [`dispatch`] checks whether this process is one, and runs `forking`, or `one_process` if it is to load the
//! generations into itself. A forking zygote never has a second thread: `preload` counts them after each
//! library, and `forking` before each fork.

mod app_process;
mod dispatch;
mod forking;
mod one_process;
mod preload;

pub use dispatch::dispatch;
pub use preload::{PreloadError, PreloadFault, preload};
