//! The worker: a forked child that loads one generation's cdylib, serves it, and exits.
//!
//! It never unloads anything and never returns to the zygote's code. In a plugin app's worker the main thread watches
//! the control socket; where the plugin has no loop of its own, it also handles the link. In a plain app's worker
//! the main thread is the app's ([`plain`]).

pub mod artifact_host;
pub mod interpose;
pub mod load;
pub mod plain;
pub mod plugin;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::shm::{LinkFds, WorkerLink};
use crate::sys::process::{exit_now, micros_since};
use crate::zygote::control::{self, WorkerCommand, WorkerReport};
use load::Loaded;
use plugin::Host;

/// The exit code of a worker that failed before it served, after it has said why.
const EXIT_FAILED: i32 = 1;

/// Runs a plugin app's worker to its end.
pub fn run(generation: u64, artifact: &Path, link: LinkFds, control: OwnedFd) -> ! {
    let worker = Worker { control };
    match worker.start(generation, artifact, link) {
        Ok(host) => worker.serve(host),
        Err(report) => {
            worker.report(&report);
            exit_now(EXIT_FAILED)
        }
    }
}

struct Worker {
    control: OwnedFd,
}

impl Worker {
    fn start(&self, generation: u64, artifact: &Path, link: LinkFds) -> Result<&'static Host, WorkerReport> {
        let begun = Instant::now();
        let load_failed =
            |message: String, hint: &str| WorkerReport::LoadFailed { message, hint: hint.into() };
        let link = WorkerLink::attach(link).map_err(|error| load_failed(error.to_string(), ""))?;
        let Loaded { descriptor, build_id } =
            load::load(artifact).map_err(|error| load_failed(error.to_string(), error.hint()))?;
        let plugin = format!("{} {}", descriptor.name, descriptor.version);
        self.report(&WorkerReport::Loaded { build_id, plugin, micros: micros_since(begun) });

        let begun = Instant::now();
        let host = Host::new(link, descriptor);
        host.start(generation).map_err(|message| WorkerReport::StartFailed { message })?;
        self.report(&WorkerReport::Ready { micros: micros_since(begun), listening: None });
        Ok(host)
    }

    fn serve(&self, host: &'static Host) -> ! {
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
                    Ok(Some((WorkerCommand::Stop, _))) => {
                        host.stop();
                        exit_now(0)
                    }
                    // The front is gone, and with it whoever could want an answer.
                    Ok(None) | Err(_) => exit_now(0),
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
