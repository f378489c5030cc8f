//! The table of generations and their workers.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use devhost_front::gate::{Backend, Gate};
use devhost_model::{AppKind, End, WorkerStatus};
use devhost_supervisor::Code;
use devhost_sys::output::Output;
use devhost_sys::trail::Trail;
use devhost_watch::Observer;
use nix::unistd::Pid;

use super::drivers::Drivers;
use super::worker::{Stage, Worker};
use crate::runner::ids::{WorkerId, WorkerProcess};

/// What the workers of one generation share.
pub(super) struct Team {
    pub(super) code: Arc<Code>,
    pub(super) launcher: u64,
    pub(super) phase: Phase,
    /// How many workers it needs to be ready.
    pub(super) size: u32,
    /// What its workers load before its code.
    pub(super) libraries: Vec<PathBuf>,
    /// The port of the app's main listener; 0 for its first one.
    pub(super) wanted_port: u16,
    /// The environment files' variables when the generation was forked.
    pub(super) variables: Vec<(String, String)>,
    /// How the first worker ended, if the generation cannot go on without it.
    pub(super) end: Option<End>,
    /// The longest start of a worker.
    pub(super) took: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    Current,
    /// What the supervisor was told last.
    Draining {
        told_idle: bool,
        told_empty: bool,
    },
}

pub(in crate::runner) struct Workers {
    pub(super) by_id: BTreeMap<WorkerId, Worker>,
    pub(super) teams: BTreeMap<u64, Team>,
    /// The newest worker's.
    pub(super) number: u64,
    /// The latest Unix socket files created by workers.
    pub(super) sockets: VecDeque<String>,
    /// What the newest workers, even ended ones, have left.
    pub(super) outputs: VecDeque<(WorkerId, Arc<Output>)>,
    pub(super) gate: Gate,
    pub(super) drivers: Drivers,
    pub(super) stall_time_max: Option<Duration>,
    /// For the next worker.
    pub(super) spare_trail: Option<Trail>,
    /// Where the app may have files of its own.
    pub(super) places: Vec<PathBuf>,
    pub(super) observer: Arc<Observer>,
}

impl Workers {
    /// Makes an empty table.
    /// A worker that ignores its requests for `stall_time_max` is ended, or never if that is `None`.
    /// What the app does in `places` is noted even if they are among the system's.
    pub(in crate::runner) fn new(
        gate: Gate,
        drivers: Drivers,
        stall_time_max: Option<Duration>,
        places: Vec<PathBuf>,
        observer: Arc<Observer>,
    ) -> Self {
        Self {
            by_id: BTreeMap::new(),
            teams: BTreeMap::new(),
            number: 0,
            sockets: VecDeque::new(),
            outputs: VecDeque::new(),
            gate,
            drivers,
            stall_time_max,
            spare_trail: None,
            places,
            observer,
        }
    }

    pub(in crate::runner) fn lives(&self, id: WorkerId) -> bool {
        self.by_id.contains_key(&id)
    }

    pub(in crate::runner) fn has(&self, generation: u64) -> bool {
        self.of(generation).next().is_some()
    }

