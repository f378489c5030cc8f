//! The workers that the runner knows: their links, pids, and what they are doing.
//!
//! The supervisor knows generations; here each has its workers, one or several. What it is told of a generation holds
//! for all of them: it is ready once each is, drained once each is, and has ended once none is left.

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

use super::launcher::Launcher;
use super::relay::Relay;
use super::stdin::{self, Feed, Stdin};
use super::{Input, Inputs, stall};
use devhost_front::gate::{Backend, Gate};
use devhost_front::upstream::SocketClient;
use devhost_link::{Client, LinkFds};
use devhost_model::AppKind;
use devhost_model::Error;
use devhost_model::{End, StopReason, WorkerStatus};
use devhost_process::{AppStart, Channel, ForkOrder, WorkerCommand};
use devhost_supervisor::{Code, Event};
use devhost_sys::output::Output;
use devhost_sys::process;
use devhost_sys::seqpacket;

/// Of how many generations the output is kept.
const OUTPUTS_KEPT_COUNT_MAX: usize = 8;

/// Of how many Unix sockets the files are known.
const SOCKETS_COUNT_MAX: usize = 64;

/// How many further listeners are remembered.
const FURTHER_COUNT_MAX: usize = 64;

/// One worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WorkerId {
    /// Its generation.
    pub generation: u64,
    /// Which worker it is in this run.
    pub number: u64,
}

/// A process as its zygote knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    /// The zygote's number.
    pub zygote: u64,
    /// The process.
    pub pid: i32,
}

struct Worker {
    /// A plain app's has none before it listens.
    backend: Option<Arc<Backend>>,
    /// It can serve.
    ready: bool,
    /// Which replacement it is, if it is one.
    replacement: Option<u64>,
    /// Unknown until the zygote has forked it.
    pid: Option<i32>,
    control: Rc<Channel>,
    kill_wanted: bool,
    /// Why it has to end, where that is devhost's doing.
    condemned: Option<End>,
    /// Why devhost ends it, where that has nothing to do with how it behaves.
    stopping: Option<StopReason>,
    /// The addresses of a plain app's listeners that are not the one that is served.
    further: Vec<String>,
    relay: Option<Relay>,
    output: Arc<Output>,
    /// Its standard input is open as long as it lives.
    _stdin: Option<Feed>,
}

/// The workers of one generation have this in common.
struct Team {
    code: Arc<Code>,
    zygote: u64,
    phase: Phase,
    /// With how many workers it is ready.
    size: u32,
    /// What its workers load before its code.
    libraries: Vec<PathBuf>,
    /// The port that the app's own listener asks for, 0 where the first one is it.
    wanted_port: u16,
    /// As they were when the generation was forked.
    variables: Vec<(String, String)>,
    /// How the first worker ended without which the generation cannot go on.
    end: Option<End>,
    /// The longest start.
    took: Duration,
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

/// What a generation is started with, beside its code.
#[derive(Debug)]
pub(super) struct StartWith<'r> {
    /// What its workers load before its code, because their zygote has not.
    pub libraries: Vec<PathBuf>,
    /// How many workers it has.
    pub size: u32,
    /// The port that the app's own listener asks for, 0 where the first one is it.
    pub wanted_port: u16,
    /// The variables of the user's environment files.
    pub variables: Vec<(String, String)>,
    /// Where it gets its standard input from, if not from /dev/null.
    pub stdin: Option<&'r Stdin>,
}

/// Which runtimes may drive an upstream.
#[derive(Debug)]
pub(super) struct Drivers {
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

/// All workers.
pub(super) struct Workers {
    workers: BTreeMap<WorkerId, Worker>,
    teams: BTreeMap<u64, Team>,
    /// The number of the newest worker.
    number: u64,
    /// The newest files of Unix sockets that workers have made.
    sockets: VecDeque<String>,
    /// What the newest workers have written last, also where they have ended.
    outputs: VecDeque<(WorkerId, Arc<Output>)>,
    gate: Gate,
    drivers: Drivers,
    stall_time_max: Option<Duration>,
}

impl Workers {
    /// No workers yet.
    ///
    /// A worker that stands still for `stall_time_max` while it has requests is ended; without, it never is.
    pub(super) fn new(gate: Gate, drivers: Drivers, stall_time_max: Option<Duration>) -> Self {
        Self {
            workers: BTreeMap::new(),
            teams: BTreeMap::new(),
            number: 0,
            sockets: VecDeque::new(),
            outputs: VecDeque::new(),
            gate,
            drivers,
            stall_time_max,
        }
    }

