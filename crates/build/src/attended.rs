//! A process under the guard, and its output. Dropping an [`Attended`] kills the process and everything it
//! started.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use devhost_sys::limits;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use crate::guard::{BEHIND_OPTION, DESCRIPTORS_OPTION};

/// How long cargo's pipes may stay silent once it has ended: a daemon it started (a compiler cache) may hold
/// them open forever.
pub(crate) const PIPE_SILENCE_TIME_MAX: Duration = Duration::from_millis(100);

/// How urgent a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Somebody waits for it.
    Awaited,
    /// Nobody does: it has the lowest priority.
    Behind,
}

/// A command under the guard, which kills it when its standard input is closed.
pub(crate) fn guarded(devhost: &Path, program: &OsStr) -> Command {
    guarded_at(Urgency::Awaited, devhost, program)
}

/// The same for one of this urgency.
pub(crate) fn guarded_at(urgency: Urgency, devhost: &Path, program: &OsStr) -> Command {
    let mut command = Command::new(devhost);
    // The program gets devhost's original limit on open files.
    let descriptors = limits::original_descriptors().map(|soft| format!("{DESCRIPTORS_OPTION}{soft}"));
    command
        .arg0("devhost-guard")
        .args((urgency == Urgency::Behind).then_some(BEHIND_OPTION))
        .args(descriptors)
        .arg(program)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C in the terminal is for the front, which then ends the build.
        .process_group(0);
    command
}

/// A guarded process and its output, killed on drop.
pub(crate) struct Attended {
    child: Child,
    /// Held open: the guard kills the process when it closes.
    #[expect(dead_code, reason = "held, not used")]
    pipe: Option<ChildStdin>,
    stdout: Option<Lines<BufReader<ChildStdout>>>,
    stderr: Option<Lines<BufReader<ChildStderr>>>,
    status: Option<ExitStatus>,
}

pub(crate) enum Said {
    Out(String),
    Err(String),
    /// It has ended, and there is no more output.
    Over(ExitStatus),
}

impl Attended {
    /// Takes over a child started by [`guarded`].
    pub(crate) fn new(mut child: Child) -> Self {
        let pipe = child.stdin.take();
        let stdout = child.stdout.take().map(|pipe| BufReader::new(pipe).lines());
        let stderr = child.stderr.take().map(|pipe| BufReader::new(pipe).lines());
        Self { child, pipe, stdout, stderr, status: None }
    }

    /// Waits for the next event. An empty line may be the end of a stream.
    ///
    /// # Errors
    /// The process cannot be waited for.
    pub(crate) async fn next(&mut self) -> std::io::Result<Said> {
        let status = match self.status {
            Some(status) => status,
            None => tokio::select! {
                line = next_line(&mut self.stdout) => return Ok(Said::Out(line)),
                line = next_line(&mut self.stderr) => return Ok(Said::Err(line)),
                status = self.child.wait() => *self.status.insert(status?),
            },
        };
        if self.stdout.is_none() && self.stderr.is_none() {
            return Ok(Said::Over(status));
        }
        tokio::select! {
            biased;
            line = next_line(&mut self.stdout) => Ok(Said::Out(line)),
            line = next_line(&mut self.stderr) => Ok(Said::Err(line)),
            () = tokio::time::sleep(PIPE_SILENCE_TIME_MAX) => Ok(Said::Over(status)),
        }
    }
}

/// The next line, then once an empty one for the end of the pipe, then pending forever. Invalid UTF-8 ends
/// it, too: cargo and rustc write none.
async fn next_line<R: AsyncRead + Unpin>(lines: &mut Option<Lines<BufReader<R>>>) -> String {
    if let Some(reader) = lines {
        if let Ok(Some(line)) = reader.next_line().await {
            return line;
        }
        *lines = None;
        return String::new();
    }
    std::future::pending().await
}
