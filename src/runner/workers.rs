//! The workers that the runner knows: their links, pids, and what they are doing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::rt;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{Input, Inputs};
use crate::error::Error;
use crate::front::gate::{Entries, Gate, Generation};
use crate::model::{End, WorkerStatus};
use crate::shm::{Client, LinkFds};
use crate::supervisor::{Code, Event};
use crate::sys::seqpacket;
use crate::zygote::client::{Channel, Zygote};
use crate::zygote::control::WorkerCommand;

struct Worker {
    entry: Arc<Generation>,
    artifact: PathBuf,
    zygote: u64,
    /// Unknown until the zygote has forked it.
    pid: Option<i32>,
    control: Rc<Channel>,
    phase: Phase,
    kill_wanted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Current,
    /// What the supervisor was told of it last.
    Draining {
        told_idle: bool,
        told_empty: bool,
    },
}

/// All workers, by generation.
pub struct Workers {
    workers: BTreeMap<u64, Worker>,
    gate: Gate,
    links: tokio::runtime::Handle,
}

impl Workers {
    /// No workers yet. The links are driven by the given runtime.
    pub fn new(gate: Gate, links: tokio::runtime::Handle) -> Self {
        Self { workers: BTreeMap::new(), gate, links }
    }

    /// Makes a link and has the zygote fork a worker onto it.
    pub fn fork(
        &mut self,
        zygote: &Zygote,
        zygote_number: u64,
        generation: u64,
        code: &Code,
        inputs: &Inputs,
    ) -> Result<(), Error> {
        let link = LinkFds::create(generation).map_err(|error| {
            Error::fault(format!("failed to make the link to a worker: {error}")).with_hint(error.hint())
        })?;
        let client = {
            let _runtime = self.links.enter();
            Client::attach(&link).map_err(|error| {
                Error::fault(format!("failed to make the link to a worker: {error}")).with_hint(error.hint())
            })?
        };
        let socket_failed =
            |error| Error::fault(format!("failed to make the control socket of a worker: {error}"));
        let (ours, theirs) = seqpacket::pair().map_err(socket_failed)?;
        let control = Rc::new(Channel::new(ours).map_err(socket_failed)?);
        zygote
            .fork(generation, &code.artifact, &link, &theirs)
            .map_err(|error| Error::fault(format!("failed to tell the zygote to fork: {error}")))?;
        // Ours are closed here: the worker's end must be the only one, so that its death is a hang-up.
        drop((link, theirs));
        listen(generation, Rc::clone(&control), client.clone(), inputs.clone());
        let worker = Worker {
            entry: Generation::new(generation, client),
            artifact: code.artifact.clone(),
            zygote: zygote_number,
            pid: None,
            control,
            phase: Phase::Starting,
            kill_wanted: false,
        };
        self.workers.insert(generation, worker);
        Ok(())
    }

    /// The zygote has forked a worker. Says whom to kill, where that was wanted meanwhile.
    pub fn forked(&mut self, generation: u64, pid: i32) -> Option<(u64, i32)> {
        let worker = self.workers.get_mut(&generation)?;
        worker.pid = Some(pid);
        worker.kill_wanted.then_some((worker.zygote, pid))
    }

    /// Forgets a worker that never ran.
    pub fn remove(&mut self, generation: u64) {
        if let Some(worker) = self.workers.remove(&generation) {
            worker.entry.set_end(End::Lost);
            worker.entry.client.close();
        }
    }

    /// A worker was reaped. Says which generation it was and how it ended.
    pub fn exited(
        &mut self,
        zygote: u64,
        pid: i32,
        code: Option<i32>,
        signal: Option<i32>,
    ) -> Option<(u64, End)> {
        let generation = self
            .workers
            .iter()
            .find(|(_, worker)| worker.zygote == zygote && worker.pid == Some(pid))
            .map(|(generation, _)| *generation)?;
        let worker = self.workers.remove(&generation)?;
        let end = match (code, signal) {
            (_, Some(signal)) => End::Signalled { signal },
            (Some(code), None) => End::Exited { code },
            (None, None) => End::Lost,
        };
        worker.entry.set_end(end);
        worker.entry.client.close();
        Some((generation, worker.entry.reported_end().unwrap_or(End::Lost)))
    }

