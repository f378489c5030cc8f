//! How a generation serves: it is ready, becomes current, drains and stops.

use std::sync::Arc;
use std::time::Duration;

use devhost_front::gate::Backend;
use devhost_model::{AppKind, StopReason};
use devhost_process::WorkerCommand;
use devhost_supervisor::Event;

use super::table::{Phase, Workers, all_of};
use super::worker::Stage;
use crate::runner::ids::{WorkerId, WorkerProcess};
use crate::runner::input::Inputs;
use crate::runner::stall;

impl Workers {
    /// Records that a worker can serve. Returns an event if a whole generation now can, or a replacement.
    pub(in crate::runner) fn ready(&mut self, id: WorkerId, took: Duration) -> Option<Event> {
        // One that was reaped meanwhile has failed to start.
        let worker = self.by_id.get_mut(&id).filter(|worker| worker.reaped().is_none())?;
        worker.ready = true;
        if let Some(replacement) = worker.replacement {
            return Some(Event::ReplacementReady { replacement });
        }
        let team = self.teams.get_mut(&id.generation)?;
        team.took = team.took.max(took);
        let (size, took) = (team.size as usize, team.took);
        let ready = self.of(id.generation).filter(|(_, worker)| worker.ready && !worker.kill_wanted).count();
        (ready == size).then_some(Event::Ready { generation: id.generation, took })
    }

    pub(super) fn watch_for_stall(&self, id: WorkerId, inputs: &Inputs) {
        let Some(worker) = self.by_id.get(&id) else { return };
        if let (Some(backend), Some(pid), Some(limit)) = (&worker.backend, worker.pid(), self.stall_time_max)
        {
            stall::watch(id, backend, pid, self.gate.clone(), limit, inputs.clone());
        }
    }

    /// Makes a generation current; its predecessor drains.
    pub(in crate::runner) fn make_current(&mut self, generation: u64, inputs: &Inputs) -> Vec<Arc<Backend>> {
        if let Some(team) = self.teams.get_mut(&generation) {
            team.phase = Phase::Current;
        }
        for (id, _) in self.of(generation) {
            self.watch_for_stall(id, inputs);
        }
        self.backends_of(generation).map(Arc::clone).collect()
    }

    /// Lets a replacement serve.
    pub(in crate::runner) fn join(&self, replacement: u64, inputs: &Inputs) -> Option<Arc<Backend>> {
        let id = self.find_replacement(replacement)?;
        let worker = self.by_id.get(&id).filter(|worker| !worker.kill_wanted)?;
        self.watch_for_stall(id, inputs);
        worker.backend.clone()
    }

    /// Tells a generation that it gets no new requests. Returns whom to kill: replacements that have not
    /// served yet.
    pub(in crate::runner) fn drain(&mut self, generation: u64) -> Vec<WorkerProcess> {
        if let Some(team) = self.teams.get_mut(&generation) {
            team.phase = Phase::Draining { told_idle: false, told_empty: false };
        }
        for backend in self.backends_of(generation) {
            backend.upstream.goaway();
        }
        self.kill_those(generation, |_, worker| !worker.ready)
    }

    pub(in crate::runner) fn any_draining(&self) -> bool {
        self.teams.values().any(|team| matches!(team.phase, Phase::Draining { told_empty: false, .. }))
    }

    /// Returns what is new of the draining generations, each event once.
    pub(in crate::runner) fn drained(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for (&generation, team) in &mut self.teams {
            let Phase::Draining { told_idle, told_empty } = &mut team.phase else { continue };
            let (mut finite, mut endless) = (0, 0);
            for (id, _) in self.by_id.range(all_of(generation)) {
                let visits = self.gate.visits(id.number);
                finite += visits.finite;
                endless += visits.endless;
            }
            if finite == 0 && !*told_idle {
                *told_idle = true;
                events.push(Event::Idle { generation });
            }
            if finite == 0 && endless == 0 && !*told_empty {
                *told_empty = true;
                events.push(Event::Empty { generation });
            }
        }
        events
    }

    pub(in crate::runner) fn close_streams(&self, generation: u64) {
        self.backends_of(generation).for_each(|backend| backend.close_streams());
    }

    /// Counts a generation's requests, except for endless ones.
    pub(in crate::runner) fn requests_in(&self, generation: u64) -> usize {
        self.of(generation).map(|(id, _)| self.gate.visits(id.number).finite).sum()
    }

    /// Tells a generation's workers to stop and exit. Returns who needs a signal; one that is not forked yet
    /// is killed when it is.
    pub(in crate::runner) fn stop(&mut self, generation: u64, reason: StopReason) -> Vec<WorkerProcess> {
        for worker in self.by_id.range_mut(all_of(generation)).map(|(_, worker)| worker) {
            worker.stop_for(reason);
            worker.kill_wanted |= worker.stage == Stage::Ordered;
        }
        // An app that waits for its connections to end must not wait for unused ones.
        self.backends_of(generation).for_each(|backend| backend.upstream.goaway());
        let Some(team) = self.teams.get(&generation) else { return Vec::new() };
        match team.code.kind {
            AppKind::Plugin => {
                for (_, worker) in self.of(generation) {
                    // A worker that cannot be reached is dead.
                    let _ = worker.control.send(&WorkerCommand::Stop, &[]);
                }
                Vec::new()
            }
            AppKind::Plain => {
                let target = |pid| WorkerProcess { launcher: team.launcher, pid };
                self.of(generation).filter_map(|(_, worker)| worker.pid().map(target)).collect()
            }
        }
    }
}
