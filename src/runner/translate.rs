//! Translates inputs into supervisor events, and handles those that do not concern it.

use std::os::fd::OwnedFd;
use std::time::Duration;

use devhost_process::WorkerReport;
use devhost_supervisor::{Event, Timer};
use nix::unistd::Pid;

use super::forks::is_gone;
use super::ids::WorkerId;
use super::input::Input;
use super::state::Runner;

impl Runner {
    pub(super) fn translate(&mut self, input: Input) -> Vec<Event> {
        match input {
            Input::Event(event) => {
                if event == Event::Timer(Timer::Shutdown) && !self.workers.groups().is_empty() {
                    self.terminal.note("the app has not ended in time (--stop-timeout-ms) and is killed");
                }
                vec![event]
            }
            Input::Built { build, started, outcome, report } => {
                self.build_ended(build, started, outcome, report)
            }
            Input::ReadyMade { build, started, artifact } => vec![self.ready_made(build, started, *artifact)],
            Input::Launcher { number, report } => self.launcher_reported(number, report),
            Input::LauncherGone { number } => self.launcher_gone(number),
            Input::LauncherStuck { number, message } => self.launcher_stuck(number, &message),
            Input::Worker { worker, report, fd } => self.worker_reported(worker, report, fd),
            Input::Relayed { worker, micros, path, relay } => self.relayed(worker, micros, &path, relay),
            Input::Look { worker, forked } => self.look(worker, forked),
            Input::Typed(typed) => self.typed(typed),
            Input::Ordered(order) => self.ordered(order),
            Input::Draw { build } => {
                self.draw_live(build);
                Vec::new()
            }
            Input::WorkerGone { worker } => self.worker_gone(worker),
            Input::WorkerReaped { reaped } if self.workers.may_still_report(reaped) => {
                let mut events = self.hear_of_lost_terminal();
                events.extend(self.reaped(reaped));
                events
            }
            Input::WorkerReaped { .. } => Vec::new(),
            Input::WorkerCondemned { worker, end } => {
                let target = self.workers.condemned(worker, end);
                self.kill(target);
                Vec::new()
            }
        }
    }

    fn worker_gone(&mut self, worker: WorkerId) -> Vec<Event> {
        let mut events = self.hear_of_lost_terminal();
        let reaped = self.workers.fell_silent(worker);
        let process = reaped.map(|reaped| reaped.process).or_else(|| self.workers.hung_up(worker));
        if let (Some(foreground), Some(process)) = (&mut self.foreground, process) {
            foreground.ended(Pid::from_raw(process.pid));
        }
        match reaped {
            Some(reaped) => events.extend(self.reaped(reaped)),
            None => self.kill(process),
        }
        events
    }

    fn worker_reported(&mut self, worker: WorkerId, report: WorkerReport, fd: Option<OwnedFd>) -> Vec<Event> {
        let generation = worker.generation;
        let event = match report {
            WorkerReport::Loaded { build_id, plugin, micros } => {
                tracing::debug!("generation {generation} loaded {plugin}");
                match self.workers.replacement(worker) {
                    Some(replacement) => Event::ReplacementLoaded { replacement, build_id },
                    None => Event::Loaded { generation, build_id, took: Duration::from_micros(micros) },
                }
            }
            WorkerReport::Ready { micros, listening: None } => {
                return self.workers.ready(worker, Duration::from_micros(micros)).into_iter().collect();
            }
            WorkerReport::Ready { micros, listening: Some(listening) } => {
                return self.listens(worker, micros, &listening).0;
            }
            WorkerReport::Unix { micros, path } => {
                // If the user names a port, the Unix socket is not the main listener.
                if self.app_port == 0 {
                    self.relay(worker, micros, path, fd);
                }
                return Vec::new();
            }
            WorkerReport::Further { address } => {
                self.note(format!("the app also listens on {address}, which devhost leaves as it is"));
                if let Some(listener) = fd {
                    self.further.add(worker, &address, listener);
                }
                self.workers.add_further(worker, address);
                return Vec::new();
            }
            WorkerReport::Also { asked } => {
                self.reach_by_ipv6(&asked);
                return Vec::new();
            }
            WorkerReport::Socket { file } => {
                self.workers.add_socket(file);
                return Vec::new();
            }
            WorkerReport::NoTerminal => {
                if self.stdin.is_none() {
                    self.note("the app asks for the terminal, which it has with --stdin alone".into());
                }
                return Vec::new();
            }
            WorkerReport::Note { message } => {
                self.note(message);
                return Vec::new();
            }
            WorkerReport::Detached { pid } => {
                tracing::debug!("generation {generation} left its session as {pid}");
                Event::Detached { generation }
            }
            WorkerReport::LoadFailed { message, hint } => return self.start_failed(worker, message, hint),
            WorkerReport::StartFailed { message } => {
                return self.start_failed(
                    worker,
                    format!("the app's start failed: {message}"),
                    String::new(),
                );
            }
        };
        vec![event]
    }

    /// Replaces a failed start by [`Event::CodeGone`] if the artifact was removed: it says nothing about the
    /// code.
    pub(super) fn or_code_gone(&mut self, event: Event) -> Event {
        let is_gone = match &event {
            Event::StartFailed { generation, .. } => {
                self.workers.code_of(*generation).is_some_and(|code| is_gone(code))
            }
            Event::ZygoteFailed { .. } => self.origin.preload().iter().any(|library| !library.exists()),
            _ => false,
        };
        if is_gone { Event::CodeGone } else { event }
    }

    fn start_failed(&mut self, worker: WorkerId, message: String, hint: String) -> Vec<Event> {
        if self.workers.replacement(worker).is_some() {
            // Its end, which follows, is what counts.
            self.note(format!("a worker in the place of one that is gone failed: {message}"));
            return Vec::new();
        }
        let targets = self.workers.fail(worker);
        self.kill(targets);
        vec![Event::StartFailed { generation: worker.generation, message, hint }]
    }
}
