//! The calling process's descriptors, threads and children, and its end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Instant;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

/// How many rounds [`end_children`] makes for children of children.
const ORPHAN_ROUNDS_COUNT_MAX: usize = 16;

/// `PF_EXITING` of the kernel's `sched.h`: set before the descriptors are closed.
const EXITING: u64 = 0x4;

/// Closes every descriptor from 3 up, except for those in `keep`.
///
/// # Errors
/// The kernel has no `close_range` (Linux 5.9).
pub fn close_all_except(keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<u32> =
        keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).filter(|fd| *fd > 2).collect();
    keep.sort_unstable();
    keep.dedup();
    let mut first = 3;
    for fd in keep {
        if fd > first {
            close_range(first, fd - 1)?;
        }
        first = fd + 1;
    }
    close_range(first, u32::MAX)
}

/// Marks every descriptor from 3 up close-on-exec, for a child about to exec. A plain system call.
///
/// # Errors
/// The kernel has no `CLOSE_RANGE_CLOEXEC` (Linux 5.11).
pub fn close_all_on_exec() -> io::Result<()> {
    // SAFETY: close_range takes only integers, and closes nothing with this flag.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: close_range takes only integers. Closing owned descriptors is the purpose: the caller is a
    // forked child that never returns to their owners.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Ends the process at once, without destructors or exit handlers, but flushes C's stdio.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: fflush(NULL) flushes C's own streams; _exit does not return.
    unsafe {
        libc::fflush(std::ptr::null_mut());
        libc::_exit(code)
    }
}

/// Ends the process at once without flushing, for a forked child that has not become a worker.
pub fn exit_untouched(code: i32) -> ! {
    // SAFETY: _exit does not return and runs nothing.
    unsafe { libc::_exit(code) }
}

/// Counts the threads of the calling process.
///
/// # Errors
/// `/proc` is not readable.
pub fn count_threads() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// Returns true if a process is ending or has ended, which explains its descriptors' hang-up.
pub fn is_ending(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    // The name, in parentheses, may contain anything; the flags are the seventh field after it.
    let flags =
        stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(6)?.parse().ok());
    flags.is_none_or(|flags: u64| flags & EXITING != 0)
}

/// Returns the pids of the calling process's children, adopted ones included. Caller must be single-threaded.
///
/// # Errors
/// `/proc` is not readable, or the kernel is built without `CONFIG_PROC_CHILDREN`.
pub fn children() -> io::Result<Vec<i32>> {
    let pid = std::process::id();
    let text = std::fs::read_to_string(format!("/proc/self/task/{pid}/children"))?;
    Ok(text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}

/// Kills and reaps all children of the calling process, adopted ones included. Caller must be
/// single-threaded.
pub fn end_children() {
    // Each round kills all children; the next one only finds orphans of those.
    for _ in 0..ORPHAN_ROUNDS_COUNT_MAX {
        let children = children().unwrap_or_default();
        if children.is_empty() {
            return;
        }
        for pid in children {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            let _ = waitpid(Pid::from_raw(pid), None);
        }
    }
}

/// Returns the microseconds since `begun`.
pub fn micros_since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Takes the control socket passed as standard input, and makes it close-on-exec. /dev/null takes its place.
///
/// # Errors
/// Standard input is closed, or no descriptor is left.
pub fn take_standard_input() -> io::Result<OwnedFd> {
    let stdin = io::stdin();
    let control = duplicate_away(stdin.as_fd())?;
    let null = std::fs::File::open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    Ok(control)
}

fn duplicate_away(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let raw = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: the descriptor was just made and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_lives_is_not_ending_and_a_zombie_is() {
        assert!(!is_ending(std::process::id().cast_signed()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id().cast_signed();
        // Not reaped: it becomes a zombie.
        while !is_ending(pid) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(is_ending(pid));
    }

    #[test]
    fn threads_are_counted() {
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let (started, running) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            started.send(()).unwrap();
            let _ = wait.recv();
        });
        running.recv().unwrap();
        assert!(count_threads().unwrap() >= 2);
        drop(release);
        thread.join().unwrap();
    }
}
