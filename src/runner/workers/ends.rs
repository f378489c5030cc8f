//! Ends of workers: by themselves, with their launcher, or by devhost.

use devhost_model::{End, StopReason};
use devhost_supervisor::Event;
use devhost_sys::process;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::table::{Phase, Team, Workers};
use super::worker::{Stage, Worker};
use crate::runner::ids::{Reaped, WorkerId, WorkerProcess};

impl Workers {
    /// Fails a generation because a worker did not start. Returns whom to kill: the others.
    pub(in crate::runner) fn fail(&mut self, id: WorkerId) -> Vec<WorkerProcess> {
        self.put_output_last(id);
        self.kill_those(id.generation, |other, _| other != id)
    }

    /// Returns true if a reaped worker may yet say why it ended: its last report comes over another socket
    /// than its launcher's, and so may come later. [`Self::fell_silent`] returns it then.
    pub(in crate::runner) fn may_report(&mut self, reaped: Reaped) -> bool {
        let worker = self.find(reaped.process).and_then(|id| self.by_id.get_mut(&id));
        let is_asked = |worker: &&mut Worker| {
            !worker.ready && !worker.silent && !worker.kill_wanted && worker.condemned.is_none()
        };
        let Some(worker) = worker.filter(is_asked) else { return false };
        worker.stage = Stage::Reaped(reaped);
        true
    }

    /// Returns true if the worker is still waited for, and its pid not another's.
    pub(in crate::runner) fn may_still_report(&self, reaped: Reaped) -> bool {
        self.by_id.values().any(|worker| worker.reaped() == Some(reaped))
    }

    /// Records that a worker's control socket is closed. Returns its end, if it was reaped before.
    pub(in crate::runner) fn fell_silent(&mut self, id: WorkerId) -> Option<Reaped> {
        let worker = self.by_id.get_mut(&id)?;
        worker.silent = true;
        worker.reaped()
    }

    /// Removes a reaped worker. Returns the event for the supervisor, and whom to kill because of it.
    pub(in crate::runner) fn exited(&mut self, reaped: Reaped) -> (Option<Event>, Vec<WorkerProcess>) {
        let Reaped { process, code, signal } = reaped;
        let Some(id) = self.find(process) else { return (None, Vec::new()) };
        let Some(worker) = self.by_id.remove(&id) else { return (None, Vec::new()) };
        let end = match (code, signal) {
            (_, Some(signal)) => End::Signalled { signal },
            (Some(code), None) => End::Exited { code },
            (None, None) => End::Lost,
        };
        worker.close(Some(end.clone()));
        let reported = worker.backend.as_ref().and_then(|backend| backend.reported_end());
        let end = worker.condemned.clone().or(reported).unwrap_or(end);
        let end = end.explained(worker.stopping, || worker.output.last());
        let is_needed = !self.others_serve(id.generation) && !self.is_draining(id.generation);
        let event = self.leave(id, end);
        let killed = if is_needed { self.kill(id.generation) } else { Vec::new() };
        (event, killed)
    }

    /// Returns what the end of an already removed worker means to the supervisor.
    pub(super) fn leave(&mut self, id: WorkerId, end: End) -> Option<Event> {
        let generation = id.generation;
        self.gate.leave(id.number);
        let others_serve = self.others_serve(generation);
        let team = self.teams.get_mut(&generation)?;
        if others_serve {
            return Some(Event::WorkerEnded { generation, end });
        }
        // Later ends are kills caused by the first.
        if team.end.is_none() {
            team.end = Some(end);
            self.put_output_last(id);
        }
        self.forget_if_over(generation)
    }

    /// Forgets a generation without workers, and returns how it ended.
    pub(super) fn forget_if_over(&mut self, generation: u64) -> Option<Event> {
        if self.has(generation) {
            return None;
        }
        let team = self.teams.remove(&generation)?;
        Some(Event::Ended { generation, end: team.end.unwrap_or(End::Lost) })
    }

