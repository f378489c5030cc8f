//! Checks whether this process was started as a zygote, and runs it. First undoes the client's changes to the
//! environment, so that the app finds the user's.
//!
//! Thread-local variables in static TLS (jemalloc's) need room that the C library reserves at process start.
//! So the front starts the zygote with `GLIBC_TUNABLES`, and the zygote restores the user's value before
//! anything else.
#![expect(clippy::print_stderr, reason = "the zygote's standard error is the user's")]

use std::ffi::CStr;

use nix::sys::prctl;

use super::{forking, one_process};
use crate::role::{
    ROLE_FORKS_AT_TERMINAL, ROLE_ONE_PROCESS, TUNABLES_VARIABLE, USER_TUNABLES_VARIABLE, ZYGOTE_VARIABLE,
};

/// The zygote's name in process lists.
const PROCESS_NAME: &CStr = c"devhost-zygote";

/// Runs the zygote until the front is gone, and returns its exit code; `None` if the process is no zygote.
/// Must be called first in `main`, while single-threaded.
pub fn dispatch() -> Option<u8> {
    let role = std::env::var_os(ZYGOTE_VARIABLE)?;
    restore_environment();
    // Cannot fail with a valid name.
    let _ = prctl::set_name(PROCESS_NAME);
    let result = if role == ROLE_ONE_PROCESS {
        one_process::run()
    } else {
        forking::run(role == ROLE_FORKS_AT_TERMINAL)
    };
    Some(match result {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("devhost zygote: {error}");
            1
        }
    })
}

fn restore_environment() {
    // SAFETY: the process is single-threaded, so nobody reads the environment meanwhile.
    unsafe { std::env::remove_var(ZYGOTE_VARIABLE) };
    // The C library has read it by now.
    match std::env::var_os(USER_TUNABLES_VARIABLE) {
        // SAFETY: as above.
        Some(own) => unsafe {
            std::env::set_var(TUNABLES_VARIABLE, own);
            std::env::remove_var(USER_TUNABLES_VARIABLE);
        },
        // SAFETY: as above.
        None => unsafe { std::env::remove_var(TUNABLES_VARIABLE) },
    }
}
