//! The limit on open files. The front needs more than most systems allow by default; the programs that it starts get the
//! limit that devhost was started with.

use std::sync::OnceLock;

use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// How many descriptors the front asks for: enough for 2,000 `WebSockets`.
const DESCRIPTORS_WANTED_COUNT: u64 = 16 * 1024;

/// The limit that this process was started with, once it was raised.
static ORIGINAL: OnceLock<u64> = OnceLock::new();

/// Raises the limit of this process, as far as the system allows.
pub fn raise_descriptors() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let wanted = DESCRIPTORS_WANTED_COUNT.min(hard);
    if soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok() {
        let _ = ORIGINAL.set(soft);
    }
}

/// How many descriptors this process may have.
pub fn descriptors_count_max() -> usize {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX))
}

/// The limit that this process was started with, if it was raised.
pub fn original_descriptors() -> Option<u64> {
    ORIGINAL.get().copied()
}

/// Gives a child the limit that this process was started with.
pub fn restore_descriptors_of(pid: i32) {
    let (Some(soft), Ok((_, hard))) = (original_descriptors(), getrlimit(Resource::RLIMIT_NOFILE)) else {
        return;
    };
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the pointer is to a value that outlives the call, and the old limit is not asked for. An error means that the
    // process is gone.
    unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()) };
}

/// Sets the limit of this process to what its parent was started with.
pub fn set_descriptors(soft: u64) {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, soft.min(hard), hard);
    }
}