    /// Has the zygote fork the workers of a new generation. Where one cannot be, none is: those before it have to be
    /// killed.
    pub(super) fn fork(
        &mut self,
        zygote: &Launcher,
        zygote_number: u64,
        generation: u64,
        code: &Arc<Code>,
        start: StartWith<'_>,
        inputs: &Inputs,
    ) -> Result<Vec<WorkerId>, Error> {
        let StartWith { libraries, size, wanted_port, variables, stdin } = start;
        let team = Team {
            code: Arc::clone(code),
            zygote: zygote_number,
            phase: Phase::Starting,
            size,
            libraries,
            wanted_port,
            variables,
            end: None,
            took: Duration::ZERO,
        };
        self.teams.insert(generation, team);
        let forked: Result<Vec<_>, _> =
            (0..size).map(|_| self.fork_one(zygote, generation, None, stdin, inputs)).collect();
        if forked.is_err() {
            self.forget_if_over(generation);
        }
        forked
    }

    /// Has its zygote fork one more worker for a generation.
    pub(super) fn replace(
        &mut self,
        zygote: &Launcher,
        generation: u64,
        replacement: u64,
        inputs: &Inputs,
    ) -> Result<WorkerId, Error> {
        self.fork_one(zygote, generation, Some(replacement), None, inputs)
    }

    /// A plugin app's worker is forked onto a link that is made for it.
    fn fork_one(
        &mut self,
        zygote: &Launcher,
        generation: u64,
        replacement: Option<u64>,
        stdin: Option<&Stdin>,
        inputs: &Inputs,
    ) -> Result<WorkerId, Error> {
        let team = self
            .teams
            .get(&generation)
            .ok_or_else(|| Error::fault(format!("generation {generation} has ended")))?;
        let socket_failed =
            |error| Error::fault(format!("failed to make the control socket of a worker: {error}"));
        let (ours, theirs) = seqpacket::pair().map_err(socket_failed)?;
        let control = Rc::new(Channel::new(ours).map_err(socket_failed)?);
        let output = Arc::new(Output::create().map_err(|error| {
            Error::fault(format!("failed to make room for the output of a worker: {error}"))
        })?);
        let stdin = stdin
            .map(|stdin| stdin.open(generation))
            .transpose()
            .map_err(|error| Error::fault(format!("failed to pass on devhost's standard input: {error}")))?;
        let fork = |how: AppStart<'_>| {
            let order = ForkOrder {
                generation,
                artifact: &team.code.artifact,
                libraries: team.libraries.clone(),
                start: how,
                variables: team.variables.clone(),
                worker: &theirs,
                output: &output,
                stdin: stdin.as_ref().map(AsFd::as_fd),
                earlier: self.earlier_sockets(generation, replacement),
            };
            zygote
                .fork(order)
                .map_err(|error| Error::fault(format!("failed to tell the zygote to fork: {error}")))
        };
        let id = WorkerId { generation, number: self.number + 1 };
        let backend = match team.code.kind {
            AppKind::Plugin => {
                let (link, client) = self.make_link(generation)?;
                fork(AppStart::Plugin(&link))?;
                // Dropped here: the worker's end of the link must be the only one.
                Some(Backend::new(generation, id.number, client, Some(Arc::clone(&output))))
            }
            AppKind::Plain => {
                fork(AppStart::Plain { wanted_port: team.wanted_port })?;
                None
            }
        };
        // The worker's end must be the only one, so that its death is a hang-up.
        drop(theirs);
        let outputs_kept = OUTPUTS_KEPT_COUNT_MAX * team.size as usize;
        listen(id, Rc::clone(&control), inputs.clone());
        if let Some(backend) = &backend {
            watch(id, backend, inputs.clone());
        }
        let worker = Worker {
            backend,
            ready: false,
            replacement,
            pid: None,
            control,
            kill_wanted: false,
            condemned: None,
            stopping: None,
            further: Vec::new(),
            relay: None,
            output: Arc::clone(&output),
            _stdin: stdin.and_then(stdin::Input::into_feed),
        };
        self.number = id.number;
        self.workers.insert(id, worker);
        self.outputs.push_back((id, output));
        while self.outputs.len() > outputs_kept {
            self.outputs.pop_front();
        }
        Ok(id)
    }

