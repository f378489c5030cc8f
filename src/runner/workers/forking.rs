//! Has a launcher fork workers, and handles its answers.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use devhost_front::gate::Backend;
use devhost_link::{Client, LinkFds};
use devhost_model::{AppKind, End, Error};
use devhost_process::{AppStart, Channel, ForkOrder};
use devhost_supervisor::{Code, Event};
use devhost_sys::output::Output;
use devhost_sys::seqpacket;
use devhost_sys::trail::Trail;

use super::table::{Phase, Team, Workers};
use super::worker::{Stage, Worker, listen, watch};
use crate::runner::ids::{WorkerId, WorkerProcess};
use crate::runner::input::Inputs;
use crate::runner::launcher::Launcher;
use crate::runner::stdin::{self, Stdin};

const OUTPUTS_KEPT_COUNT_MAX: usize = 8;

/// What a generation is started with, beside its code.
#[derive(Debug)]
pub(in crate::runner) struct StartWith<'r> {
    /// Libraries to load before its code, because the launcher has not.
    pub(in crate::runner) libraries: Vec<PathBuf>,
    /// How many workers it has.
    pub(in crate::runner) size: u32,
    /// The port of the app's main listener; 0 for its first one.
    pub(in crate::runner) wanted_port: u16,
    /// The variables of the user's environment files.
    pub(in crate::runner) variables: Vec<(String, String)>,
    /// Its standard input; `None` for /dev/null.
    pub(in crate::runner) stdin: Option<&'r Stdin>,
}

impl Workers {
    /// Has the launcher fork a new generation's workers.
    ///
    /// # Errors
    /// One of them cannot be; those before it have to be killed.
    pub(in crate::runner) fn fork(
        &mut self,
        launcher: &Launcher,
        launcher_number: u64,
        generation: u64,
        code: &Arc<Code>,
        start: StartWith<'_>,
        inputs: &Inputs,
    ) -> Result<Vec<WorkerId>, Error> {
        let StartWith { libraries, size, wanted_port, variables, stdin } = start;
        let team = Team {
            code: Arc::clone(code),
            launcher: launcher_number,
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
            (0..size).map(|_| self.fork_one(launcher, generation, None, stdin, inputs)).collect();
        if forked.is_err() {
            self.forget_if_over(generation);
        }
        forked
    }

    /// Has its launcher fork another worker for a generation.
    pub(in crate::runner) fn replace(
        &mut self,
        launcher: &Launcher,
        generation: u64,
        replacement: u64,
        inputs: &Inputs,
    ) -> Result<WorkerId, Error> {
        self.fork_one(launcher, generation, Some(replacement), None, inputs)
    }

    /// Has one worker forked, with a new link for a plugin app.
    fn fork_one(
        &mut self,
        launcher: &Launcher,
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
        let trail =
            self.spare_trail.take().map_or_else(|| make_trail(&self.places), Ok).map_err(|error| {
                Error::fault(format!(
                    "failed to make room for what a worker does in the file system: {error}"
                ))
            })?;
        let trail = Arc::new(trail);
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
                trail: &trail,
                stdin: stdin.as_ref().map(AsFd::as_fd),
                earlier: self.earlier_sockets(generation, replacement),
            };
            launcher
                .fork(order)
                .map_err(|error| Error::fault(format!("failed to tell the zygote to fork: {error}")))
        };
        let id = WorkerId { generation, number: self.number + 1 };
        let seat = self.observer.seat(generation, trail.clone());
        let backend = match team.code.kind {
            AppKind::Plugin => {
                let (link, client) = self.make_link(generation)?;
                fork(AppStart::Plugin(&link))?;
                // Dropped here: the worker must have the only copy of its end of the link.
                let backend = Backend::new(generation, id.number, client, Some(Arc::clone(&output)));
                backend.set_seat(Arc::clone(&seat));
                Some(backend)
            }
            AppKind::Plain => {
                fork(AppStart::Plain { wanted_port: team.wanted_port })?;
                None
            }
        };
        // While the launcher forks: it takes half a millisecond. Without memory, the next worker tries again.
        self.spare_trail = make_trail(&self.places).ok();
        // The worker must have the only copy, so that its death is a hang-up.
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
            stage: Stage::Ordered,
            control,
            kill_wanted: false,
            silent: false,
            condemned: None,
            stopping: None,
            further: Vec::new(),
            relay: None,
            output: Arc::clone(&output),
            seat,
            _stdin: stdin.and_then(stdin::Input::into_feed),
        };
        self.number = id.number;
        self.by_id.insert(id, worker);
        self.outputs.push_back((id, output));
        while self.outputs.len() > outputs_kept {
            self.outputs.pop_front();
        }
        Ok(id)
    }

    /// Returns the Unix socket files that may be in this worker's way; `None` if there was no earlier worker.
    fn earlier_sockets(&self, generation: u64, replacement: Option<u64>) -> Option<String> {
        let files: Vec<&str> = self.sockets.iter().map(String::as_str).collect();
        (generation > 1 || replacement.is_some()).then(|| files.join(","))
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

    /// Sets the pid of a forked worker: the generation's first one without a pid, since launchers obey in
    /// order. Returns whom to kill, if it is unwanted by now.
    pub(in crate::runner) fn forked(
        &mut self,
        generation: u64,
        pid: i32,
        inputs: &Inputs,
    ) -> Option<WorkerProcess> {
        let id = self.ordered(generation)?;
        let launcher = self.teams.get(&generation)?.launcher;
        let worker = self.by_id.get_mut(&id)?;
        worker.stage = Stage::Running(pid);
        if let Some(backend) = &worker.backend {
            backend.upstream.set_process(pid);
        }
        let wanted = worker.kill_wanted.then_some(WorkerProcess { launcher, pid });
        // It may have been faster than the launcher's report.
        if self.is_serving(id) {
            self.watch_for_stall(id, inputs);
        }
        wanted
    }

    /// Forgets a worker that was not forked. Returns the event for the supervisor, and whom to kill.
    pub(in crate::runner) fn not_forked(
        &mut self,
        generation: u64,
        message: String,
    ) -> (Option<Event>, Vec<WorkerProcess>) {
        let Some(id) = self.ordered(generation) else { return (None, Vec::new()) };
        let Some(worker) = self.by_id.remove(&id) else { return (None, Vec::new()) };
        worker.close(Some(End::Lost));
        let killed = if worker.replacement.is_none() { self.kill(generation) } else { Vec::new() };
        let ended = self.leave(id, End::Lost);
        // If others are left, the last one's end is reported as the generation's.
        if worker.replacement.is_some() {
            return (ended, killed);
        }
        (Some(Event::StartFailed { generation, message, hint: String::new() }), killed)
    }
}

fn make_trail(places: &[PathBuf]) -> io::Result<Trail> {
    Trail::create(&places.iter().map(PathBuf::as_path).collect::<Vec<&Path>>())
}
