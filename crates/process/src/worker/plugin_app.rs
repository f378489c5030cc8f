//! A plugin app's worker: loads the cdylib and serves it over its link.
//!
//! The main thread watches the control socket, and handles the link if the plugin has no loop of its own. It
//! waits without a timeout: the front's hang-up ends it.
#![expect(clippy::print_stderr, reason = "a worker's standard error is the user's")]

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use devhost_link::{LinkFds, WorkerLink};
use devhost_sys::process::{exit_now, micros_since};
use libloading::os::unix::Library;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::code::{Code, EXIT_FAILED};
use super::host::Host;
use super::load::{self, Loaded};
use crate::control::{self, WorkerCommand, WorkerReport};

pub(crate) fn run_plugin(generation: u64, code: Code<'_>, link: LinkFds, control: OwnedFd) -> ! {
    let worker = Worker { control };
    match worker.start(generation, code, link) {
        Ok((host, _library)) => {
            if worker.serve(host) == Told::Stop {
                host.stop();
            }
            exit_now(0)
        }
        Err(report) => {
            worker.report(&report);
            exit_now(EXIT_FAILED)
        }
    }
}

/// Serves a generation on the calling thread of a process that goes on, then stops and unloads it, as
/// hot-reloading libraries do. `over` is called after that, before the front sees the control socket hang up.
pub(crate) fn run_plugin_unloading(
    generation: u64,
    artifact: &Path,
    link: LinkFds,
    control: OwnedFd,
    over: impl FnOnce(),
) {
    let worker = Worker { control };
    match worker.start(generation, Code { before: &[], artifact }, link) {
        Ok((host, library)) => {
            if worker.serve(host) == Told::FrontGone {
                // The process is about to end as well.
                return;
            }
            host.stop();
            // SAFETY: `stop` has returned. If the plugin's threads run on nevertheless, it gets what it would
            // get in any process that unloads code, which is what this way of loading is meant to show.
            unsafe { host.discard() };
            if let Err(error) = ManuallyDrop::into_inner(library).close() {
                eprintln!("devhost: failed to unload generation {generation}: {error}");
            }
        }
        Err(report) => worker.report(&report),
    }
    over();
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Stop,
    FrontGone,
}

struct Worker {
    control: OwnedFd,
}

impl Worker {
    fn start(
        &self,
        generation: u64,
        code: Code<'_>,
        link: LinkFds,
    ) -> Result<(&'static Host, ManuallyDrop<Library>), WorkerReport> {
        let begun = Instant::now();
        let load_failed =
            |message: String, hint: &str| WorkerReport::LoadFailed { message, hint: hint.into() };
        let link = WorkerLink::attach(link).map_err(|error| load_failed(error.to_string(), ""))?;
        let loaded = code.load_before().and_then(|()| load::load_plugin(code.artifact));
        let (Loaded { descriptor, build_id }, library) =
            loaded.map_err(|error| load_failed(error.to_string(), error.hint()))?;
        // Closed only by a caller that unloads on purpose.
        let library = ManuallyDrop::new(library);
        let plugin = format!("{} {}", descriptor.name, descriptor.version);
        self.report(&WorkerReport::Loaded { build_id, plugin, micros: micros_since(begun) });

        let begun = Instant::now();
        let host = Host::new(link, descriptor);
        host.start(generation).map_err(|error| WorkerReport::StartFailed { message: error.to_string() })?;
        self.report(&WorkerReport::Ready { micros: micros_since(begun), listening: None });
        Ok((host, library))
    }

    fn serve(&self, host: &'static Host) -> Told {
        let runs_here = !host.has_own_loop();
        if runs_here {
            host.handle_everything();
        }
        loop {
            let control = PollFd::new(self.control.as_fd(), PollFlags::POLLIN);
            let (commanded, arrived) = if runs_here {
                let mut fds = [control, PollFd::new(host.event_fd(), PollFlags::POLLIN)];
                wait(&mut fds);
                (fds[0].any().unwrap_or(false), fds[1].any().unwrap_or(false))
            } else {
                let mut fds = [control];
                wait(&mut fds);
                (fds[0].any().unwrap_or(false), false)
            };
            if commanded {
                match control::receive::<WorkerCommand>(self.control.as_fd()) {
                    Ok(Some((WorkerCommand::Stop, _))) => return Told::Stop,
                    // Nobody waits for an answer.
                    Ok(None) | Err(_) => return Told::FrontGone,
                }
            }
            if arrived {
                host.handle_everything();
            }
        }
    }

    fn report(&self, report: &WorkerReport) {
        if control::send(self.control.as_fd(), report, &[]).is_err() {
            // The front is gone.
            exit_now(EXIT_FAILED);
        }
    }
}

fn wait(fds: &mut [PollFd<'_>]) {
    match poll(fds, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => {
            eprintln!("devhost worker: poll failed: {}", io::Error::from(error));
            exit_now(EXIT_FAILED);
        }
    }
}
