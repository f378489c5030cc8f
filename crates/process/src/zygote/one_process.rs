//! What `devhost bench` compares the zygote with: one process that loads each generation into itself, serves
//! it on its own thread, and finally unloads it, as hot-reloading libraries do.
//!
//! What the app does in the file system is not noted: the table would stay, for each generation.
//!
//! It speaks the zygote's protocol, with thread ids in place of workers' pids. It cannot kill a generation
//! that does not end; it then exits, with all that it has loaded.
#![expect(clippy::print_stderr, reason = "its standard error is the user's")]

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Instant;

use devhost_sys::process::{exit_now, micros_since, take_standard_input};
use nix::sys::prctl;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpgrp, gettid, setpgid};

use super::app_process::{set_process_name, set_variables};
use super::preload::preload_and_report;
use crate::control::{self, Command, Report, WorkerSpec};
use crate::handover::{HandedApp, Handover, HandoverError};
use crate::worker;

/// The exit code if a generation does not end.
const EXIT_STUCK: i32 = 1;

pub(super) fn run() -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    let control = Arc::new(take_standard_input()?);
    set_process_name();
    let host = OneProcess { control, threads: Threads::default(), has_environment: false };
    host.serve()?;
    // Kills the app's children, and this process with them.
    let _ = killpg(getpgrp(), Signal::SIGKILL);
    Ok(())
}

/// The ids of the threads that serve a generation.
#[derive(Debug, Clone, Default)]
struct Threads(Arc<Mutex<HashSet<i32>>>);

impl Threads {
    fn lock(&self) -> MutexGuard<'_, HashSet<i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, thiserror::Error)]
enum ThreadError {
    #[error(transparent)]
    Handover(#[from] HandoverError),
    #[error("a plain app cannot be loaded twice into one process")]
    PlainApp,
    #[error("a thread was refused: {0}")]
    Refused(#[source] io::Error),
    #[error("the thread has ended at once")]
    EndedAtOnce,
}

struct OneProcess {
    control: Arc<OwnedFd>,
    threads: Threads,
    /// The app's environment is set once, before its first thread.
    has_environment: bool,
}

impl OneProcess {
    fn serve(mut self) -> io::Result<()> {
        while let Some((command, fds)) = control::receive::<Command>(self.control.as_fd())? {
            match command {
                Command::Preload { libraries } => {
                    let report = preload_and_report(&libraries);
                    prctl::set_pdeathsig(None)?;
                    control::report(self.control.as_fd(), &report)?;
                }
                Command::Fork(spec) => {
                    if !std::mem::replace(&mut self.has_environment, true) {
                        set_variables(&spec.variables);
                    }
                    let generation = spec.generation;
                    let report = match self.start(spec, fds) {
                        Ok((thread, micros)) => Report::Forked { generation, pid: thread, micros },
                        Err(error) => Report::ForkFailed { generation, message: error.to_string() },
                    };
                    control::report(self.control.as_fd(), &report)?;
                }
                // Only plain apps are asked to end in this way.
                Command::Signal { .. } | Command::Terminal { .. } => {}
                Command::Kill { pid } => {
                    if self.threads.lock().contains(&pid) {
                        eprintln!("devhost: a generation does not end, and a thread cannot be killed");
                        exit_now(EXIT_STUCK);
                    }
                }
            }
        }
        Ok(())
    }

    /// Starts a generation on a thread; returns the thread's id and how long that took, in microseconds.
    fn start(&self, spec: WorkerSpec, fds: Vec<OwnedFd>) -> Result<(i32, u64), ThreadError> {
        let WorkerSpec { generation, artifact, .. } = spec;
        let Handover { app: HandedApp::Plugin(link), control, output, .. } =
            Handover::new(spec.entry, spec.has_stdin, fds)?
        else {
            return Err(ThreadError::PlainApp);
        };
        worker::keep_output(&output);
        let (sender, receiver) = mpsc::sync_channel(1);
        let (front, threads) = (Arc::clone(&self.control), self.threads.clone());
        let begun = Instant::now();
        let serve = move || {
            let thread = gettid().as_raw();
            threads.lock().insert(thread);
            // The receiver waits for this.
            let _ = sender.send(thread);
            worker::run_plugin_unloading(generation, &artifact, link, control, || {
                threads.lock().remove(&thread);
                let ended = Report::Exited { pid: thread, code: Some(0), signal: None };
                // If the front is gone, the loop sees that.
                let _ = control::report(front.as_fd(), &ended);
            });
        };
        std::thread::Builder::new()
            .name(format!("generation-{generation}"))
            .spawn(serve)
            .map_err(ThreadError::Refused)?;
        let thread = receiver.recv().map_err(|_| ThreadError::EndedAtOnce)?;
        Ok((thread, micros_since(begun)))
    }
}