    pub(super) fn of(&self, generation: u64) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.by_id.range(all_of(generation)).map(|(id, worker)| (*id, worker))
    }

    pub(super) fn backends_of(&self, generation: u64) -> impl Iterator<Item = &Arc<Backend>> {
        self.of(generation).filter_map(|(_, worker)| worker.backend.as_ref())
    }

    /// Returns the worker that the launcher's next report on this generation is about.
    pub(super) fn ordered(&self, generation: u64) -> Option<WorkerId> {
        self.of(generation).find(|(_, worker)| worker.stage == Stage::Ordered).map(|(id, _)| id)
    }

    pub(super) fn find(&self, target: WorkerProcess) -> Option<WorkerId> {
        let is_it = |(id, worker): (&WorkerId, &Worker)| {
            let of_launcher =
                self.teams.get(&id.generation).is_some_and(|team| team.launcher == target.launcher);
            let is_process = worker.pid() == Some(target.pid)
                || worker.reaped().is_some_and(|reaped| reaped.process == target);
            (of_launcher && is_process).then_some(*id)
        };
        self.by_id.iter().find_map(is_it)
    }

    pub(super) fn find_replacement(&self, replacement: u64) -> Option<WorkerId> {
        let is_it = |(_, worker): &(&WorkerId, &Worker)| worker.replacement == Some(replacement);
        self.by_id.iter().find(is_it).map(|(id, _)| *id)
    }

    /// Returns true for a worker that gets requests.
    pub(super) fn is_serving(&self, id: WorkerId) -> bool {
        let is_current = self.teams.get(&id.generation).is_some_and(|team| team.phase == Phase::Current);
        is_current && self.by_id.get(&id).is_some_and(|worker| worker.ready)
    }

    /// Returns true for the current generation, if it has a worker that serves.
    pub(super) fn others_serve(&self, generation: u64) -> bool {
        let is_current = self.teams.get(&generation).is_some_and(|team| team.phase == Phase::Current);
        is_current && self.of(generation).any(|(_, worker)| worker.ready)
    }

    pub(super) fn is_draining(&self, generation: u64) -> bool {
        self.teams.get(&generation).is_some_and(|team| matches!(team.phase, Phase::Draining { .. }))
    }

    /// Returns a worker's replacement number, if it is a replacement.
    pub(in crate::runner) fn replacement(&self, id: WorkerId) -> Option<u64> {
        self.by_id.get(&id).and_then(|worker| worker.replacement)
    }

    pub(in crate::runner) fn groups(&self) -> Vec<Pid> {
        self.by_id.values().filter_map(|worker| worker.pid().map(Pid::from_raw)).collect()
    }

    /// Returns the newest running worker, as far as its launcher has reported.
    pub(in crate::runner) fn newest(&self) -> Option<Pid> {
        let alive = |worker: &&Worker| !worker.kill_wanted;
        self.by_id.values().rev().filter(alive).find_map(Worker::pid).map(Pid::from_raw)
    }

    /// Returns the current generation, or 0 if there is none.
    pub(in crate::runner) fn current(&self) -> u64 {
        self.gate.current().map_or(0, |backend| backend.generation)
    }

    pub(in crate::runner) fn launcher_of(&self, generation: u64) -> Option<u64> {
        self.teams.get(&generation).map(|team| team.launcher)
    }

    pub(in crate::runner) fn code_of(&self, generation: u64) -> Option<&Arc<Code>> {
        self.teams.get(&generation).map(|team| &team.code)
    }

    pub(in crate::runner) fn kind_of(&self, generation: u64) -> Option<AppKind> {
        self.teams.get(&generation).map(|team| team.code.kind)
    }

    /// Returns the artifacts mapped by workers.
    pub(in crate::runner) fn artifacts(&self) -> Vec<PathBuf> {
        self.teams.values().map(|team| team.code.artifact.clone()).collect()
    }

    pub(in crate::runner) fn current_artifact(&self) -> Option<PathBuf> {
        let current = self.teams.values().find(|team| team.phase == Phase::Current);
        current.map(|team| team.code.artifact.clone())
    }

    pub(in crate::runner) fn any_of_launcher(&self, launcher: u64) -> bool {
        self.teams.values().any(|team| team.launcher == launcher)
    }

    pub(in crate::runner) fn status(&self) -> Vec<WorkerStatus> {
        let status = |(id, worker): (&WorkerId, &Worker)| {
            let draining = self.is_draining(id.generation);
            worker.pid().map(|pid| WorkerStatus { pid, generation: id.generation, draining })
        };
        self.by_id.iter().filter_map(status).collect()
    }
}

pub(super) fn all_of(generation: u64) -> RangeInclusive<WorkerId> {
    WorkerId { generation, number: 0 }..=WorkerId { generation, number: u64::MAX }
}
