//! Performs the supervisor's actions.

use std::path::{Path, PathBuf};
use std::time::Duration;

use devhost_model::{BrowserEvent, End, Failure, Reload, ServerState, StopReason};
use devhost_supervisor::{Action, Answer, Event, Timer};

use super::ids::WorkerProcess;
use super::names::{file_names, names_for_reload};
use super::orders::Trouble;
use super::state::Runner;

impl Runner {
    /// Performs actions in order. Returns true once devhost is to exit.
    pub(super) fn perform(&mut self, actions: Vec<Action>) -> bool {
        let mut over = false;
        for action in actions {
            match action {
                Action::Build { build, changed } => self.start_build(build, changed),
                Action::Discard => self.discards.set(true),
                Action::CancelBuild => self.cancel_build(),
                Action::StartZygote { origin } => self.start_launcher(&origin),
                Action::KillZygote => self.kill_launcher(),
                Action::Fork { generation, code } => self.fork(generation, &code),
                Action::Hold => self.gate.hold(),
                Action::Release => self.gate.release(),
                Action::Swap { generation, build_id, fresh, release, files } => {
                    self.swap(generation, build_id, fresh, release, &files);
                }
                Action::LoseCurrent => self.gate.lose_current(),
                Action::Replace { generation, replacement } => self.replace(generation, replacement),
                Action::Join { replacement, release } => {
                    if let Some(backend) = self.workers.join(replacement, &self.inputs) {
                        self.gate.join(backend, release);
                    }
                }
                Action::KillReplacement { replacement, message } => {
                    let target = self.workers.condemned_replacement(replacement, End::Stalled { message });
                    self.kill(target);
                }
                Action::Drain { generation } => {
                    let targets = self.workers.drain(generation);
                    self.kill(targets);
                    // It may already be idle, and then the gate would report no change.
                    for event in self.workers.drained() {
                        self.post(event);
                    }
                }
                Action::CloseStreams { generation } => self.workers.close_streams(generation),
                Action::StopWorker { generation, reason } => {
                    self.tell_of_cut_off(generation, reason);
                    for WorkerProcess { launcher, pid } in self.workers.stop(generation, reason) {
                        if let (Some(launcher), Some(how)) = (self.launchers.get(&launcher), self.asks) {
                            let _ = launcher.ask(pid, how);
                        }
                    }
                }
                Action::KillWorker { generation } => {
                    if !self.workers.has(generation) {
                        // It was never forked, so nothing else reports its end.
                        self.post(Event::Ended { generation, end: End::Lost });
                    }
                    let targets = self.workers.kill(generation);
                    self.kill(targets);
                }
                Action::Arm { timer, after } => self.arm(timer, after),
                Action::SetFailure(failure) => {
                    let failure = failure.map(|failure| self.with_output(failure));
                    if let Some(failure) = &failure {
                        self.terminal.failure(failure);
                        self.orders.trouble = Some(Trouble::Failure(failure.clone()));
                        self.open_door(None);
                    }
                    self.gate.set_failure(failure.clone());
                    self.status.update(|status| status.failure = failure);
                }
                Action::SetState(state) => self.set_state(state),
                Action::Tell(BrowserEvent::Failed { failure }) => {
                    self.hub.send(BrowserEvent::Failed { failure: self.with_output(failure) });
                }
                Action::Tell(event) => self.hub.send(event),
                Action::ReloadPages { files } => {
                    let names = names_for_reload(&files);
                    self.terminal.statics(&self.relative(&files), self.reason(&files));
                    self.hub.advance();
                    self.hub.send(BrowserEvent::Reload {
                        generation: self.workers.current(),
                        files: names,
                        restarted: false,
                    });
                }
                Action::SwapStyles { files } => {
                    let names = file_names(&files);
                    self.terminal.css(&self.relative(&files), self.reason(&files));
                    self.hub.send(BrowserEvent::Css { files: names });
                }
                Action::Note(message) => self.terminal.note(&message),
                Action::TellOfEcho { answer, file } => self.tell_of_echo(answer, &file),
                Action::TellOfLeftAlone { file } => self.tell_of_left_alone(&file),
                Action::Report(reload) => self.report(reload),
                Action::ReportCrash { end } => {
                    self.terminal.crash(&end);
                    let output = self.workers.last_output(self.workers.current());
                    self.orders.trouble = Some(Trouble::Crash { end, output });
                }
                Action::SetPaused { paused, files } => self.set_paused(paused, files),
                Action::TellOfPause { file } => {
                    let file = self.relative_to_workspace(&file);
                    self.terminal
                        .note(&format!("{} changed; it waits for the end of the pause", file.display()));
                }
                Action::Exit => over = true,
            }
        }
        over
    }

