//! Starts and ends launchers, and handles their reports. Each wait for one has a deadline.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::rt;
use devhost_model::{End, ZYGOTE_DEATH};
use devhost_process::Report;
use devhost_supervisor::{Event, Origin};
use devhost_sys::liveness::{Liveness, Outlook};
use futures_util::FutureExt as _;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::attendance;
use super::ids::{Reaped, WorkerProcess};
use super::input::Input;
use super::keys::Keys;
use super::launcher::{LAUNCHER_END_TIME_MAX, Launcher};
use super::state::Runner;

/// How often a worker is checked if its stuck launcher does not report its end.
const END_LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How long the fork of an ended process may take to report that it is a daemon.
const DAEMON_REPORT_TIME: Duration = Duration::from_millis(500);

/// How long a worker's last report may come after its reaping. Its children may hold its control socket open.
const LAST_REPORT_TIME_MAX: Duration = Duration::from_secs(1);

impl Runner {
    pub(super) fn start_launcher(&mut self, origin: &Origin) {
        self.current_launcher += 1;
        let number = self.current_launcher;
        self.origin = origin.clone();
        match Launcher::start(origin, &self.argv, self.loading) {
            Ok(launcher) => {
                let launcher = Rc::new(launcher);
                launcher.guard_terminal(self.keys.as_deref().and_then(Keys::changed));
                self.launchers.insert(number, Rc::clone(&launcher));
                attendance::watch(number, launcher.pid(), launcher.attendance(), self.inputs.clone());
                let inputs = self.inputs.clone();
                rt::spawn(async move {
                    while let Some(report) = launcher.report().await {
                        if inputs.send(Input::Launcher { number, report }).await.is_err() {
                            return;
                        }
                    }
                    drop(launcher);
                    let _ = inputs.send(Input::LauncherGone { number }).await;
                });
            }
            Err(error) => self.post(Event::ZygoteFailed { message: error.message }),
        }
    }

    pub(super) fn kill_launcher(&mut self) {
        if let Some(launcher) = self.launchers.remove(&self.current_launcher) {
            rt::spawn(async move { launcher.end(LAUNCHER_END_TIME_MAX).await });
        }
        // Advance the number, so that the killed one's end does not count as a death.
        self.current_launcher += 1;
    }

    /// Ends launchers that are not current and have no workers left.
    pub(super) fn retire_launchers(&mut self) {
        let current = self.current_launcher;
        let over: Vec<u64> = self
            .launchers
            .keys()
            .copied()
            .filter(|number| *number != current && !self.workers.any_of_launcher(*number))
            .collect();
        for number in over {
            if let Some(launcher) = self.launchers.remove(&number) {
                if launcher.is_stuck() {
                    // It would not notice the hang-up. No wait, which the end of devhost might cut off.
                    let _ = launcher.end(Duration::ZERO).now_or_never();
                    continue;
                }
                rt::spawn(async move { launcher.end(LAUNCHER_END_TIME_MAX).await });
            }
        }
    }

    pub(super) fn launcher_reported(&mut self, number: u64, report: Report) -> Vec<Event> {
        match report {
            Report::Preloaded { .. } if self.fresh.contains_key(&number) => Vec::new(),
            Report::Preloaded { micros } if number == self.current_launcher => {
                tracing::debug!("zygote {number} preloaded in {} ms", micros / 1000);
                vec![Event::ZygoteReady]
            }
            Report::PreloadFailed { library, message } if number == self.current_launcher => {
                vec![Event::ZygoteFailed {
                    message: format!("failed to preload {}: {message}", library.display()),
                }]
            }
            Report::Preloaded { .. } | Report::PreloadFailed { .. } => Vec::new(),
            Report::Forked { pid, .. }
                if self.launchers.get(&number).is_some_and(|launcher| launcher.is_stuck()) =>
            {
                // It goes on after all, but nobody waits for this worker any more.
                self.kill([WorkerProcess { launcher: number, pid }]);
                Vec::new()
            }
            Report::Forked { generation, pid, micros } => {
                let target = self.workers.forked(generation, pid, &self.inputs);
                self.kill(target);
                // If the launcher was started for this generation alone, its start counts, too.
                let fresh = self.fresh.get(&number).map(Instant::elapsed);
                vec![Event::Forked { generation, took: fresh.unwrap_or(Duration::from_micros(micros)) }]
            }
            Report::ForkFailed { generation, message } => {
                let (event, targets) = self.workers.not_forked(generation, message);
                self.kill(targets);
                event.into_iter().collect()
            }
            Report::Exited { pid, code, signal } => {
                let was_typed = signal == Some(Signal::SIGINT as i32) && self.asks.is_some();
                let was_typed =
                    was_typed && self.foreground.as_ref().is_some_and(|f| f.had(Pid::from_raw(pid)));
                if was_typed {
                    // The key itself is reported later.
                    self.echo = true;
                    let mut events = self.end_asked(None);
                    events.extend(self.exited(number, pid, code, signal));
                    return events;
                }
                self.exited(number, pid, code, signal)
            }
        }
    }

