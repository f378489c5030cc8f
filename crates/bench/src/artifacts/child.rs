//! Runs a short-lived program in a process group of its own, with a deadline. However the program ends,
//! nothing of its group outlives the call. Knows nothing of the program's purpose.

use std::io::{self, PipeReader, Read as _};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

/// How often the program and cancellation are checked.
const LOOK_INTERVAL_MS: u8 = 20;
/// The same once its output has ended, which nearly always means that it exits.
const END_LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// How much of a program's output is kept.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
    TimedOut,
    Cancelled,
}

/// The stream that is read; the other is discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Output,
    Error,
}

/// Runs a program to its end. Returns what it wrote to the stream.
///
/// # Errors
/// It cannot be started or waited for.
pub(super) fn run(
    mut command: Command,
    stream: Stream,
    time_max: Duration,
    is_cancelled: &dyn Fn() -> bool,
) -> io::Result<(End, Vec<u8>)> {
    let (reader, writer) = io::pipe()?;
    fcntl(reader.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let (output, error) = match stream {
        Stream::Output => (Stdio::from(writer), Stdio::null()),
        Stream::Error => (Stdio::null(), Stdio::from(writer)),
    };
    let child = command.stdin(Stdio::null()).stdout(output).stderr(error).process_group(0).spawn()?;
    // It holds the other end of the pipe.
    drop(command);
    Running { child, reader, output: Vec::new() }.wait(Instant::now() + time_max, is_cancelled)
}

struct Running {
    child: Child,
    reader: PipeReader,
    output: Vec<u8>,
}

impl Running {
    fn wait(mut self, deadline: Instant, is_cancelled: &dyn Fn() -> bool) -> io::Result<(End, Vec<u8>)> {
        let mut is_open = true;
        let forced = loop {
            if self.has_ended()? {
                break None;
            }
            if is_cancelled() {
                break Some(End::Cancelled);
            }
            if Instant::now() >= deadline {
                break Some(End::TimedOut);
            }
            if is_open {
                let mut fds = [PollFd::new(self.reader.as_fd(), PollFlags::POLLIN)];
                match poll(&mut fds, PollTimeout::from(LOOK_INTERVAL_MS)) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(error) => return Err(error.into()),
                }
                is_open = self.read()?;
            } else {
                std::thread::sleep(END_LOOK_INTERVAL);
            }
        };
        let status = self.end()?;
        self.read()?;
        let end = forced.unwrap_or_else(|| match (status.code(), status.signal()) {
            (Some(code), _) => End::Exited(code),
            (None, signal) => End::Signaled(signal.unwrap_or_default()),
        });
        Ok((end, std::mem::take(&mut self.output)))
    }

    /// Reads what is available. Returns false at the end of the pipe.
    fn read(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        loop {
            match self.reader.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    let room = OUTPUT_BYTES_MAX - self.output.len();
                    self.output.extend_from_slice(&buffer[..count.min(room)]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Checks without reaping: until then its id, and so its group's, cannot be reused.
    fn has_ended(&self) -> io::Result<bool> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::Pid(self.pid()), flags) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => Ok(false),
            Ok(_) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Kills the rest of the group, and reaps its leader.
    fn end(&mut self) -> io::Result<std::process::ExitStatus> {
        let _ = killpg(self.pid(), Signal::SIGKILL);
        self.child.wait()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After an error in the loop. A reaped child is left alone.
        if let Ok(None) = self.child.try_wait() {
            let _ = self.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn an_end_and_the_output_are_told() {
        let (end, output) = run(shell("echo seen; exit 3"), Stream::Output, LONG, &|| false).unwrap();
        assert_eq!((end, output.as_slice()), (End::Exited(3), b"seen\n".as_slice()));
        let (end, output) =
            run(shell("echo seen >&2; kill -ABRT $$"), Stream::Error, LONG, &|| false).unwrap();
        assert_eq!((end, output.as_slice()), (End::Signaled(6), b"seen\n".as_slice()));
    }

    #[test]
    fn a_program_that_hangs_is_killed_at_its_deadline() {
        let (end, _) =
            run(shell("exec sleep 1000"), Stream::Output, Duration::from_millis(1), &|| false).unwrap();
        assert_eq!(end, End::TimedOut);
    }

    #[test]
    fn what_a_program_leaves_running_is_killed_although_it_holds_the_output() {
        let (end, output) = run(shell("sleep 1000 & echo $!"), Stream::Output, LONG, &|| false).unwrap();
        assert_eq!(end, End::Exited(0));
        assert_ends(&output);
    }

    #[test]
    fn a_program_that_is_not_wanted_any_more_is_killed_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = shell("sleep 1000 & echo $! && : > started && wait");
        command.current_dir(dir.path());
        let (end, output) =
            run(command, Stream::Output, LONG, &|| dir.path().join("started").exists()).unwrap();
        assert_eq!(end, End::Cancelled);
        assert_ends(&output);
    }

    /// The process whose id was written is killed, which takes effect a little later.
    fn assert_ends(output: &[u8]) {
        let pid: i32 = std::str::from_utf8(output).unwrap().trim().parse().unwrap();
        let deadline = Instant::now() + LONG;
        while is_running(pid) {
            assert!(Instant::now() < deadline, "{pid} is still there");
            std::thread::yield_now();
        }
    }

    /// A zombie its new parent has yet to reap no longer runs.
    fn is_running(pid: i32) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
    }
}