    /// A zygote is gone, and its workers with it. What they had started goes too.
    pub fn lost(&mut self, zygote: u64) -> Vec<(u64, End)> {
        let lost: Vec<u64> = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.zygote == zygote)
            .map(|(generation, _)| *generation)
            .collect();
        for generation in &lost {
            if let Some(pid) = self.workers.get(generation).and_then(|worker| worker.pid) {
                let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            }
            self.remove(*generation);
        }
        lost.into_iter().map(|generation| (generation, End::Lost)).collect()
    }

    /// A worker's control socket hung up: it is dead or dying, and whoever waits for it need not wait any longer.
    /// Says whom to kill, should it be neither.
    pub fn hung_up(&mut self, generation: u64) -> Option<(u64, i32)> {
        self.workers.get(&generation)?.entry.client.close();
        self.kill(generation)
    }

    /// A worker broke its link. Says whom to kill.
    pub fn faulted(&mut self, generation: u64, message: String) -> Option<(u64, i32)> {
        self.workers.get(&generation)?.entry.set_end(End::Fault { message });
        self.kill(generation)
    }

    /// Says whom to kill for a generation; where its pid is unknown still, [`Self::forked`] says it later.
    pub fn kill(&mut self, generation: u64) -> Option<(u64, i32)> {
        let worker = self.workers.get_mut(&generation)?;
        worker.kill_wanted = true;
        worker.pid.map(|pid| (worker.zygote, pid))
    }

    /// Makes a generation the current one; the one before it drains.
    pub fn make_current(&mut self, generation: u64) -> Option<Arc<Generation>> {
        let worker = self.workers.get_mut(&generation)?;
        worker.phase = Phase::Current;
        Some(Arc::clone(&worker.entry))
    }

    /// Tells a generation that nothing new will come.
    pub fn drain(&mut self, generation: u64) {
        if let Some(worker) = self.workers.get_mut(&generation) {
            worker.phase = Phase::Draining { told_idle: false, told_empty: false };
            worker.entry.client.goaway();
        }
    }

    /// True while some generation drains.
    pub fn any_draining(&self) -> bool {
        self.workers.values().any(|worker| matches!(worker.phase, Phase::Draining { told_empty: false, .. }))
    }

    /// What is new of the draining generations. Each thing is told once.
    pub fn drained(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for (&generation, worker) in &mut self.workers {
            let Phase::Draining { told_idle, told_empty } = &mut worker.phase else { continue };
            let Entries { finite, endless } = self.gate.entries(generation);
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

    /// Closes the long-lived streams of a generation.
    pub fn close_streams(&self, generation: u64) {
        if let Some(worker) = self.workers.get(&generation) {
            worker.entry.close_streams();
        }
    }

    /// Tells a worker to stop and exit.
    pub fn stop(&self, generation: u64) {
        if let Some(worker) = self.workers.get(&generation) {
            // A worker that cannot be told is dead.
            let _ = worker.control.send(&WorkerCommand::Stop, &[]);
        }
    }

    /// The current generation, 0 without one.
    pub fn current(&self) -> u64 {
        self.gate.current().map_or(0, |generation| generation.number)
    }

    /// The artifacts that workers have mapped.
    pub fn artifacts(&self) -> Vec<PathBuf> {
        self.workers.values().map(|worker| worker.artifact.clone()).collect()
    }

    /// The artifact of the current generation.
    pub fn current_artifact(&self) -> Option<PathBuf> {
        let current = self.workers.values().find(|worker| worker.phase == Phase::Current);
        current.map(|worker| worker.artifact.clone())
    }

    /// True where a zygote has a worker.
    pub fn any_of_zygote(&self, zygote: u64) -> bool {
        self.workers.values().any(|worker| worker.zygote == zygote)
    }

    /// The workers for the status document.
    pub fn status(&self) -> Vec<WorkerStatus> {
        let status = |(&generation, worker): (&u64, &Worker)| {
            let draining = matches!(worker.phase, Phase::Draining { .. });
            worker.pid.map(|pid| WorkerStatus { pid, generation, draining })
        };
        self.workers.iter().filter_map(status).collect()
    }
}

/// Passes on what a worker says, and that it has gone or broken its link.
fn listen(generation: u64, control: Rc<Channel>, client: Client, inputs: Inputs) {
    let reports = inputs.clone();
    rt::spawn(async move {
        while let Some(report) = control.receive().await {
            if reports.send(Input::Worker { generation, report }).await.is_err() {
                return;
            }
        }
        let _ = reports.send(Input::WorkerGone { generation }).await;
    });
    rt::spawn(async move {
        if let Some(fault) = client.closed().await {
            let _ = inputs.send(Input::WorkerFault { generation, fault: fault.to_string() }).await;
        }
    });
}
