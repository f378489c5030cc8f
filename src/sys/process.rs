//! Attributes of the calling process, and its threads and children as the kernel sees them.

use std::io;
use std::os::fd::RawFd;

use nix::libc;

/// Closes every descriptor from 3 up that is not on the list.
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

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: close_range takes integers only. Closing a descriptor that some owner still names is the purpose:
    // the caller is a forked child that never returns to those owners.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Ends the process at once, without destructors or exit handlers; what C's stdio has buffered is written.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: fflush(NULL) flushes C's own streams; _exit does not return.
    unsafe {
        libc::fflush(std::ptr::null_mut());
        libc::_exit(code)
    }
}

/// Ends the process at once, touching nothing: for a forked child before it has become a worker.
pub fn exit_untouched(code: i32) -> ! {
    // SAFETY: _exit does not return and runs nothing.
    unsafe { libc::_exit(code) }
}

/// How many threads the calling process has.
pub fn count_threads() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// The pids of the calling process's children, adopted ones too. The caller must be single-threaded.
pub fn children() -> io::Result<Vec<i32>> {
    let pid = std::process::id();
    let text = std::fs::read_to_string(format!("/proc/self/task/{pid}/children"))?;
    Ok(text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

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