    fn tell_of_echo(&mut self, answer: Answer, file: &Path) {
        let (what, seldom) = match answer {
            Answer::Pages => ("pages are loaded", "they are loaded"),
            Answer::Styles => ("it is swapped in open pages", "it is swapped"),
            Answer::Start => ("the app is started", "it is started"),
            Answer::Build => ("the app is built", "it is built"),
        };
        let file = self.relative_to_workspace(file);
        self.note(format!(
            "{} changes again whenever {what} because of it, as if the app wrote it: {seldom} less and less often because \
             of it until it comes to rest",
            file.display()
        ));
    }

    fn tell_of_left_alone(&self, file: &Path) {
        let file = self.relative_to_workspace(file);
        self.terminal.note(&format!(
            "{} changes again and again while it is being built: this build is left to finish, and serves until the next \
             one is ready",
            file.display()
        ));
    }

    fn arm(&self, timer: Timer, after: Duration) {
        self.post_after(after, Event::Timer(timer));
    }

    /// Notes how many requests get no answer because their generation is ended.
    fn tell_of_cut_off(&self, generation: u64, reason: StopReason) {
        let hint = match reason {
            StopReason::Replaced => " (--drain-ms gives them more time)",
            StopReason::Crowded => "",
            StopReason::Shutdown | StopReason::HungUp => return,
        };
        let requests = match self.workers.requests_in(generation) {
            0 => return,
            1 => "a request".to_owned(),
            count => format!("{count} requests"),
        };
        self.terminal.note(&format!(
            "{requests} in the old code of #{generation} had no answer yet when it was ended{hint}"
        ));
    }

    fn with_output(&self, failure: Failure) -> Failure {
        failure.with_output(|generation| self.workers.last_output(generation))
    }

    fn swap(&mut self, generation: u64, build_id: String, fresh: bool, release: bool, files: &[PathBuf]) {
        let workers = self.workers.make_current(generation, &self.inputs);
        if workers.is_empty() {
            return;
        }
        if fresh {
            // Before the swap, so that a page of the new generation is not reloaded.
            self.hub.advance();
        }
        self.watching.observer().make_current(generation, fresh);
        if self.terminal.is_verbose() {
            self.uses.tell(self.watching.observer(), &self.terminal, self.workspace.clone());
        }
        self.further.set_current(generation);
        self.gate.swap(workers, release);
        self.status.update(|status| {
            status.generation = generation;
            status.build_id = build_id;
        });
        if fresh {
            self.hub.send(BrowserEvent::Reload {
                generation,
                files: names_for_reload(files),
                restarted: true,
            });
        }
    }

    pub(super) fn set_state(&self, state: ServerState) {
        self.status.update(|status| status.state = state);
    }

    /// Returns why the first of the files matters, or nothing if that is not known.
    fn reason(&self, files: &[impl AsRef<Path>]) -> &str {
        let first = files.first().and_then(|file| self.reasons.get(file.as_ref()));
        first.map_or("", String::as_str)
    }

    fn report(&self, mut reload: Reload) {
        if reload.steps.build_ms == 0.0 {
            self.reason(&reload.files).clone_into(&mut reload.why);
        }
        reload.files =
            reload.files.iter().map(|file| self.relative_to_workspace(file.as_ref()).into()).collect();
        self.terminal.reload(&reload);
        self.status.update(|status| status.reloads.push_back(reload));
    }
}
