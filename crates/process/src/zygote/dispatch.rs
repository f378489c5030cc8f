//! Finds out whether this process was started as a zygote, and runs it. The environment that the client has set for that is
//! taken back first: the app is to find the user's.
//!
//! Thread-local variables at a fixed place (jemalloc's) need room that the C library reserves when a process starts. So the
//! front starts the zygote with `GLIBC_TUNABLES`, and the zygote restores the user's own value before anything else.
#![expect(clippy::print_stderr, reason = "the zygote's standard error is the user's")]

use std::ffi::CStr;

use nix::sys::prctl;

use super::{forking, one_process};
use crate::role::{
    ROLE_FORKS_AT_TERMINAL, ROLE_ONE_PROCESS, TUNABLES_VARIABLE, USER_TUNABLES_VARIABLE, ZYGOTE_VARIABLE,
};

/// The zygote's name in lists of processes.
const PROCESS_NAME: &CStr = c"devhost-zygote";

/// Runs the zygote until the front is gone, if the process was started as one; returns its exit code. Must be called first
/// in `main`, with one thread.
pub fn dispatch() -> Option<u8> {
    let role = std::env::var_os(ZYGOTE_VARIABLE)?;
    restore_environment();
    // It cannot fail with a valid name.
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
    // SAFETY: the process has one thread, so nobody reads the environment meanwhile.
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
