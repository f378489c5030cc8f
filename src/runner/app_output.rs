//! What one of several apps prints: it goes through devhost, line by line, so that each line names its app. An app that is
//! served alone has the terminal for itself.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use actix_web::rt;
use devhost_model::Error;
use devhost_process::Streams;
use devhost_sides::Lines;
use devhost_terminal::{Stream, Terminal};
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;

/// When what has been written of a line is printed although its end is missing.
const SILENCE_TIME_MAX: Duration = Duration::from_millis(300);

/// How much is read at once.
const CHUNK_SIZE: usize = 16 * 1024;

/// How much of what an app has written is still read once it has ended: what it has left behind may go on writing.
const REST_SIZE_MAX: usize = 1024 * 1024;

/// Reads and prints what the workers of an app write, until it is ended or dropped.
#[derive(Debug)]
pub(super) struct AppOutput {
    task: Option<rt::task::JoinHandle<()>>,
    stop: Option<oneshot::Sender<()>>,
}

impl AppOutput {
    /// Begins, and returns where the workers have to write. Must be called on an actix runtime.
    pub(super) fn listen(terminal: &Arc<Terminal>) -> Result<(Self, Arc<Streams>), Error> {
        let failed =
            |error: io::Error| Error::fault(format!("failed to make a pipe for the app's output: {error}"));
        let pipe = || -> io::Result<(Printing, OwnedFd)> {
            let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
            let reader = Receiver::from_owned_fd(reader)?;
            Ok((Printing { reader, lines: Lines::default(), chunk: vec![0; CHUNK_SIZE] }, writer))
        };
        let (out, stdout) = pipe().map_err(failed)?;
        let (err, stderr) = pipe().map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let task = rt::spawn(print(out, err, Arc::clone(terminal), stopped));
        Ok((Self { task: Some(task), stop: Some(stop) }, Arc::new(Streams { stdout, stderr })))
    }

    /// Prints what there is, after the app has ended.
    pub(super) async fn end(mut self) {
        drop(self.stop.take());
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

impl Drop for AppOutput {
    fn drop(&mut self) {
        self.task.iter().for_each(rt::task::JoinHandle::abort);
    }
}

async fn print(
    mut out: Printing,
    mut err: Printing,
    terminal: Arc<Terminal>,
    mut stopped: oneshot::Receiver<()>,
) {
    let say = |stream| {
        let terminal = &terminal;
        move |line: String| terminal.app_output(stream, &line)
    };
    loop {
        let is_due = out.lines.has_begun() || err.lines.has_begun();
        let is_over = tokio::select! {
            _ = &mut stopped => true,
            ready = out.reader.readable() => ready.is_err() || out.take(say(Stream::Stdout)) == Taken::End,
            ready = err.reader.readable() => ready.is_err() || err.take(say(Stream::Stderr)) == Taken::End,
            () = tokio::time::sleep(SILENCE_TIME_MAX), if is_due => {
                out.flush(say(Stream::Stdout));
                err.flush(say(Stream::Stderr));
                false
            }
        };
        if is_over {
            break;
        }
    }
    for (printing, stream) in [(&mut out, Stream::Stdout), (&mut err, Stream::Stderr)] {
        let mut left = REST_SIZE_MAX;
        while left > 0
            && let Taken::Some(count) = printing.take(say(stream))
        {
            left = left.saturating_sub(count);
        }
        printing.flush(say(stream));
    }
}

/// One of the streams.
#[derive(Debug)]
struct Printing {
    reader: Receiver,
    lines: Lines,
    chunk: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Some(usize),
    /// There is nothing now.
    Nothing,
    End,
}

impl Printing {
    fn take(&mut self, say: impl FnMut(String)) -> Taken {
        match self.reader.try_read(&mut self.chunk) {
            Ok(0) => Taken::End,
            Ok(count) => {
                self.lines.take(&self.chunk[..count], say);
                Taken::Some(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Taken::Nothing,
            Err(_) => Taken::End,
        }
    }

    fn flush(&mut self, say: impl FnMut(String)) {
        self.lines.flush().into_iter().for_each(say);
    }
}
