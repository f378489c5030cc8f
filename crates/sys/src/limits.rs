//! The limit on open files. The front needs more than most systems' default. The programs it starts get
//! devhost's original limit.

use std::sync::OnceLock;

use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// How many descriptors the front asks for: enough for 2,000 `WebSockets`.
const DESCRIPTORS_WANTED_COUNT: u64 = 16 * 1024;

/// This process's original limit, once raised.
static ORIGINAL: OnceLock<u64> = OnceLock::new();

/// Raises this process's limit as far as the system allows.
pub fn raise_descriptors() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let wanted = DESCRIPTORS_WANTED_COUNT.min(hard);
    if soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok() {
        let _ = ORIGINAL.set(soft);
    }
}

/// Returns how many descriptors this process may have.
pub fn descriptors_count_max() -> usize {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX))
}

/// Returns this process's original limit, if it was raised.
pub fn original_descriptors() -> Option<u64> {
    ORIGINAL.get().copied()
}

/// Gives a child this process's original limit.
pub fn restore_descriptors_of(pid: i32) {
    let (Some(soft), Ok((_, hard))) = (original_descriptors(), getrlimit(Resource::RLIMIT_NOFILE)) else {
        return;
    };
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the pointer is to a value that outlives the call, and the old limit is not asked for. Fails
    // only if the process is gone.
    unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()) };
}

/// Sets this process's limit, as far as the system allows.
pub fn set_descriptors(soft: u64) {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, soft.min(hard), hard);
    }
}
