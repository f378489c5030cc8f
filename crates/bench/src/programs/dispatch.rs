//! Selects the bench's program by name.

use super::{artifact_host, fork_timer, rustc_recorder};

/// Runs the bench's program by which the process was called, if any, and returns its exit code. Call it early
/// in `main`.
pub fn dispatch(argv0_file_name: &str) -> Option<u8> {
    artifact_host::dispatch(argv0_file_name)
        .or_else(|| fork_timer::dispatch(argv0_file_name))
        .or_else(|| rustc_recorder::dispatch(argv0_file_name))
}
