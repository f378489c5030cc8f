//! Whether a process will ever run its own code again, by proc(5). The kernel keeps accepting connections for
//! a process that is being killed or dumps core, until it closes the descriptors.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// The most bytes of a status to read; it has about 1.5 KiB.
const STATUS_SIZE_MAX: usize = 8 * 1024;

/// The bits of SIGKILL (9) and SIGSTOP (19) in a signal mask. These two cannot be blocked or ignored.
const SIGKILL_BIT: u64 = 1 << 8;
const SIGSTOP_BIT: u64 = 1 << 18;

/// What a process is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// It runs.
    Runs,
    /// Stopped by a signal until a SIGCONT.
    Stopped,
    /// Ended, or ending for good.
    Dying,
}

/// A handle to a process's status, valid beyond its end.
#[derive(Debug)]
pub struct Liveness(File);

impl Liveness {
    /// Opens a process's status. Returns `None` if it lacks the fields needed for a verdict.
    pub fn open(pid: i32) -> Option<Self> {
        let liveness = Self(File::open(format!("/proc/{pid}/status")).ok()?);
        let status = liveness.read().ok()?;
        (status.contains("\nVmSize:") && status.contains("\nThreads:")).then_some(liveness)
    }

    /// Returns what the process is about to do.
    pub fn outlook(&self) -> Outlook {
        match self.read() {
            Ok(status) => judge(&status),
            Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => Outlook::Dying,
            Err(_) => Outlook::Runs,
        }
    }

    fn read(&self) -> std::io::Result<String> {
        let mut buffer = [0; STATUS_SIZE_MAX];
        let size = self.0.read_at(&mut buffer, 0)?;
        Ok(String::from_utf8_lossy(&buffer[..size]).into_owned())
    }
}

fn judge(status: &str) -> Outlook {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let pending = ["SigPnd:", "ShdPnd:"].iter().filter_map(|name| field(name));
    let pending =
        pending.filter_map(|mask| u64::from_str_radix(mask, 16).ok()).fold(0, |all, mask| all | mask);
    // If only the main thread has ended, the others go on.
    let is_alone = field("Threads:") == Some("1");
    let is_dying = pending & SIGKILL_BIT != 0
        || field("CoreDumping:") == Some("1")
        // Memory goes before descriptors.
        || (is_alone && field("VmSize:").is_none());
    if is_dying {
        Outlook::Dying
    } else if pending & SIGSTOP_BIT != 0 || field("State:").is_some_and(|state| state.starts_with('T')) {
        Outlook::Stopped
    } else {
        Outlook::Runs
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    fn status(masks: &str, threads: u32, memory: bool) -> String {
        let memory = if memory { "VmPeak:\t10 kB\nVmSize:\t10 kB\n" } else { "" };
        format!("Name:\tx\nState:\tR (running)\n{memory}Threads:\t{threads}\n{masks}CoreDumping:\t0\n")
    }

    #[test]
    fn the_kernels_words_are_understood() {
        let none = "SigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\n";
        assert_eq!(judge(&status(none, 1, true)), Outlook::Runs);
        assert_eq!(judge(&status(none, 3, false)), Outlook::Runs, "the main thread alone has ended");
        assert_eq!(judge(&status(none, 1, false)), Outlook::Dying);
        for masks in ["SigPnd:\t0000000000000100\n", "ShdPnd:\t0000000000004100\n"] {
            assert_eq!(judge(&status(masks, 2, true)), Outlook::Dying, "{masks}");
        }
        // SIGTERM can be handled.
        assert_eq!(judge(&status("ShdPnd:\t0000000000004000\n", 1, true)), Outlook::Runs);
        // A busy machine takes its time to deliver SIGSTOP.
        assert_eq!(judge(&status("ShdPnd:\t0000000000040000\n", 1, true)), Outlook::Stopped);
        assert_eq!(judge(&status("ShdPnd:\t0000000000040100\n", 1, true)), Outlook::Dying);
        assert_eq!(judge("VmSize:\t1 kB\nThreads:\t2\nCoreDumping:\t1\n"), Outlook::Dying);
        assert_eq!(judge("State:\tT (stopped)\nVmSize:\t1 kB\nThreads:\t2\n"), Outlook::Stopped);
        assert_eq!(judge("State:\tt (tracing stop)\nVmSize:\t1 kB\nThreads:\t2\n"), Outlook::Runs);
    }

    #[test]
    fn a_process_is_seen_to_die_before_and_after_it_is_reaped() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let liveness = Liveness::open(child.id().cast_signed()).expect("it runs");
        assert_eq!(liveness.outlook(), Outlook::Runs);
        child.kill().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while liveness.outlook() != Outlook::Dying {
            assert!(Instant::now() < deadline, "it is never seen to die");
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(liveness.outlook(), Outlook::Dying);
        let own = Liveness::open(std::process::id().cast_signed()).unwrap();
        assert_eq!(own.outlook(), Outlook::Runs);
    }
}
