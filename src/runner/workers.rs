//! The workers that the runner knows: their links, pids, and what they are doing.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix_web::rt;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::runtime::Handle;

use super::forker::Forker;
use super::relay::Relay;
use super::stdin::{self, Feed, Stdin};
use super::{Input, Inputs, stall};
use crate::build::Kind;
use crate::error::Error;
use crate::front::gate::{Entries, Gate, Generation};
use crate::front::upstream::SocketClient;
use crate::model::{End, WorkerStatus};
use crate::shm::{Client, LinkFds};
use crate::supervisor::{Code, Event};
use crate::sys::output::Output;
use crate::sys::seqpacket;
use crate::zygote::client::{Channel, ForkOrder, Start};
use crate::zygote::control::WorkerCommand;

struct Worker {
    /// A plain app's has none before it listens.
    entry: Option<Arc<Generation>>,
    kind: Kind,
    artifact: PathBuf,
    zygote: u64,
    /// Unknown until the zygote has forked it.
    pid: Option<i32>,
    control: Rc<Channel>,
    phase: Phase,
    kill_wanted: bool,
    /// The addresses of a plain app's listeners that are not the one that is served.
    further: Vec<String>,
    relay: Option<Relay>,
    output: Arc<Output>,
    /// Its standard input is open as long as it lives.
    _stdin: Option<Feed>,
}

/// Of how many generations the output is kept.
const OUTPUTS_KEPT_COUNT_MAX: usize = 8;

/// How many further listeners are remembered.
const FURTHER_COUNT_MAX: usize = 64;

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

/// What a worker is started with, beside its code.
#[derive(Debug)]
pub struct StartWith<'r> {
    /// What it loads before its code, because its zygote has not.
    pub libraries: Vec<PathBuf>,
    /// The port that the app's own listener asks for, 0 where the first one is it.
    pub wanted_port: u16,
    /// The variables of the user's environment files.
    pub variables: Vec<(String, String)>,
    /// Where it gets its standard input from, if not from /dev/null.
    pub stdin: Option<&'r Stdin>,
}

/// Which runtimes may drive an upstream.
#[derive(Debug)]
pub struct Drivers {
    /// That of the thread that serves requests, once there is one: an answer is then there without a change of threads.
    pub front: Arc<OnceLock<Handle>>,
    /// One for where nothing serves yet.
    pub own: Handle,
}

impl Drivers {
    fn choose(&self) -> &Handle {
        self.front.get().unwrap_or(&self.own)
    }
}

/// All workers, by generation.
pub struct Workers {
    workers: BTreeMap<u64, Worker>,
    /// What the newest workers have written last, also where they have ended.
    outputs: VecDeque<(u64, Arc<Output>)>,
    gate: Gate,
    drivers: Drivers,
    stall_time_max: Option<Duration>,
}

impl Workers {
    /// No workers yet.
    ///
    /// A worker that stands still for `stall_time_max` while it has requests is ended; without, it never is.
    pub fn new(gate: Gate, drivers: Drivers, stall_time_max: Option<Duration>) -> Self {
        Self { workers: BTreeMap::new(), outputs: VecDeque::new(), gate, drivers, stall_time_max }
    }