    fn exited(&mut self, number: u64, pid: i32, code: Option<i32>, signal: Option<i32>) -> Vec<Event> {
        let reaped = Reaped { process: WorkerProcess { launcher: number, pid }, code, signal };
        // A process that exits with 0 may have left a daemon, which keeps the socket open.
        if code == Some(0) || !self.workers.may_report(reaped) {
            return self.reaped(reaped);
        }
        let inputs = self.inputs.clone();
        rt::spawn(async move {
            tokio::time::sleep(LAST_REPORT_TIME_MAX).await;
            let _ = inputs.send(Input::WorkerReaped { reaped }).await;
        });
        Vec::new()
    }

    /// Handles the end of a worker that has nothing more to report.
    pub(super) fn reaped(&mut self, reaped: Reaped) -> Vec<Event> {
        let unheard = self.workers.is_unheard(reaped.process);
        let (ended, targets) = self.workers.exited(reaped);
        self.kill(targets);
        let Some(ended) = ended else { return Vec::new() };
        if unheard && reaped.code == Some(0) {
            // It may have left a daemon, which is about to report.
            self.post_after(DAEMON_REPORT_TIME, ended);
            return Vec::new();
        }
        vec![ended]
    }

    pub(super) fn launcher_gone(&mut self, number: u64) -> Vec<Event> {
        self.fresh.remove(&number);
        let is_current = number == self.current_launcher;
        if let Some(launcher) = self.launchers.remove(&number) {
            let terminal = Arc::clone(&self.terminal);
            rt::spawn(async move {
                let status = launcher.end(LAUNCHER_END_TIME_MAX).await;
                if is_current {
                    let how = status.map(|status| format!(" ({status})")).unwrap_or_default();
                    terminal.warn(&format!("{ZYGOTE_DEATH}{how}"));
                }
            });
        }
        let lost = self.workers.lost(number);
        if is_current {
            vec![Event::ZygoteDied { lost }]
        } else {
            lost.into_iter().map(|generation| Event::Ended { generation, end: End::Orphaned }).collect()
        }
    }

    /// Replaces a launcher that lives but hangs. Its workers go on serving, and it ends with the last of
    /// them, like any replaced launcher.
    pub(super) fn launcher_stuck(&mut self, number: u64, message: &str) -> Vec<Event> {
        let Some(launcher) = self.launchers.get(&number) else { return Vec::new() };
        launcher.give_up();
        self.terminal
            .warn(&format!("the {} stands still: {message}; another one takes its place", launcher.name()));
        self.fresh.remove(&number);
        let (lost, running) = self.workers.abandoned(number);
        for pid in running {
            self.watch_for_end(number, pid);
        }
        if number == self.current_launcher {
            // Advance the number, so that this one's end does not count as a death.
            self.current_launcher += 1;
            return vec![Event::ZygoteDied { lost }];
        }
        lost.into_iter().map(|generation| Event::Ended { generation, end: End::Lost }).collect()
    }

    /// Reports a worker's end in place of its launcher.
    fn watch_for_end(&self, number: u64, pid: i32) {
        let inputs = self.inputs.clone();
        let process = Liveness::open(pid);
        rt::spawn(async move {
            while process.as_ref().is_some_and(|process| process.outlook() != Outlook::Dying) {
                tokio::time::sleep(END_LOOK_INTERVAL).await;
            }
            let report = Report::Exited { pid, code: None, signal: None };
            let _ = inputs.send(Input::Launcher { number, report }).await;
        });
    }
}
