//! Signals: their names, and what they mean to a person.

use nix::sys::signal::Signal;

/// Returns the name of the signal (`SIGSEGV`), if Linux has one of this number.
pub(crate) fn name(signal: i32) -> Option<&'static str> {
    Signal::try_from(signal).ok().map(Signal::as_str)
}

/// Returns what the signal means.
pub(crate) fn meaning(signal: i32) -> &'static str {
    match Signal::try_from(signal) {
        Ok(Signal::SIGSEGV) => "segmentation fault",
        Ok(Signal::SIGABRT) => "abort",
        Ok(Signal::SIGBUS) => "bus error",
        Ok(Signal::SIGFPE) => "arithmetic fault",
        Ok(Signal::SIGILL) => "illegal instruction",
        Ok(Signal::SIGKILL) => "killed, perhaps for lack of memory",
        _ => "a signal",
    }
}

/// Returns true if the kernel sends the signal for a fault in the program's own code, or the program for one that it found.
pub(crate) fn is_fault(signal: i32) -> bool {
    use Signal::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV};
    [SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE].iter().any(|fault| *fault as i32 == signal)
}
