//! One run of a process, from its start until it and all that it has started have ended.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use devhost_model::{SideEnd, SideProcess};
use devhost_terminal::{Label, Stream};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::channel::Channel;
use crate::director::Event;
use crate::orders::{Order, Report};
use crate::output::Output;
use crate::sides::Place;
use crate::{probe, start, words};

/// How long the pipes may stay silent once a process has ended: whoever it has given them to may hold them for ever.
const PIPE_SILENCE_TIME_MAX: Duration = Duration::from_millis(100);

/// How long an attendant may take to kill everything.
const KILL_TIME_MAX: Duration = Duration::from_secs(2);

/// How much is read at once.
const READ_SIZE_MAX: usize = 8 * 1024;

/// What is wanted of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wish {
    Run,
    /// It is asked to end, and killed if it does not in time.
    End,
    Kill,
}

/// A process that is about to be run.
pub(crate) struct Run {
    pub(crate) number: u64,
    pub(crate) process: SideProcess,
    pub(crate) label: Label,
    pub(crate) place: Arc<Place>,
    pub(crate) wishes: watch::Receiver<Wish>,
    pub(crate) events: mpsc::Sender<Event>,
}

impl Run {
    /// Runs the process to its end, and sends what happens.
    pub(crate) async fn go(mut self, remember: impl FnOnce(&Arc<Channel>)) {
        let mut output = Output::new(
            Arc::clone(&self.place.terminal),
            self.label.clone(),
            self.process.ready_when.as_ref(),
        );
        let end = if self.process.directory.is_dir() {
            match start::attended(&self.process, &self.place.devhost, self.place.terminal.has_colours()) {
                Ok((child, channel)) => {
                    let channel = Arc::new(channel);
                    remember(&channel);
                    self.attend(child, &channel, &mut output).await
                }
                Err(error) => SideEnd::NotStarted { message: error.to_string() },
            }
        } else {
            SideEnd::NotStarted { message: words::no_directory(&self.process) }
        };
        let ended = Event::Ended { run: self.number, end, last_lines: output.into_last_lines() };
        // Nobody listens any more once devhost ends in a hurry.
        let _ = self.events.send(ended).await;
    }

    async fn attend(&mut self, mut child: Child, channel: &Channel, output: &mut Output) -> SideEnd {
        let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
        let started = SystemTime::now();
        let ready_when = self.process.ready_when.clone();
        let ready = async {
            match &ready_when {
                Some(when) => probe::until_ready(when, started).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(ready);
        let (mut pid, mut end) = (None, None);
        let (mut reports_are_over, mut is_ready, mut is_announced) = (false, false, false);
        let mut deadline: Option<Instant> = None;
        let (mut out, mut err) = (vec![0; READ_SIZE_MAX], vec![0; READ_SIZE_MAX]);
        loop {
            tokio::select! {
                // What it has written comes before its end.
                bytes = read(&mut stdout, &mut out) => output.take(Stream::Stdout, bytes),
                bytes = read(&mut stderr, &mut err) => output.take(Stream::Stderr, bytes),
                () = output.due() => output.flush(),
                report = channel.report(), if !reports_are_over => match report {
                    Some(Report::Started { pid: started }) => {
                        pid = Some(started);
                        self.send(Event::Started { run: self.number, pid: started }).await;
                    }
                    Some(report) => end = end.or(told_end(report)),
                    None => reports_are_over = true,
                },
                () = &mut ready, if !is_ready => is_ready = true,
                Ok(()) = self.wishes.changed() => {
                    let wish = *self.wishes.borrow_and_update();
                    deadline = Some(self.ask(wish, channel));
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    if reports_are_over {
                        // The attendant hangs. With it dies its child; the rest is below.
                        let _ = child.start_kill();
                        deadline = None;
                    } else {
                        deadline = Some(self.ask(Wish::Kill, channel));
                        reports_are_over = true;
                    }
                }
                _ = child.wait() => break,
            }
            is_ready |= output.has_become_ready();
            if is_ready && pid.is_some() && !is_announced {
                is_announced = true;
                self.send(Event::Ready { run: self.number }).await;
            }
        }
        while let (false, Some(report)) = (reports_are_over, channel.report().await) {
            if let Report::Started { pid: started } = report {
                pid = Some(started);
            }
            end = end.or(told_end(report));
        }
        drain(&mut stdout, &mut out, Stream::Stdout, output).await;
        drain(&mut stderr, &mut err, Stream::Stderr, output).await;
        output.flush();
        end.unwrap_or_else(|| lost(pid, *self.wishes.borrow()))
    }

    /// Passes a wish on to the attendant. Returns when to lose patience.
    fn ask(&self, wish: Wish, channel: &Channel) -> Instant {
        match wish {
            Wish::Run | Wish::End => {
                channel.send(Order::Terminate);
                Instant::now() + self.place.stop_time_max
            }
            Wish::Kill => {
                channel.hang_up();
                Instant::now() + KILL_TIME_MAX
            }
        }
    }

    async fn send(&self, event: Event) {
        let _ = self.events.send(event).await;
    }
}

fn told_end(report: Report) -> Option<SideEnd> {
    match report {
        Report::NotStarted { message } => Some(SideEnd::NotStarted { message }),
        Report::Ended { code: Some(code), .. } => Some(SideEnd::Exited { code }),
        Report::Ended { signal: Some(signal), .. } => Some(SideEnd::Signalled { signal }),
        Report::Started { .. } | Report::Ended { .. } => None,
    }
}

/// Returns the end of a process whose attendant is gone without a word.
fn lost(pid: Option<i32>, wish: Wish) -> SideEnd {
    if wish != Wish::Run {
        return SideEnd::Signalled { signal: Signal::SIGKILL as i32 };
    }
    if let Some(pid) = pid {
        // Its child was killed with it, but not that one's children.
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
    SideEnd::Lost
}

/// Returns the next bytes of a pipe. Pending for ever at its end. Cancel-safe.
async fn read<'b, R: AsyncRead + Unpin>(pipe: &mut Option<R>, buffer: &'b mut [u8]) -> &'b [u8] {
    if let Some(reader) = pipe {
        match reader.read(buffer).await {
            Ok(len @ 1..) => return &buffer[..len],
            Ok(0) | Err(_) => *pipe = None,
        }
    }
    std::future::pending().await
}

/// Takes what is left in a pipe.
async fn drain<R: AsyncRead + Unpin>(
    pipe: &mut Option<R>,
    buffer: &mut [u8],
    stream: Stream,
    output: &mut Output,
) {
    while let Some(reader) = pipe {
        match timeout(PIPE_SILENCE_TIME_MAX, reader.read(buffer)).await {
            Ok(Ok(len @ 1..)) => output.take(stream, &buffer[..len]),
            _ => *pipe = None,
        }
    }
}
