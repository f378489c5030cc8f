//! Makes a process look like the app's own: its name and environment.

use std::ffi::CString;

use nix::sys::prctl;

pub(super) fn set_process_name() {
    let name = std::env::args_os().next().unwrap_or_default();
    if let Ok(name) = CString::new(name.as_encoded_bytes()) {
        // The kernel truncates it.
        let _ = prctl::set_name(&name);
    }
}

/// Sets variables that are not set yet. Must be called while single-threaded.
pub(super) fn set_variables(variables: &[(String, String)]) {
    for (name, value) in variables {
        if std::env::var_os(name).is_none() {
            // SAFETY: the process is still single-threaded, so nobody reads the environment meanwhile.
            unsafe { std::env::set_var(name, value) };
        }
    }
}
