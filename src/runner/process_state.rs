//! A process's state: running, stopped, or being debugged.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Process {
    Running,
    /// By SIGSTOP or the like.
    Stopped,
    /// Traced, running or not.
    Debugged,
}

/// Reads a process's state (proc(5)). A dead one counts as running: its end is reported otherwise.
pub(super) fn look_at(pid: i32) -> Process {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    parse(&status)
}

fn parse(status: &str) -> Process {
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).map_or("", |value| value.trim_start())
    };
    if !matches!(field("TracerPid:"), "0" | "") {
        Process::Debugged
    } else if field("State:").starts_with('T') {
        Process::Stopped
    } else {
        Process::Running
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_understood() {
        let status = |state, tracer| format!("Name:\tx\nState:\t{state}\nTracerPid:\t{tracer}\nUid:\t0\n");
        assert_eq!(parse(&status("T (stopped)", "0")), Process::Stopped);
        assert_eq!(parse(&status("S (sleeping)", "0")), Process::Running);
        assert_eq!(parse(&status("t (tracing stop)", "7")), Process::Debugged);
        assert_eq!(parse(&status("S (sleeping)", "7")), Process::Debugged);
        assert_eq!(parse(""), Process::Running);
        assert_eq!(look_at(std::process::id().cast_signed()), Process::Running);
    }
}
