//! Exit codes of processes ended by a signal.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

/// A process's exit code; for a signal, the one shells use.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// The signal that ended a guarded command, if any.
pub(crate) fn signal_of(status: ExitStatus) -> Option<i32> {
    status.signal().or_else(|| status.code().filter(|code| (129..=192).contains(code)).map(|code| code - 128))
}
