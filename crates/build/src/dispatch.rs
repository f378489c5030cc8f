//! The names under which devhost replaces other programs during a build.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::{guard, linker, quick, script, wrapper};

/// Runs the helper named by `argv[0]`. Returns `None` if devhost itself was called. Call it first in `main`.
pub fn dispatch(argv0_file_name: &str) -> Option<ExitCode> {
    let helper: fn(&[OsString]) -> ExitCode = match argv0_file_name {
        "devhost-rustc" => wrapper::main,
        "devhost-linker" => linker::main,
        "devhost-guard" => guard::main,
        script::NAME => script::main,
        quick::PREPARE_NAME => quick::prepare,
        quick::EARLY_NAME => quick::early,
        _ => return None,
    };
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    Some(helper(&args))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_no_helper() {
        assert!(dispatch("devhost").is_none());
    }
}
