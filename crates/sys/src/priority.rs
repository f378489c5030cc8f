//! The lowest priority, for work that nobody waits for.

use nix::libc;

/// The weakest claim to the processor among ordinary processes. Not `SCHED_IDLE`, under which a build on a busy machine may never end.
const NICE_MAX: libc::c_int = 19;

/// `ioprio_set`: the calling process, the best-effort class, and its lowest level.
const IOPRIO_WHO_PROCESS: libc::c_int = 1;
const IOPRIO_LOWEST: libc::c_int = 2 << 13 | 7;

/// Gives this process and those that it starts from now on the lowest priority. There is no way back for an ordinary user. Best
/// effort: at worst it competes.
pub fn lower() {
    // SAFETY: plain system calls without pointers; 0 is this process.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, NICE_MAX);
        libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_LOWEST);
    }
}
