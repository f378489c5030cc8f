//! Records a rustc call, then becomes rustc.
#![expect(clippy::print_stderr, reason = "a helper program, whose standard error is rustc's")]

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::rustc_call::RustcCall;

/// devhost's name as the recorder.
pub(crate) const RUSTC_RECORDER_NAME: &str = "devhost-rustc-recorder";

/// The file calls are appended to. Not a `DEVHOST_` name: devhost keeps those from cargo.
pub(crate) const RECORDER_LOG_VARIABLE: &str = "RUSTC_RECORDER_LOG";

/// The variable with the real rustc.
pub(crate) const RECORDER_RUSTC_VARIABLE: &str = "RUSTC_RECORDER_RUSTC";

/// Becomes rustc if the process was called as the recorder. Returns only if that fails.
pub(super) fn dispatch(argv0_file_name: &str) -> Option<u8> {
    if argv0_file_name != RUSTC_RECORDER_NAME {
        return None;
    }
    let variables = (std::env::var_os(RECORDER_RUSTC_VARIABLE), std::env::var_os(RECORDER_LOG_VARIABLE));
    let (Some(program), Some(log)) = variables else {
        eprintln!("{RUSTC_RECORDER_NAME}: only `devhost bench` calls this");
        return Some(2);
    };
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let own = [RECORDER_RUSTC_VARIABLE, RECORDER_LOG_VARIABLE];
    let recorded = RustcCall::of_this_process(Path::new(&program), &args, &own)
        .and_then(|call| call.append(Path::new(&log)));
    if let Err(error) = recorded {
        eprintln!("{RUSTC_RECORDER_NAME}: {error:#}");
        return Some(1);
    }
    let error = Command::new(program).args(args).exec();
    eprintln!("{RUSTC_RECORDER_NAME}: {error}");
    Some(1)
}