    /// The files of Unix sockets that are in the way of this worker, if there was an earlier one whose they may be.
    fn earlier_sockets(&self, generation: u64, replacement: Option<u64>) -> Option<String> {
        let files: Vec<&str> = self.sockets.iter().map(String::as_str).collect();
        (generation > 1 || replacement.is_some()).then(|| files.join(","))
    }

    /// A worker has made the file of a Unix socket.
    pub(super) fn add_socket(&mut self, file: String) {
        self.sockets.push_back(file);
        if self.sockets.len() > SOCKETS_COUNT_MAX {
            self.sockets.pop_front();
        }
    }

    /// True for a worker that has not ended.
    pub(super) fn lives(&self, id: WorkerId) -> bool {
        self.workers.contains_key(&id)
    }

    /// What a generation's worker has written last, where there are several the one that failed; nothing where that is
    /// long ago.
    pub(super) fn last_output(&self, generation: u64) -> String {
        let output = self.outputs.iter().rev().find(|(id, _)| id.generation == generation);
        output.map(|(_, output)| output.last()).unwrap_or_default()
    }

    /// What a worker has written is what explains the failure of its generation.
    fn put_output_last(&mut self, id: WorkerId) {
        if let Some(index) = self.outputs.iter().position(|(of, _)| *of == id)
            && let Some(output) = self.outputs.remove(index)
        {
            self.outputs.push_back(output);
        }
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

    /// The workers of a generation.
    fn of(&self, generation: u64) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.workers.range(all_of(generation)).map(|(id, worker)| (*id, worker))
    }

    /// The ways to a generation.
    fn backends_of(&self, generation: u64) -> impl Iterator<Item = &Arc<Backend>> {
        self.of(generation).filter_map(|(_, worker)| worker.backend.as_ref())
    }

