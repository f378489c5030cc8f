//! The loop: waits for an input, lets the supervisor decide, performs its decisions.

use std::time::Duration;

use devhost_model::{Error, Process, ServerState};
use devhost_supervisor::Event;
use devhost_watch::Changes;
use tokio::sync::mpsc;

use super::input::Input;
use super::launcher::LAUNCHER_END_TIME_MAX;
use super::signals::{Signals, Wish};
use super::state::Runner;

/// How long clients whose requests are cut off have to read why.
const LAST_PAGES_TIME: Duration = Duration::from_millis(100);

impl Runner {
    pub(super) async fn run(
        mut self,
        mut received: mpsc::Receiver<Input>,
        mut changes: mpsc::Receiver<Changes>,
        mut signals: Signals,
    ) -> Result<(), Error> {
        let actions = self.supervisor.begin(self.now());
        if self.perform(actions) {
            return Ok(());
        }
        let mut gate_changes = self.gate.changes();
        let mut cut_off = false;
        let mut ends_asked_count = 0;
        loop {
            let mut acted_on = None;
            let events = tokio::select! {
                wish = signals.recv() => {
                    let ends = matches!(wish, Wish::End(_));
                    ends_asked_count += u32::from(ends);
                    cut_off |= ends && self.gate.finite_count() > 0;
                    self.wished(wish)
                }
                Some(input) = received.recv() => self.translate(input),
                Some(changes) = changes.recv() => {
                    acted_on = Some(changes.report);
                    self.changed(changes)
                }
                Ok(()) = gate_changes.changed(), if self.workers.any_draining() => self.workers.drained(),
            };
            let mut over = false;
            for event in events {
                let event = self.or_code_gone(event);
                if let Event::Ready { generation, .. } = event {
                    self.observed_ready(generation);
                }
                let actions = self.supervisor.handle(self.now(), event);
                over |= self.perform(actions);
            }
            if let Some(report) = acted_on {
                // By now requests are held, if there is reason to.
                self.watching.suspicion().settle(report);
            }
            if let Some(anew) = self.changes_anew.take() {
                changes = anew;
            }
            self.retire_launchers();
            self.further.retain(|worker| self.workers.lives(worker));
            self.settle_foreground();
            self.publish_processes();
            if over {
                break;
            }
        }
        if cut_off {
            tokio::time::sleep(LAST_PAGES_TIME).await;
        }
        self.end(signals, ends_asked_count > 1).await
    }

    /// Ends what is left. Everything here has a deadline.
    async fn end(mut self, mut signals: Signals, is_in_a_hurry: bool) -> Result<(), Error> {
        self.cancel_build();
        self.hub.close();
        if let Some(foreground) = &mut self.foreground {
            foreground.take_back();
        }
        let ends = self.launchers.values().map(|launcher| launcher.end(LAUNCHER_END_TIME_MAX));
        futures_util::future::join_all(ends).await;
        // After the app, which may need them to the last.
        self.sides.end(&mut signals, is_in_a_hurry).await;
        // A cancelled build has been killed once its builder is free again.
        if let Ok(builder) = tokio::time::timeout(LAUNCHER_END_TIME_MAX, self.builder.lock()).await {
            builder.remove_artifacts();
        }
        self.door.close().await;
        // What is typed from now on is the shell's.
        self.keys = None;
        if let Some(output) = self.output.take() {
            output.end().await;
        }
        if let Some(member) = &self.member {
            member.groups.take();
            // The other apps' pages go on showing it.
            self.set_state(ServerState::Failed);
        }
        self.failed.map_or(Ok(()), Err)
    }

    fn publish_processes(&self) {
        if let Some(member) = &self.member {
            member.groups.replace(self.workers.groups());
        }
        let launcher =
            self.launchers.get(&self.current_launcher).map(|launcher| Process { pid: launcher.pid() });
        let workers = self.workers.status();
        self.status.update(|status| {
            status.zygote = launcher;
            status.workers = workers;
        });
    }
}
