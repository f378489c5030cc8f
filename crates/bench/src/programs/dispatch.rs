//! Which of the bench's programs a process is.

use super::{artifact_host, fork_timer, rustc_recorder};

/// Runs the program that the process was called as, if it is one of the bench's, and returns its exit code. To be called
/// early in `main`.
pub fn dispatch(argv0_file_name: &str) -> Option<u8> {
    artifact_host::dispatch(argv0_file_name)
        .or_else(|| fork_timer::dispatch(argv0_file_name))
        .or_else(|| rustc_recorder::dispatch(argv0_file_name))
}