    /// A plain app listens: from now on there is a way to it. False where that is nothing new.
    pub(super) fn connect(&mut self, id: WorkerId, private: SocketAddr, inputs: &Inputs) -> bool {
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.backend.is_none()) else {
            return false;
        };
        let client = {
            let _runtime = self.drivers.choose().enter();
            SocketClient::new(private)
        };
        if let Some(pid) = worker.pid {
            client.set_process(pid);
        }
        let backend = Backend::new(id.generation, id.number, client, Some(Arc::clone(&worker.output)));
        watch(id, &backend, inputs.clone());
        worker.backend = Some(backend);
        true
    }

    /// An app that is reached through its Unix socket listens on a TCP port after all. False where it is not.
    pub(super) fn redirect(&self, id: WorkerId, private: SocketAddr) -> bool {
        let relay = self.workers.get(&id).and_then(|worker| worker.relay.as_ref());
        let relay = relay.filter(|relay| relay.leads_to_unix_socket());
        if let Some(relay) = relay {
            relay.lead_to(private);
        }
        relay.is_some()
    }

    /// The pid of a plain app that has not listened yet.
    pub(super) fn unheard(&self, id: WorkerId) -> Option<i32> {
        self.workers
            .get(&id)
            .filter(|worker| worker.backend.is_none() && !worker.kill_wanted)
            .and_then(|worker| worker.pid)
    }

    /// True for a plain app that has not listened yet.
    pub(super) fn is_unheard(&self, target: Target) -> bool {
        let found = self.find(target).and_then(|id| self.workers.get(&id));
        found.is_some_and(|worker| worker.backend.is_none())
    }

    /// A plain app has another listener.
    pub(super) fn add_further(&mut self, id: WorkerId, address: String) {
        if let Some(worker) = self.workers.get_mut(&id)
            && worker.further.len() < FURTHER_COUNT_MAX
        {
            worker.further.push(address);
        }
    }

    /// The other listeners of a plain app.
    pub(super) fn further(&self, id: WorkerId) -> &[String] {
        self.workers.get(&id).map_or(&[], |worker| &worker.further)
    }

    /// Keeps a relay as long as its worker lives.
    pub(super) fn keep(&mut self, id: WorkerId, relay: Relay) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.relay = Some(relay);
        }
    }

    /// True while a generation has a worker.
    pub(super) fn has(&self, generation: u64) -> bool {
        self.of(generation).next().is_some()
    }

    /// Which replacement a worker is, if it is one.
    pub(super) fn replacement(&self, id: WorkerId) -> Option<u64> {
        self.workers.get(&id).and_then(|worker| worker.replacement)
    }

    /// The zygote has forked a worker of this generation: the first one that was ordered of those that have no pid, as
    /// it obeys in order. Says whom to kill, where that was wanted meanwhile.
    pub(super) fn forked(&mut self, generation: u64, pid: i32, inputs: &Inputs) -> Option<Target> {
        let id = self.ordered(generation)?;
        let zygote = self.teams.get(&generation)?.zygote;
        let worker = self.workers.get_mut(&id)?;
        worker.pid = Some(pid);
        if let Some(backend) = &worker.backend {
            backend.upstream.set_process(pid);
        }
        let wanted = worker.kill_wanted.then_some(Target { zygote, pid });
        // It may have been faster than the zygote's word of it.
        if self.is_serving(id) {
            self.watch_for_stall(id, inputs);
        }
        wanted
    }

    /// The worker that the zygote's next word on this generation is about.
    fn ordered(&self, generation: u64) -> Option<WorkerId> {
        self.of(generation).find(|(_, worker)| worker.pid.is_none()).map(|(id, _)| id)
    }

    /// True for a worker that gets requests.
    fn is_serving(&self, id: WorkerId) -> bool {
        let is_current = self.teams.get(&id.generation).is_some_and(|team| team.phase == Phase::Current);
        is_current && self.workers.get(&id).is_some_and(|worker| worker.ready)
    }

    fn watch_for_stall(&self, id: WorkerId, inputs: &Inputs) {
        let Some(worker) = self.workers.get(&id) else { return };
        if let (Some(backend), Some(pid), Some(limit)) = (&worker.backend, worker.pid, self.stall_time_max) {
            stall::watch(id, backend, pid, self.gate.clone(), limit, inputs.clone());
        }
    }

    /// A worker can serve. Says what that is to the supervisor: its whole generation can, or a replacement.
    pub(super) fn ready(&mut self, id: WorkerId, took: Duration) -> Option<Event> {
        let worker = self.workers.get_mut(&id)?;
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

    /// The start of a worker has failed, and with it that of its generation. Says whom to kill: the others.
    pub(super) fn fail(&mut self, id: WorkerId) -> Vec<Target> {
        self.put_output_last(id);
        self.kill_those(id.generation, |other, _| other != id)
    }

    /// Forgets a worker that the zygote did not fork. Says what that is to the supervisor, and whom to kill.
    pub(super) fn not_forked(&mut self, generation: u64, message: String) -> (Option<Event>, Vec<Target>) {
        let Some(id) = self.ordered(generation) else { return (None, Vec::new()) };
        let Some(worker) = self.workers.remove(&id) else { return (None, Vec::new()) };
        worker.close(Some(End::Lost));
        let killed = if worker.replacement.is_none() { self.kill(generation) } else { Vec::new() };
        let ended = self.leave(id, End::Lost);
        // Where others are left, the end of the last of them is told as the generation's.
        if worker.replacement.is_some() {
            return (ended, killed);
        }
        (Some(Event::StartFailed { generation, message, hint: String::new() }), killed)
    }

    /// A worker was reaped. Says what that is to the supervisor, and whom to kill because of it.
    pub(super) fn exited(
        &mut self,
        target: Target,
        code: Option<i32>,
        signal: Option<i32>,
    ) -> (Option<Event>, Vec<Target>) {
        let Some(id) = self.find(target) else { return (None, Vec::new()) };
        let Some(worker) = self.workers.remove(&id) else { return (None, Vec::new()) };
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

    /// What the end of a worker that has been removed already is to the supervisor.
    fn leave(&mut self, id: WorkerId, end: End) -> Option<Event> {
        let generation = id.generation;
        self.gate.leave(id.number);
        let others_serve = self.others_serve(generation);
        let team = self.teams.get_mut(&generation)?;
        if others_serve {
            return Some(Event::WorkerEnded { generation, end });
        }
        // What ends after the first is killed because of it.
        if team.end.is_none() {
            team.end = Some(end);
            self.put_output_last(id);
        }
        self.forget_if_over(generation)
    }

    /// True where the current generation has a worker that serves.
    fn others_serve(&self, generation: u64) -> bool {
        let is_current = self.teams.get(&generation).is_some_and(|team| team.phase == Phase::Current);
        is_current && self.of(generation).any(|(_, worker)| worker.ready)
    }

    fn is_draining(&self, generation: u64) -> bool {
        self.teams.get(&generation).is_some_and(|team| matches!(team.phase, Phase::Draining { .. }))
    }

    /// Forgets a generation that has no worker left, and says how it ended.
    fn forget_if_over(&mut self, generation: u64) -> Option<Event> {
        if self.has(generation) {
            return None;
        }
        let team = self.teams.remove(&generation)?;
        Some(Event::Ended { generation, end: team.end.unwrap_or(End::Lost) })
    }

    fn find(&self, target: Target) -> Option<WorkerId> {
        let is_it = |(id, worker): (&WorkerId, &Worker)| {
            let of_zygote = self.teams.get(&id.generation).is_some_and(|team| team.zygote == target.zygote);
            (of_zygote && worker.pid == Some(target.pid)).then_some(*id)
        };
        self.workers.iter().find_map(is_it)
    }

    /// A zygote is gone, and its workers with it. What they had started goes too. Says which generations have ended.
    pub(super) fn lost(&mut self, zygote: u64) -> Vec<u64> {
        let lost: Vec<u64> =
            self.teams.iter().filter(|(_, team)| team.zygote == zygote).map(|(number, _)| *number).collect();
        for generation in &lost {
            let workers: Vec<WorkerId> = self.of(*generation).map(|(id, _)| id).collect();
            for worker in workers.iter().filter_map(|id| self.workers.remove(id)) {
                if let Some(pid) = worker.pid {
                    let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
                }
                worker.close(Some(End::Orphaned));
            }
            self.teams.remove(generation);
        }
        lost
    }

    /// A zygote stands still. Forgets the workers that it was to fork, and with them the generations that need them; what
    /// runs, runs on. Says which generations are lost, and which processes run.
    pub(super) fn abandoned(&mut self, zygote: u64) -> (Vec<u64>, Vec<i32>) {
        let of_zygote = |(_, team): &(&u64, &Team)| team.zygote == zygote;
        let generations: Vec<u64> = self.teams.iter().filter(of_zygote).map(|(number, _)| *number).collect();
        let (mut lost, mut running) = (Vec::new(), Vec::new());
        for generation in generations {
            let unforked: Vec<WorkerId> =
                self.of(generation).filter(|(_, worker)| worker.pid.is_none()).map(|(id, _)| id).collect();
            for worker in unforked.iter().filter_map(|id| self.workers.remove(id)) {
                worker.close(Some(End::Lost));
            }
            let is_starting = self.teams.get(&generation).is_some_and(|team| team.phase == Phase::Starting);
            if is_starting && !unforked.is_empty() {
                for pid in self.kill(generation).into_iter().map(|target| target.pid) {
                    let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
                }
                let rest: Vec<WorkerId> = self.of(generation).map(|(id, _)| id).collect();
                for worker in rest.iter().filter_map(|id| self.workers.remove(id)) {
                    worker.close(Some(End::Lost));
                }
                self.teams.remove(&generation);
                lost.push(generation);
            } else {
                running.extend(self.of(generation).filter_map(|(_, worker)| worker.pid));
            }
        }
        (lost, running)
    }

    /// A worker's control socket hung up: it is dead or dying, and whoever waits for it need not wait any longer.
    /// Says whom to kill, should it be neither.
    pub(super) fn hung_up(&mut self, id: WorkerId) -> Option<Target> {
        let worker = self.workers.get_mut(&id)?;
        if worker.pid.is_some_and(|pid| !process::is_ending(pid)) {
            worker.stop_for(StopReason::HungUp);
        }
        worker.close(None);
        self.gate.leave(id.number);
        self.kill_one(id)
    }

    /// A worker has to end, for this reason. Whoever waits for it need not wait any longer. Says whom to kill.
    pub(super) fn condemned(&mut self, id: WorkerId, end: End) -> Option<Target> {
        let worker = self.workers.get_mut(&id)?;
        worker.close(Some(end.clone()));
        worker.condemned.get_or_insert(end);
        self.gate.leave(id.number);
        self.kill_one(id)
    }

    /// The same, for a replacement.
    pub(super) fn condemned_replacement(&mut self, replacement: u64, end: End) -> Option<Target> {
        let id = self.find_replacement(replacement)?;
        self.condemned(id, end)
    }

    fn find_replacement(&self, replacement: u64) -> Option<WorkerId> {
        let is_it = |(_, worker): &(&WorkerId, &Worker)| worker.replacement == Some(replacement);
        self.workers.iter().find(is_it).map(|(id, _)| *id)
    }

    /// Says whom to kill; where its pid is unknown still, [`Self::forked`] says it later.
    fn kill_one(&mut self, id: WorkerId) -> Option<Target> {
        let zygote = self.teams.get(&id.generation)?.zygote;
        let worker = self.workers.get_mut(&id)?;
        worker.kill_wanted = true;
        worker.pid.map(|pid| Target { zygote, pid })
    }

    /// Says whom to kill for a generation.
    pub(super) fn kill(&mut self, generation: u64) -> Vec<Target> {
        self.kill_those(generation, |_, _| true)
    }

    fn kill_those(&mut self, generation: u64, condition: impl Fn(WorkerId, &Worker) -> bool) -> Vec<Target> {
        let those: Vec<WorkerId> =
            self.of(generation).filter(|(id, worker)| condition(*id, worker)).map(|(id, _)| id).collect();
        those.into_iter().filter_map(|id| self.kill_one(id)).collect()
    }

    /// Makes a generation the current one; the one before it drains.
    pub(super) fn make_current(&mut self, generation: u64, inputs: &Inputs) -> Vec<Arc<Backend>> {
        if let Some(team) = self.teams.get_mut(&generation) {
            team.phase = Phase::Current;
        }
        for (id, _) in self.of(generation) {
            self.watch_for_stall(id, inputs);
        }
        self.backends_of(generation).map(Arc::clone).collect()
    }

    /// Lets a replacement serve.
    pub(super) fn join(&self, replacement: u64, inputs: &Inputs) -> Option<Arc<Backend>> {
        let id = self.find_replacement(replacement)?;
        let worker = self.workers.get(&id).filter(|worker| !worker.kill_wanted)?;
        self.watch_for_stall(id, inputs);
        worker.backend.clone()
    }

    /// Tells a generation that nothing new will come. Says whom to kill: replacements that nobody was let into.
    pub(super) fn drain(&mut self, generation: u64) -> Vec<Target> {
        if let Some(team) = self.teams.get_mut(&generation) {
            team.phase = Phase::Draining { told_idle: false, told_empty: false };
        }
        for backend in self.backends_of(generation) {
            backend.upstream.goaway();
        }
        self.kill_those(generation, |_, worker| !worker.ready)
    }

    /// True while some generation drains.
    pub(super) fn any_draining(&self) -> bool {
        self.teams.values().any(|team| matches!(team.phase, Phase::Draining { told_empty: false, .. }))
    }

    /// What is new of the draining generations. Each thing is told once.
    pub(super) fn drained(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for (&generation, team) in &mut self.teams {
            let Phase::Draining { told_idle, told_empty } = &mut team.phase else { continue };
            let (mut finite, mut endless) = (0, 0);
            for (id, _) in self.workers.range(all_of(generation)) {
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

    /// Closes the long-lived streams of a generation.
    pub(super) fn close_streams(&self, generation: u64) {
        self.backends_of(generation).for_each(|backend| backend.close_streams());
    }

    /// How many requests a generation has that end by themselves.
    pub(super) fn requests_in(&self, generation: u64) -> usize {
        self.of(generation).map(|(id, _)| self.gate.visits(id.number).finite).sum()
    }

    /// Tells a generation's workers to stop and exit. Says whom to send a signal for it; one that is not forked yet is killed
    /// when it is.
    pub(super) fn stop(&mut self, generation: u64, reason: StopReason) -> Vec<Target> {
        for worker in self.workers.range_mut(all_of(generation)).map(|(_, worker)| worker) {
            worker.stop_for(reason);
            worker.kill_wanted |= worker.pid.is_none();
        }
        // An app that waits for its connections to end is not to wait for those that nobody uses.
        self.backends_of(generation).for_each(|backend| backend.upstream.goaway());
        let Some(team) = self.teams.get(&generation) else { return Vec::new() };
        match team.code.kind {
            AppKind::Plugin => {
                for (_, worker) in self.of(generation) {
                    // A worker that cannot be told is dead.
                    let _ = worker.control.send(&WorkerCommand::Stop, &[]);
                }
                Vec::new()
            }
            AppKind::Plain => {
                let target = |pid| Target { zygote: team.zygote, pid };
                self.of(generation).filter_map(|(_, worker)| worker.pid.map(target)).collect()
            }
        }
    }

    /// The process groups of all workers.
    pub(super) fn groups(&self) -> Vec<Pid> {
        self.workers.values().filter_map(|worker| worker.pid.map(Pid::from_raw)).collect()
    }

    /// The newest worker that runs, as far as its zygote has said.
    pub(super) fn newest(&self) -> Option<Pid> {
        let alive = |worker: &&Worker| !worker.kill_wanted;
        self.workers.values().rev().filter(alive).find_map(|worker| worker.pid).map(Pid::from_raw)
    }

    /// The current generation, 0 without one.
    pub(super) fn current(&self) -> u64 {
        self.gate.current().map_or(0, |backend| backend.generation)
    }

    /// The zygote that a generation comes from.
    pub(super) fn zygote_of(&self, generation: u64) -> Option<u64> {
        self.teams.get(&generation).map(|team| team.zygote)
    }

    /// The code that a generation has.
    pub(super) fn code_of(&self, generation: u64) -> Option<&Arc<Code>> {
        self.teams.get(&generation).map(|team| &team.code)
    }

    /// How a generation's app is started.
    pub(super) fn kind_of(&self, generation: u64) -> Option<AppKind> {
        self.teams.get(&generation).map(|team| team.code.kind)
    }

    /// The artifacts that workers have mapped.
    pub(super) fn artifacts(&self) -> Vec<PathBuf> {
        self.teams.values().map(|team| team.code.artifact.clone()).collect()
    }

    /// The artifact of the current generation.
    pub(super) fn current_artifact(&self) -> Option<PathBuf> {
        let current = self.teams.values().find(|team| team.phase == Phase::Current);
        current.map(|team| team.code.artifact.clone())
    }

    /// True where a zygote has a worker.
    pub(super) fn any_of_zygote(&self, zygote: u64) -> bool {
        self.teams.values().any(|team| team.zygote == zygote)
    }

    /// The workers for the status document.
    pub(super) fn status(&self) -> Vec<WorkerStatus> {
        let status = |(id, worker): (&WorkerId, &Worker)| {
            let draining = self.is_draining(id.generation);
            worker.pid.map(|pid| WorkerStatus { pid, generation: id.generation, draining })
        };
        self.workers.iter().filter_map(status).collect()
    }
}

fn all_of(generation: u64) -> std::ops::RangeInclusive<WorkerId> {
    WorkerId { generation, number: 0 }..=WorkerId { generation, number: u64::MAX }
}

impl Worker {
    /// From now on its end is devhost's doing.
    fn stop_for(&mut self, reason: StopReason) {
        let reason = *self.stopping.get_or_insert(reason);
        if let Some(backend) = &self.backend {
            backend.set_stopping(reason);
        }
    }

    /// Whoever waits for it need not wait any longer.
    fn close(&self, end: Option<End>) {
        if let Some(backend) = &self.backend {
            if let Some(end) = end {
                backend.set_end(end);
            }
            backend.upstream.close();
        }
    }
}

/// Passes on what a worker says, and that it has gone.
fn listen(worker: WorkerId, control: Rc<Channel>, inputs: Inputs) {
    rt::spawn(async move {
        while let Some((report, fds)) = control.receive_with_fds().await {
            let fd = fds.into_iter().next();
            if inputs.send(Input::Worker { worker, report, fd }).await.is_err() {
                return;
            }
        }
        let _ = inputs.send(Input::WorkerGone { worker }).await;
    });
}

/// Passes on that a worker has broken the way to it.
fn watch(worker: WorkerId, backend: &Arc<Backend>, inputs: Inputs) {
    let client = backend.upstream.clone();
    rt::spawn(async move {
        if let Some(fault) = client.closed().await {
            let end = End::Fault { message: fault.to_string() };
            let _ = inputs.send(Input::WorkerCondemned { worker, end }).await;
        }
    });
}