    /// Has the zygote fork a worker: a plugin app's onto a link that is made for it.
    pub fn fork(
        &mut self,
        zygote: &Forker,
        zygote_number: u64,
        generation: u64,
        code: &Code,
        start: &StartWith<'_>,
        inputs: &Inputs,
    ) -> Result<(), Error> {
        let socket_failed =
            |error| Error::fault(format!("failed to make the control socket of a worker: {error}"));
        let (ours, theirs) = seqpacket::pair().map_err(socket_failed)?;
        let control = Rc::new(Channel::new(ours).map_err(socket_failed)?);
        let output = Arc::new(Output::create().map_err(|error| {
            Error::fault(format!("failed to make room for the output of a worker: {error}"))
        })?);
        let stdin =
            start.stdin.map(|stdin| stdin.open(generation)).transpose().map_err(|error| {
                Error::fault(format!("failed to pass on devhost's standard input: {error}"))
            })?;
        let fork = |how: Start<'_>| {
            let order = ForkOrder {
                generation,
                artifact: &code.artifact,
                libraries: start.libraries.clone(),
                start: how,
                variables: start.variables.clone(),
                worker: &theirs,
                output: &output,
                stdin: stdin.as_ref().map(AsFd::as_fd),
            };
            zygote
                .fork(order)
                .map_err(|error| Error::fault(format!("failed to tell the zygote to fork: {error}")))
        };
        let entry = match code.kind {
            Kind::Plugin => {
                let (link, client) = self.make_link(generation)?;
                fork(Start::Plugin(&link))?;
                // Dropped here: the worker's end of the link must be the only one.
                Some(Generation::new(generation, client, Some(Arc::clone(&output))))
            }
            Kind::Plain => {
                fork(Start::Plain { wanted_port: start.wanted_port })?;
                None
            }
        };
        // The worker's end must be the only one, so that its death is a hang-up.
        drop(theirs);
        listen(generation, Rc::clone(&control), inputs.clone());
        if let Some(entry) = &entry {
            watch(entry, inputs.clone());
        }
        let worker = Worker {
            entry,
            kind: code.kind,
            artifact: code.artifact.clone(),
            zygote: zygote_number,
            pid: None,
            control,
            phase: Phase::Starting,
            kill_wanted: false,
            further: Vec::new(),
            relay: None,
            output: Arc::clone(&output),
            _stdin: stdin.and_then(stdin::Input::into_feed),
        };
        self.workers.insert(generation, worker);
        self.outputs.push_back((generation, output));
        while self.outputs.len() > OUTPUTS_KEPT_COUNT_MAX {
            self.outputs.pop_front();
        }
        Ok(())
    }

    /// What a worker has written last; nothing where that is long ago.
    pub fn last_output(&self, generation: u64) -> String {
        let output = self.outputs.iter().rev().find(|(number, _)| *number == generation);
        output.map(|(_, output)| output.last()).unwrap_or_default()
    }

    fn make_link(&self, generation: u64) -> Result<(LinkFds, Client), Error> {
        let link = LinkFds::create(generation).map_err(|error| {
            Error::fault(format!("failed to make the link to a worker: {error}")).with_hint(error.hint())
        })?;
        let client = {
            let _runtime = self.drivers.choose().enter();
            Client::attach(&link).map_err(|error| {
                Error::fault(format!("failed to make the link to a worker: {error}")).with_hint(error.hint())
            })?
        };
        Ok((link, client))
    }

    /// A plain app listens: from now on there is a way to it. False where that is nothing new.
    pub fn connect(&mut self, generation: u64, private: SocketAddr, inputs: &Inputs) -> bool {
        let Some(worker) = self.workers.get_mut(&generation).filter(|worker| worker.entry.is_none()) else {
            return false;
        };
        let client = {
            let _runtime = self.drivers.choose().enter();
            SocketClient::new(private)
        };
        let entry = Generation::new(generation, client, Some(Arc::clone(&worker.output)));
        watch(&entry, inputs.clone());
        worker.entry = Some(entry);
        true
    }

    /// An app that is reached through its Unix socket listens on a TCP port after all. False where it is not.
    pub fn redirect(&self, generation: u64, private: SocketAddr) -> bool {
        let relay = self.workers.get(&generation).and_then(|worker| worker.relay.as_ref());
        let relay = relay.filter(|relay| relay.leads_to_unix_socket());
        if let Some(relay) = relay {
            relay.lead_to(private);
        }
        relay.is_some()
    }

    /// The pid of a plain app that has not listened yet.
    pub fn unheard(&self, generation: u64) -> Option<i32> {
        self.workers
            .get(&generation)
            .filter(|worker| worker.kind == Kind::Plain && worker.entry.is_none() && !worker.kill_wanted)
            .and_then(|worker| worker.pid)
    }

    /// True for a plain app that has not listened yet.
    pub fn is_unheard(&self, zygote: u64, pid: i32) -> bool {
        let mut workers = self.workers.values();
        workers.any(|worker| {
            let is_it = worker.zygote == zygote && worker.pid == Some(pid);
            is_it && worker.kind == Kind::Plain && worker.entry.is_none()
        })
    }

    /// A plain app has another listener.
    pub fn add_further(&mut self, generation: u64, address: String) {
        if let Some(worker) = self.workers.get_mut(&generation)
            && worker.further.len() < FURTHER_COUNT_MAX
        {
            worker.further.push(address);
        }
    }

    /// The other listeners of a plain app.
    pub fn further(&self, generation: u64) -> &[String] {
        self.workers.get(&generation).map_or(&[], |worker| &worker.further)
    }

    /// Keeps a relay as long as its worker lives.
    pub fn keep(&mut self, generation: u64, relay: Relay) {
        if let Some(worker) = self.workers.get_mut(&generation) {
            worker.relay = Some(relay);
        }
    }

    /// True while a generation has a worker.
    pub fn has(&self, generation: u64) -> bool {
        self.workers.contains_key(&generation)
    }

    /// The zygote has forked a worker. Says whom to kill, where that was wanted meanwhile.
    pub fn forked(&mut self, generation: u64, pid: i32, inputs: &Inputs) -> Option<(u64, i32)> {
        let worker = self.workers.get_mut(&generation)?;
        worker.pid = Some(pid);
        let wanted = worker.kill_wanted.then_some((worker.zygote, pid));
        // It may have been faster than the zygote's word of it.
        if matches!(worker.phase, Phase::Current) {
            self.watch_for_stall(generation, inputs);
        }
        wanted
    }

    fn watch_for_stall(&self, generation: u64, inputs: &Inputs) {
        let Some(worker) = self.workers.get(&generation) else { return };
        if let (Some(entry), Some(pid), Some(limit)) = (&worker.entry, worker.pid, self.stall_time_max) {
            stall::watch(entry, pid, self.gate.clone(), limit, inputs.clone());
        }
    }

    /// Forgets a worker that never ran.
    pub fn remove(&mut self, generation: u64) {
        if let Some(worker) = self.workers.remove(&generation) {
            worker.close(Some(End::Lost));
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
        worker.close(Some(end.clone()));
        let reported = worker.entry.and_then(|entry| entry.reported_end());
        Some((generation, reported.unwrap_or(end)))
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
        self.workers.get(&generation)?.close(None);
        self.kill(generation)
    }

    /// A worker has to end, for this reason. Whoever waits for it need not wait any longer. Says whom to kill.
    pub fn condemned(&mut self, generation: u64, end: End) -> Option<(u64, i32)> {
        self.workers.get(&generation)?.close(Some(end));
        self.kill(generation)
    }

    /// Says whom to kill for a generation; where its pid is unknown still, [`Self::forked`] says it later.
    pub fn kill(&mut self, generation: u64) -> Option<(u64, i32)> {
        let worker = self.workers.get_mut(&generation)?;
        worker.kill_wanted = true;
        worker.pid.map(|pid| (worker.zygote, pid))
    }

    /// Makes a generation the current one; the one before it drains.
    pub fn make_current(&mut self, generation: u64, inputs: &Inputs) -> Option<Arc<Generation>> {
        let worker = self.workers.get_mut(&generation)?;
        let entry = Arc::clone(worker.entry.as_ref()?);
        worker.phase = Phase::Current;
        self.watch_for_stall(generation, inputs);
        Some(entry)
    }

    /// Tells a generation that nothing new will come.
    pub fn drain(&mut self, generation: u64) {
        if let Some(worker) = self.workers.get_mut(&generation) {
            worker.phase = Phase::Draining { told_idle: false, told_empty: false };
            if let Some(entry) = &worker.entry {
                entry.client.goaway();
            }
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
        if let Some(entry) = self.workers.get(&generation).and_then(|worker| worker.entry.as_ref()) {
            entry.close_streams();
        }
    }

    /// Tells a worker to stop and exit. Says whom to send a SIGTERM for it.
    pub fn stop(&self, generation: u64) -> Option<(u64, i32)> {
        let worker = self.workers.get(&generation)?;
        match worker.kind {
            Kind::Plugin => {
                // A worker that cannot be told is dead.
                let _ = worker.control.send(&WorkerCommand::Stop, &[]);
                None
            }
            Kind::Plain => worker.pid.map(|pid| (worker.zygote, pid)),
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

impl Worker {
    /// Whoever waits for it need not wait any longer.
    fn close(&self, end: Option<End>) {
        if let Some(entry) = &self.entry {
            if let Some(end) = end {
                entry.set_end(end);
            }
            entry.client.close();
        }
    }
}

/// Passes on what a worker says, and that it has gone.
fn listen(generation: u64, control: Rc<Channel>, inputs: Inputs) {
    rt::spawn(async move {
        while let Some(report) = control.receive().await {
            if inputs.send(Input::Worker { generation, report }).await.is_err() {
                return;
            }
        }
        let _ = inputs.send(Input::WorkerGone { generation }).await;
    });
}

/// Passes on that a worker has broken the way to it.
fn watch(entry: &Arc<Generation>, inputs: Inputs) {
    let (generation, client) = (entry.number, entry.client.clone());
    rt::spawn(async move {
        if let Some(fault) = client.closed().await {
            let end = End::Fault { message: fault.to_string() };
            let _ = inputs.send(Input::WorkerCondemned { generation, end }).await;
        }
    });
}