    /// Removes a dead launcher's workers, and kills their process groups. Returns the generations that have
    /// ended.
    pub(in crate::runner) fn lost(&mut self, launcher: u64) -> Vec<u64> {
        let lost: Vec<u64> = self
            .teams
            .iter()
            .filter(|(_, team)| team.launcher == launcher)
            .map(|(number, _)| *number)
            .collect();
        for generation in &lost {
            let workers: Vec<WorkerId> = self.of(*generation).map(|(id, _)| id).collect();
            for worker in workers.iter().filter_map(|id| self.by_id.remove(id)) {
                if let Some(pid) = worker.pid() {
                    let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
                }
                worker.close(Some(End::Orphaned));
            }
            self.teams.remove(generation);
        }
        lost
    }

    /// Forgets the workers that a stuck launcher has yet to fork, and the generations that need them. Returns
    /// the lost generations, and the pids of workers that run on.
    pub(in crate::runner) fn abandoned(&mut self, launcher: u64) -> (Vec<u64>, Vec<i32>) {
        let of_launcher = |(_, team): &(&u64, &Team)| team.launcher == launcher;
        let generations: Vec<u64> =
            self.teams.iter().filter(of_launcher).map(|(number, _)| *number).collect();
        let (mut lost, mut running) = (Vec::new(), Vec::new());
        for generation in generations {
            let unforked: Vec<WorkerId> = self
                .of(generation)
                .filter(|(_, worker)| worker.stage == Stage::Ordered)
                .map(|(id, _)| id)
                .collect();
            for worker in unforked.iter().filter_map(|id| self.by_id.remove(id)) {
                worker.close(Some(End::Lost));
            }
            let is_starting = self.teams.get(&generation).is_some_and(|team| team.phase == Phase::Starting);
            if is_starting && !unforked.is_empty() {
                for pid in self.kill(generation).into_iter().map(|target| target.pid) {
                    let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
                }
                let rest: Vec<WorkerId> = self.of(generation).map(|(id, _)| id).collect();
                for worker in rest.iter().filter_map(|id| self.by_id.remove(id)) {
                    worker.close(Some(End::Lost));
                }
                self.teams.remove(&generation);
                lost.push(generation);
            } else {
                running.extend(self.of(generation).filter_map(|(_, worker)| worker.pid()));
            }
        }
        (lost, running)
    }

    /// Closes a worker whose control socket hung up: it is dead or dying, so nobody need wait for it. Returns
    /// whom to kill, in case it is neither.
    pub(in crate::runner) fn hung_up(&mut self, id: WorkerId) -> Option<WorkerProcess> {
        let worker = self.by_id.get_mut(&id)?;
        if worker.pid().is_some_and(|pid| !process::is_ending(pid)) {
            worker.stop_for(StopReason::HungUp);
        }
        worker.close(None);
        self.gate.leave(id.number);
        self.kill_one(id)
    }

    /// Closes a worker that has to end; nobody need wait for it. Returns whom to kill.
    pub(in crate::runner) fn condemned(&mut self, id: WorkerId, end: End) -> Option<WorkerProcess> {
        let worker = self.by_id.get_mut(&id)?;
        worker.close(Some(end.clone()));
        worker.condemned.get_or_insert(end);
        self.gate.leave(id.number);
        self.kill_one(id)
    }

    /// The same, for a replacement.
    pub(in crate::runner) fn condemned_replacement(
        &mut self,
        replacement: u64,
        end: End,
    ) -> Option<WorkerProcess> {
        let id = self.find_replacement(replacement)?;
        self.condemned(id, end)
    }

    /// Returns whom to kill; [`Self::forked`] returns it later if the pid is not known yet.
    fn kill_one(&mut self, id: WorkerId) -> Option<WorkerProcess> {
        let launcher = self.teams.get(&id.generation)?.launcher;
        let worker = self.by_id.get_mut(&id)?;
        worker.kill_wanted = true;
        worker.pid().map(|pid| WorkerProcess { launcher, pid })
    }

    /// Marks a generation's workers as unwanted. Returns whom to kill.
    pub(in crate::runner) fn kill(&mut self, generation: u64) -> Vec<WorkerProcess> {
        self.kill_those(generation, |_, _| true)
    }

    pub(super) fn kill_those(
        &mut self,
        generation: u64,
        condition: impl Fn(WorkerId, &Worker) -> bool,
    ) -> Vec<WorkerProcess> {
        let those: Vec<WorkerId> =
            self.of(generation).filter(|(id, worker)| condition(*id, worker)).map(|(id, _)| id).collect();
        those.into_iter().filter_map(|id| self.kill_one(id)).collect()
    }
}
