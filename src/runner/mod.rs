//! The runner: performs what the supervisor decides, and tells it what happened.
//!
//! It lives on the front's main thread for the life of the process, because the kernel ties a zygote that
//! preloads to the thread that started it. Everything that waits is a task that sends one `Input`; the loop
//! here never waits for anything else. Decisions are the supervisor's alone.

mod attendance;
mod authors;
pub(crate) mod env_files;
mod foreground;
mod further;
mod launcher;
mod names;
mod port;
mod relay;
mod stall;
mod stdin;
mod watching;
mod workers;

use devhost_sys::parent::Ask;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix_web::rt;
use futures_util::FutureExt as _;
use nix::sys::signal::{Signal as Sent, killpg, raise};
use nix::unistd::Pid;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

use authors::Authors;
use devhost_build::{self as build, Builder, Strategy, diagnostics};
use devhost_front::Hub;
use devhost_front::gate::Gate;
use devhost_model::Error;
use devhost_model::{
    AppKind, BrowserEvent, BuildReport, ChangedFiles, Diagnostics, End, Failure, Process, Reload,
    ServerState, StatusBoard, StopReason, ZYGOTE_DEATH,
};
use devhost_process::{Argv, Listening, Loading, Report, WorkerReport};
use devhost_supervisor::{Action, Answer, Code, Event, Origin, Settings, Supervisor, Timer};
use devhost_sys::liveness::{Liveness, Outlook};
use devhost_terminal::Terminal;
use devhost_watch::Changes;
pub(crate) use foreground::dispatch;
use foreground::{Foreground, Typed};
use further::Further;
use launcher::Launcher;
use names::{file_names, names_for_reload};
use port::Door;
pub(crate) use port::{OnServing, PortPlan};
use relay::Relay;
use stdin::Stdin;
pub(crate) use watching::Watching;
use workers::{Drivers, StartWith, Target, WorkerId, Workers};

/// How many inputs may wait for the loop. Whoever sends one more waits.
const INPUTS_COUNT_MAX: usize = 1024;

/// How long clients have to read that devhost is ending, where that cuts their requests off.
const LAST_PAGES_TIME: Duration = Duration::from_millis(100);

/// How long a zygote may take to end when told so.
const ZYGOTE_END_TIME_MAX: Duration = Duration::from_millis(500);

/// How often a worker is looked at whose zygote does not say when it has ended.
const END_LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How long a plain app that listens on a Unix socket has to listen on a TCP port as well.
const UNIX_ALONE_TIME: Duration = Duration::from_millis(500);

/// How often a plain app that has not listened yet is looked at from outside.
const LOOK_INTERVAL: Duration = Duration::from_millis(1000);

/// How long the copy of a process that has ended may take to say that it is a daemon.
const DAEMON_REPORT_TIME: Duration = Duration::from_millis(500);

/// How many different notes of apps are kept apart, so that each is told once.
const NOTES_COUNT_MAX: usize = 64;

/// What the runner is given.
pub(crate) struct Parts {
    /// Builds it.
    pub builder: Builder,
    /// The app's argv.
    pub argv: Argv,
    /// How a generation comes to its code.
    pub loading: Loading,
    /// The times that a user can set.
    pub settings: Settings,
    /// How long a worker may stand still while it has requests; without, for ever.
    pub stall_time_max: Option<Duration>,
    /// The front. It has no listener where the port is the one that the app will ask for.
    pub front: devhost_front::FrontConfig,
    /// Where the port is the app's to choose: how.
    pub port_plan: Option<PortPlan>,
    /// The front's listeners are sockets that devhost was started with.
    pub is_given: bool,
    /// The port that a plain app's own listener asks for, 0 where the first one is it.
    pub app_port: u16,
    /// Files with environment variables for the app.
    pub env_files: Vec<PathBuf>,
    /// The app's standard input is devhost's, and not /dev/null.
    pub stdin: bool,
    /// How changes are seen.
    pub watching: (Watching, mpsc::Receiver<Changes>),
    /// Where the user is told.
    pub terminal: Arc<Terminal>,
    /// Called once the front serves, with its address.
    pub on_serving: OnServing,
}

/// What tasks send to the loop.
#[derive(Debug)]
enum Input {
    Event(Event),
    Built { build: u64, started: SystemTime, outcome: build::Outcome, report: BuildReport },
    Zygote { number: u64, report: Report },
    ZygoteGone { number: u64 },
    ZygoteStuck { number: u64, message: String },
    Worker { worker: WorkerId, report: WorkerReport, fd: Option<OwnedFd> },
    WorkerGone { worker: WorkerId },
    WorkerCondemned { worker: WorkerId, end: End },
    Relayed { worker: WorkerId, micros: u64, path: PathBuf, relay: Relay },
    Look { worker: WorkerId, forked: Instant },
    Typed(Typed),
}

type Inputs = mpsc::Sender<Input>;

/// Runs devhost until the user ends it.
pub(crate) fn run(parts: Parts) -> Result<(), Error> {
    let links = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("devhost-link")
        .enable_all()
        .build()
        .map_err(|error| Error::fault(format!("failed to start a runtime: {error}")))?;
    let result = rt::System::new().block_on(serve(parts, links.handle().clone()));
    links.shutdown_timeout(ZYGOTE_END_TIME_MAX);
    result
}

async fn serve(parts: Parts, links: tokio::runtime::Handle) -> Result<(), Error> {
    let Parts {
        builder,
        argv,
        loading,
        settings,
        stall_time_max,
        front,
        port_plan,
        is_given,
        app_port,
        env_files,
        stdin,
        watching,
        terminal,
        on_serving,
    } = parts;
    let gate = Gate::new();
    let hub = Hub::new();
    let kind = match builder.target().kind() {
        AppKind::Plugin => "plugin",
        AppKind::Plain => "plain",
    };
    let status = Arc::new(StatusBoard::new(front.app.clone(), kind));
    // Before the address is told: whoever has it may end devhost.
    let signals = Signals::new()?;
    let drivers = Drivers { front: Arc::clone(&front.runtime), own: links };
    let mut door = Door::new(front, port_plan, is_given, on_serving);
    door.open_if_known(&gate, &hub, &status, &terminal)?;

    let foreground = if stdin { Foreground::find() } else { None };
    let argv = Argv { at_terminal: foreground.is_some(), ..argv };
    let stdin = if stdin {
        let failed = |error| Error::fault(format!("failed to read devhost's standard input: {error}"));
        Some(Stdin::start(foreground.is_some()).map_err(failed)?)
    } else {
        None
    };
    let (inputs, received) = mpsc::channel(INPUTS_COUNT_MAX);
    let (watching, changes) = watching;
    let authors = Authors::new(builder.written());
    let runner = Runner {
        begun: Instant::now(),
        workers_count: settings.workers,
        supervisor: Supervisor::new(settings),
        workspace: workspace(builder.target()),
        builder: Rc::new(Mutex::new(builder)),
        build: None,
        argv,
        loading,
        zygotes: HashMap::new(),
        zygote: 0,
        origin: Origin::Keeper,
        fresh: HashMap::new(),
        workers: Workers::new(gate.clone(), drivers, stall_time_max),
        further: Further::default(),
        codes: Vec::new(),
        door,
        app_port,
        env_files,
        stdin,
        foreground,
        echo: false,
        has_hung_up: false,
        asks: Some(Ask::Terminate),
        notes: HashSet::new(),
        warnings: Diagnostics::default(),
        authors,
        failed: None,
        first_build_over: false,
        watching,
        changes_anew: None,
        gate,
        hub,
        status,
        terminal,
        inputs,
    };
    runner.run(received, changes, signals).await
}

/// What reported paths are relative to.
fn workspace(target: &build::Target) -> PathBuf {
    match target {
        build::Target::App(app) => app.workspace_root.clone(),
        build::Target::Prebuilt(prebuilt) => prebuilt.path.parent().map_or_else(PathBuf::new, Path::to_owned),
    }
}

/// False where SIGHUP is ignored, which whoever started devhost has seen to.
fn hears_of_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    ignored & (1 << (Sent::SIGHUP as i32 - 1)) == 0
}

/// The next signal, or never, where there is none to come.
async fn received(signal: &mut Option<Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// Nothing where devhost was started to outlive its terminal (`nohup`).
    hang_up: Option<Signal>,
    suspend: Signal,
    proceed: Signal,
}

/// What the user wants by a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// devhost ends, and asks the app in the same way.
    End(Ask),
    /// Ctrl-Z: devhost and the app stand still.
    Suspend,
    /// They go on, in the foreground or not.
    Proceed,
}

impl Signals {
    fn new() -> Result<Self, Error> {
        let listen = |kind| {
            signal(kind).map_err(|error| Error::fault(format!("failed to listen for signals: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: if hears_of_hang_up() { Some(listen(SignalKind::hangup())?) } else { None },
            suspend: listen(SignalKind::from_raw(Sent::SIGTSTP as i32))?,
            proceed: listen(SignalKind::from_raw(Sent::SIGCONT as i32))?,
        })
    }

    async fn recv(&mut self) -> Wish {
        tokio::select! {
            _ = self.interrupt.recv() => Wish::End(Ask::Interrupt),
            _ = self.terminate.recv() => Wish::End(Ask::Terminate),
            Some(_) = received(&mut self.hang_up) => Wish::End(Ask::HangUp),
            _ = self.suspend.recv() => Wish::Suspend,
            _ = self.proceed.recv() => Wish::Proceed,
        }
    }
}

struct Runner {
    begun: Instant,
    supervisor: Supervisor,
    workspace: PathBuf,
    builder: Rc<Mutex<Builder>>,
    build: Option<JoinHandle<()>>,
    argv: Argv,
    loading: Loading,
    /// By number. All but the current one retire: they end with their last worker.
    zygotes: HashMap<u64, Rc<Launcher>>,
    /// The current zygote's number, 0 before the first.
    zygote: u64,
    /// What it was to load.
    origin: Origin,
    /// The zygotes that were started for one generation, by number, and when that was.
    fresh: HashMap<u64, Instant>,
    workers: Workers,
    further: Further,
    /// How many workers a generation has.
    workers_count: u32,
    /// The artifacts that may be forked still: the newest two that were built.
    codes: Vec<Arc<Code>>,
    door: Door,
    app_port: u16,
    env_files: Vec<PathBuf>,
    stdin: Option<Stdin>,
    /// The terminal, where the app has it.
    foreground: Option<Foreground>,
    /// The next word of Ctrl-C from the app's group is no key: it is of a signal that devhost knows of.
    echo: bool,
    /// The terminal has been closed.
    has_hung_up: bool,
    /// How workers are asked to end; nothing where they know already.
    asks: Option<Ask>,
    /// What apps have said already.
    notes: HashSet<String>,
    /// The warnings about the last code that was built.
    warnings: Diagnostics,
    authors: Authors,
    /// Why devhost cannot go on.
    failed: Option<Error>,
    first_build_over: bool,
    watching: Watching,
    /// Where changes come from now on.
    changes_anew: Option<mpsc::Receiver<Changes>>,
    gate: Gate,
    hub: Hub,
    status: Arc<StatusBoard>,
    terminal: Arc<Terminal>,
    inputs: Inputs,
}

impl Runner {
    async fn run(
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
        loop {
            let mut acts_on_changes = false;
            let events = tokio::select! {
                wish = signals.recv() => {
                    cut_off |= matches!(wish, Wish::End(_)) && self.gate.finite_count() > 0;
                    self.wished(wish)
                }
                Some(input) = received.recv() => self.translate(input),
                Some(changes) = changes.recv() => {
                    acts_on_changes = true;
                    self.changed(changes)
                }
                Ok(()) = gate_changes.changed(), if self.workers.any_draining() => self.workers.drained(),
            };
            let mut over = false;
            for event in events {
                let event = self.or_code_gone(event);
                let actions = self.supervisor.handle(self.now(), event);
                over |= self.perform(actions);
            }
            if acts_on_changes {
                // By now requests are held, if there is a reason.
                self.watching.suspicion().settle();
            }
            if let Some(anew) = self.changes_anew.take() {
                changes = anew;
            }
            self.retire_zygotes();
            self.further.retain(|worker| self.workers.lives(worker));
            self.settle_foreground();
            self.publish_processes();
            if over {
                break;
            }
        }
        if cut_off {
            // Those whose requests are cut off by the end get to read that it was the end.
            tokio::time::sleep(LAST_PAGES_TIME).await;
        }
        self.end().await
    }

    /// What is left is killed. Everything has a deadline.
    async fn end(mut self) -> Result<(), Error> {
        self.cancel_build();
        self.hub.close();
        if let Some(foreground) = &mut self.foreground {
            foreground.take_back();
        }
        let ends = self.zygotes.values().map(|zygote| zygote.end(ZYGOTE_END_TIME_MAX));
        futures_util::future::join_all(ends).await;
        // A build that was cancelled has been killed once its builder is free again.
        if let Ok(builder) = tokio::time::timeout(ZYGOTE_END_TIME_MAX, self.builder.lock()).await {
            builder.remove_artifacts();
        }
        self.door.close().await;
        self.failed.map_or(Ok(()), Err)
    }

    fn wished(&mut self, wish: Wish) -> Vec<Event> {
        match wish {
            Wish::End(Ask::HangUp) => self.hung_up(Some(Ask::HangUp)),
            Wish::End(how) => {
                self.echo = how == Ask::Interrupt && self.foreground.is_some();
                self.end_asked(Some(how))
            }
            Wish::Suspend => {
                self.suspend();
                Vec::new()
            }
            // The loop gives the app the terminal, if that is devhost's now.
            Wish::Proceed => Vec::new(),
        }
    }

    /// The user ends devhost; the app is asked as said, or knows it already.
    fn end_asked(&mut self, how: Option<Ask>) -> Vec<Event> {
        self.asks = how;
        self.terminal.stopping();
        self.gate.close();
        vec![Event::Stop]
    }

    /// The terminal has been closed, of which devhost hears by itself, through the app's group, or in both ways.
    fn hung_up(&mut self, how: Option<Ask>) -> Vec<Event> {
        if std::mem::replace(&mut self.has_hung_up, true) { Vec::new() } else { self.end_asked(how) }
    }

    /// Somebody has typed what the terminal tells the app alone, since that is in its foreground.
    fn typed(&mut self, typed: Typed) -> Vec<Event> {
        match typed {
            Typed::Heard(group) => {
                if let Some(foreground) = &mut self.foreground {
                    foreground.lend(group);
                }
                Vec::new()
            }
            Typed::Interrupt if std::mem::take(&mut self.echo) => Vec::new(),
            Typed::Interrupt => self.end_asked(None),
            Typed::HangUp if hears_of_hang_up() => self.hung_up(None),
            Typed::HangUp => Vec::new(),
            Typed::Suspend => {
                self.suspend();
                Vec::new()
            }
        }
    }

    /// Stands still together with the app until somebody continues devhost, as one job of the shell.
    fn suspend(&mut self) {
        if let Some(foreground) = &mut self.foreground {
            foreground.take_back();
        }
        let groups = self.workers.groups();
        for group in &groups {
            let _ = killpg(*group, Sent::SIGTSTP);
        }
        // It returns once devhost goes on: this thread's own signal is taken before anything else.
        if let Err(error) = raise(Sent::SIGSTOP) {
            tracing::warn!("failed to stop: {error}");
        }
        for group in &groups {
            let _ = killpg(*group, Sent::SIGCONT);
        }
    }

    /// The newest worker has the terminal, if the app has it at all; without one it is devhost's.
    fn settle_foreground(&mut self) {
        let newest = self.workers.newest();
        if let Some(foreground) = &mut self.foreground {
            foreground.settle(newest, &self.inputs);
        }
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn changed(&mut self, changes: Changes) -> Vec<Event> {
        let Changes { mut files, problems, at } = changes;
        for problem in problems {
            self.terminal.error(&problem.into());
        }
        // The watcher takes the environment's files for code: it was only told that they matter.
        files.startup.extend(files.code.extract_if(.., |file| self.env_files.contains(file)));
        files.code = self.edits(files.code, at);
        files.inputs = self.edits(files.inputs, at);
        if files.is_empty() {
            return Vec::new();
        }
        vec![Event::Changed { age: at.elapsed(), files, busy: self.gate.was_busy_at(at) }]
    }

    /// Leaves out what the last build has read as it is, or has written itself, and keeps what the one that runs probably
    /// writes.
    fn edits(&mut self, mut files: Vec<PathBuf>, at: Instant) -> Vec<PathBuf> {
        if self.build.is_some() {
            return self.authors.withhold(files, at);
        }
        let Ok(mut builder) = self.builder.try_lock() else { return files };
        let (met, later): (Vec<_>, Vec<_>) =
            files.iter().cloned().partition(|file| builder.may_have_met(file));
        self.authors.forget(later.iter());
        if !met.is_empty() {
            let settled = self.authors.learn_after_build(&builder.traces(&met));
            builder.remember_written(self.authors.own());
            files.retain(|file| !settled.contains(file));
        }
        files
    }

    fn translate(&mut self, input: Input) -> Vec<Event> {
        match input {
            Input::Event(event) => {
                if event == Event::Timer(Timer::Shutdown) && !self.workers.groups().is_empty() {
                    self.terminal.note("the app has not ended in time (--stop-timeout-ms) and is killed");
                }
                vec![event]
            }
            Input::Built { build, started, outcome, report } => {
                let withheld = self.authors.take_withheld();
                let settled = self.settled(withheld.keys().cloned().collect());
                let result = self.built(started, outcome);
                let mut events = vec![Event::BuildEnded { build, report, settled: settled.clone(), result }];
                let edits = withheld.into_iter().filter(|(file, _)| !settled.contains(file));
                let (code, times): (Vec<_>, Vec<_>) = edits.unzip();
                if let Some(at) = times.into_iter().min() {
                    let files = ChangedFiles { code, ..ChangedFiles::default() };
                    events.push(Event::Changed { age: at.elapsed(), files, busy: false });
                }
                events
            }
            Input::Zygote { number, report } => self.zygote_reported(number, report),
            Input::ZygoteGone { number } => self.zygote_gone(number),
            Input::ZygoteStuck { number, message } => self.zygote_stuck(number, &message),
            Input::Worker { worker, report, fd } => self.worker_reported(worker, report, fd),
            Input::Relayed { worker, micros, path, relay } => {
                let asked = path.display().to_string();
                let listening = Listening { asked, port: 0, private: relay.address };
                let (events, is_new) = self.listens(worker, micros, &listening);
                if is_new {
                    self.workers.keep(worker, relay);
                    self.note(format!(
                        "the app listens on the Unix socket {} and no TCP port, so requests go there (--app-port N makes \
                         devhost wait for a port)",
                        path.display()
                    ));
                    if self.workers_count > 1 {
                        self.note(
                            "its processes share that path: the one that took it last gets all requests"
                                .into(),
                        );
                    }
                }
                events
            }
            Input::Look { worker, forked } => self.look(worker, forked),
            Input::Typed(typed) => self.typed(typed),
            Input::WorkerGone { worker } => {
                let target = self.workers.hung_up(worker);
                if let (Some(foreground), Some(target)) = (&mut self.foreground, target) {
                    foreground.ended(Pid::from_raw(target.pid));
                }
                self.kill(target);
                Vec::new()
            }
            Input::WorkerCondemned { worker, end } => {
                let target = self.workers.condemned(worker, end);
                self.kill(target);
                Vec::new()
            }
        }
    }

    fn worker_reported(&mut self, worker: WorkerId, report: WorkerReport, fd: Option<OwnedFd>) -> Vec<Event> {
        let generation = worker.generation;
        let event = match report {
            WorkerReport::Loaded { build_id, plugin, micros } => {
                tracing::debug!("generation {generation} loaded {plugin}");
                match self.workers.replacement(worker) {
                    Some(replacement) => Event::ReplacementLoaded { replacement, build_id },
                    None => Event::Loaded { generation, build_id, took: Duration::from_micros(micros) },
                }
            }
            WorkerReport::Ready { micros, listening: None } => {
                return self.workers.ready(worker, Duration::from_micros(micros)).into_iter().collect();
            }
            WorkerReport::Ready { micros, listening: Some(listening) } => {
                return self.listens(worker, micros, &listening).0;
            }
            WorkerReport::Unix { micros, path } => {
                // Where the port is named, a Unix socket is something else.
                if self.app_port == 0 {
                    self.relay(worker, micros, path, fd);
                }
                return Vec::new();
            }
            WorkerReport::Further { address } => {
                self.note(format!("the app also listens on {address}, which devhost leaves as it is"));
                if let Some(listener) = fd {
                    self.further.add(worker, address.clone(), listener);
                }
                self.workers.add_further(worker, address);
                return Vec::new();
            }
            WorkerReport::Also { asked } => {
                self.reach_by_ipv6(&asked);
                return Vec::new();
            }
            WorkerReport::Socket { file } => {
                self.workers.add_socket(file);
                return Vec::new();
            }
            WorkerReport::NoTerminal => {
                if self.stdin.is_none() {
                    self.note("the app asks for the terminal, which it has with --stdin alone".into());
                }
                return Vec::new();
            }
            WorkerReport::Note { message } => {
                self.note(message);
                return Vec::new();
            }
            WorkerReport::Detached { pid } => {
                tracing::debug!("generation {generation} left its session as {pid}");
                Event::Detached { generation }
            }
            WorkerReport::LoadFailed { message, hint } => return self.start_failed(worker, message, hint),
            WorkerReport::StartFailed { message } => {
                return self.start_failed(
                    worker,
                    format!("the app's start failed: {message}"),
                    String::new(),
                );
            }
        };
        vec![event]
    }

    /// A start that has failed because somebody has removed what was built says nothing about the code.
    fn or_code_gone(&mut self, event: Event) -> Event {
        let is_gone = match &event {
            Event::StartFailed { generation, .. } => {
                self.workers.code_of(*generation).is_some_and(|code| is_gone(code))
            }
            Event::ZygoteFailed { .. } => self.origin.preload().iter().any(|library| !library.exists()),
            _ => false,
        };
        if is_gone { Event::CodeGone } else { event }
    }

    fn start_failed(&mut self, worker: WorkerId, message: String, hint: String) -> Vec<Event> {
        if self.workers.replacement(worker).is_some() {
            // Its end, which follows, is what counts.
            self.note(format!("a worker in the place of one that is gone failed: {message}"));
            return Vec::new();
        }
        let targets = self.workers.fail(worker);
        self.kill(targets);
        vec![Event::StartFailed { generation: worker.generation, message, hint }]
    }

    /// A plain app listens. Says as well whether it is reached there.
    fn listens(&mut self, worker: WorkerId, micros: u64, listening: &Listening) -> (Vec<Event>, bool) {
        if !self.workers.connect(worker, listening.private, &self.inputs) {
            if self.workers.redirect(worker, listening.private) {
                self.open_door(Some(listening.port));
                self.note(format!(
                    "the app listens on {} as well, so requests go there and no longer to its Unix socket (--app-port N \
                     makes devhost wait for a port)",
                    listening.asked
                ));
            }
            return (Vec::new(), false);
        }
        tracing::debug!("{worker:?} asked for {} and has {}", listening.asked, listening.private);
        self.open_door(Some(listening.port));
        if !listening.keeps_its_port() {
            self.reach_by_ipv6(&listening.asked);
        }
        let fixed = listening.keeps_its_port().then_some(Event::KeepsItsPort);
        let ready = self.workers.ready(worker, Duration::from_micros(micros));
        (fixed.into_iter().chain(ready).collect(), true)
    }

    /// Takes the port that the app asks for, or, where that is unknown still and there is something to show, another.
    fn open_door(&mut self, asked: Option<u16>) {
        let opened = self.door.open(asked, &self.gate, &self.hub, &self.status, &self.terminal);
        if let Err(error) = opened {
            self.failed = Some(error);
            self.post(Event::Stop);
        }
    }

    /// An app that asks for an address of IPv6 can be reached by that, too.
    fn reach_by_ipv6(&mut self, asked: &str) {
        let is_ipv6 = asked.parse().is_ok_and(|asked: SocketAddr| asked.ip().to_canonical().is_ipv6());
        if is_ipv6 {
            self.door.open_ipv6(&self.terminal);
        }
    }

    /// An app that listens on a Unix socket and nothing else gets a port for it.
    fn relay(&self, worker: WorkerId, micros: u64, path: PathBuf, file: Option<OwnedFd>) {
        let inputs = self.inputs.clone();
        rt::spawn(async move {
            tokio::time::sleep(UNIX_ALONE_TIME).await;
            match Relay::start(path.clone(), file).await {
                Ok(relay) => {
                    let _ = inputs.send(Input::Relayed { worker, micros, path, relay }).await;
                }
                Err(error) => tracing::warn!("failed to listen for a Unix socket: {error}"),
            }
        });
    }

    /// Looks whether a plain app that was not heard of listens all the same.
    fn look(&mut self, worker: WorkerId, forked: Instant) -> Vec<Event> {
        let Some(pid) = self.workers.unheard(worker) else { return Vec::new() };
        let known = self.workers.further(worker);
        let may_be_it = |address: &SocketAddr| {
            (self.app_port == 0 || address.port() == self.app_port) && !known.contains(&address.to_string())
        };
        let found = devhost_sys::listeners::listening(pid).into_iter().find(may_be_it);
        let Some(address) = found else {
            self.look_later(worker, forked);
            return Vec::new();
        };
        self.note(format!(
            "the app listens on {address} by a way that devhost cannot see (system calls of its own, io_uring): it \
             keeps that port, and the old code has to end before the new one starts"
        ));
        let listening = Listening {
            asked: address.to_string(),
            port: address.port(),
            private: devhost_sys::listeners::reached_at(address),
        };
        let micros = u64::try_from(forked.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.listens(worker, micros, &listening).0
    }

    fn look_later(&self, worker: WorkerId, forked: Instant) {
        let inputs = self.inputs.clone();
        rt::spawn(async move {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let _ = inputs.send(Input::Look { worker, forked }).await;
        });
    }

    /// Tells something of the app, once.
    fn note(&mut self, message: String) {
        if self.notes.len() < NOTES_COUNT_MAX && self.notes.insert(message.clone()) {
            self.terminal.note(&message);
        }
    }

    /// Of the files that changed while the build ran that has just ended, those that are no edits.
    fn settled(&mut self, mut files: Vec<PathBuf>) -> Vec<PathBuf> {
        files.extend_from_slice(self.supervisor.overtaking());
        let Ok(mut builder) = self.builder.try_lock() else { return Vec::new() };
        let settled = self.authors.learn_from_build(&builder.traces(&files));
        builder.remember_written(self.authors.own());
        settled
    }

    fn built(&mut self, started: SystemTime, outcome: build::Outcome) -> Result<Arc<Code>, Failure> {
        self.build = None;
        if !self.first_build_over {
            self.terminal.progress_done();
        }
        match outcome {
            build::Outcome::Built(artifact) => {
                self.first_build_over = true;
                // An edit during the build to a file that it newly names is a change, too.
                self.watch_new_packages();
                self.watching
                    .set_inputs_built_since(artifact.scripts.with_sources(&artifact.sources), started);
                for note in artifact.notes {
                    self.note(note);
                }
                let new = diagnostics::news(&self.warnings, &artifact.warnings);
                self.terminal.warnings(&artifact.warnings, &new);
                self.warnings = artifact.warnings;
                let code = Arc::new(Code {
                    artifact: artifact.path,
                    kind: artifact.kind,
                    build_id: artifact.build_id,
                    origin: match artifact.strategy {
                        Strategy::Fork => Origin::Zygote { preload: artifact.preload },
                        Strategy::Restart => Origin::Keeper,
                    },
                });
                self.codes.push(Arc::clone(&code));
                self.collect_artifacts();
                Ok(code)
            }
            build::Outcome::Failed(failure) => {
                if let Ok(builder) = self.builder.try_lock() {
                    self.watching.doubt(builder.known_inputs(), started);
                }
                Err(failure)
            }
        }
    }

    fn watch_new_packages(&mut self) {
        let Ok(builder) = self.builder.try_lock() else { return };
        match self.watching.follow(builder.target()) {
            Ok(None) => {}
            Ok(anew) => self.changes_anew = anew,
            Err(error) => self.terminal.error(&error.into()),
        }
    }

    /// Deletes artifacts that no worker has mapped and that will not be forked again.
    fn collect_artifacts(&mut self) {
        /// The newest, and the one before it: the last good one should the newest not start. Older ones are kept
        /// as long as a worker has them.
        const CODES_KEPT_COUNT: usize = 2;
        let good = self.workers.current_artifact();
        let excess = self.codes.len().saturating_sub(CODES_KEPT_COUNT);
        let mut index = 0;
        self.codes.retain(|code| {
            index += 1;
            index > excess || Some(&code.artifact) == good.as_ref()
        });
        let mut in_use = self.workers.artifacts();
        for code in &self.codes {
            in_use.push(code.artifact.clone());
            in_use.extend(code.origin.preload().iter().cloned());
        }
        if let Ok(builder) = self.builder.try_lock() {
            builder.collect(&in_use);
        }
    }

    fn zygote_reported(&mut self, number: u64, report: Report) -> Vec<Event> {
        match report {
            Report::Preloaded { .. } if self.fresh.contains_key(&number) => Vec::new(),
            Report::Preloaded { micros } if number == self.zygote => {
                tracing::debug!("zygote {number} preloaded in {} ms", micros / 1000);
                vec![Event::ZygoteReady]
            }
            Report::PreloadFailed { library, message } if number == self.zygote => {
                vec![Event::ZygoteFailed {
                    message: format!("failed to preload {}: {message}", library.display()),
                }]
            }
            Report::Preloaded { .. } | Report::PreloadFailed { .. } => Vec::new(),
            Report::Forked { pid, .. }
                if self.zygotes.get(&number).is_some_and(|zygote| zygote.is_stuck()) =>
            {
                // It goes on after all, and nobody waits for this any more.
                self.kill([Target { zygote: number, pid }]);
                Vec::new()
            }
            Report::Forked { generation, pid, micros } => {
                let target = self.workers.forked(generation, pid, &self.inputs);
                self.kill(target);
                // A process that was started for this generation alone counts from there.
                let fresh = self.fresh.get(&number).map(Instant::elapsed);
                vec![Event::Forked { generation, took: fresh.unwrap_or(Duration::from_micros(micros)) }]
            }
            Report::ForkFailed { generation, message } => {
                let (event, targets) = self.workers.not_forked(generation, message);
                self.kill(targets);
                event.into_iter().collect()
            }
            Report::Exited { pid, code, signal } => {
                let was_typed = signal == Some(Sent::SIGINT as i32) && self.asks.is_some();
                let was_typed =
                    was_typed && self.foreground.as_ref().is_some_and(|f| f.had(Pid::from_raw(pid)));
                if was_typed {
                    // The word of the key comes later.
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
        let target = Target { zygote: number, pid };
        let unheard = self.workers.is_unheard(target);
        let (ended, targets) = self.workers.exited(target, code, signal);
        self.kill(targets);
        let Some(ended) = ended else { return Vec::new() };
        if unheard && code == Some(0) {
            // It may have left a daemon, which is about to say so.
            self.post_after(DAEMON_REPORT_TIME, ended);
            return Vec::new();
        }
        vec![ended]
    }

    fn zygote_gone(&mut self, number: u64) -> Vec<Event> {
        self.fresh.remove(&number);
        let is_current = number == self.zygote;
        if let Some(zygote) = self.zygotes.remove(&number) {
            let terminal = Arc::clone(&self.terminal);
            rt::spawn(async move {
                let status = zygote.end(ZYGOTE_END_TIME_MAX).await;
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

    /// A zygote lives and does nothing: another one takes its place. Its workers serve on, and it ends with the last of
    /// them, as any that is replaced.
    fn zygote_stuck(&mut self, number: u64, message: &str) -> Vec<Event> {
        let Some(zygote) = self.zygotes.get(&number) else { return Vec::new() };
        zygote.give_up();
        self.terminal
            .warn(&format!("the {} stands still: {message}; another one takes its place", zygote.name()));
        self.fresh.remove(&number);
        let (lost, running) = self.workers.abandoned(number);
        for pid in running {
            self.watch_for_end(number, pid);
        }
        if number == self.zygote {
            // A number of its own, so that the end of this one is nobody's death.
            self.zygote += 1;
            return vec![Event::ZygoteDied { lost }];
        }
        lost.into_iter().map(|generation| Event::Ended { generation, end: End::Lost }).collect()
    }

    /// Says that a worker has ended in the place of its zygote, which does not.
    fn watch_for_end(&self, number: u64, pid: i32) {
        let inputs = self.inputs.clone();
        let process = Liveness::open(pid);
        rt::spawn(async move {
            while process.as_ref().is_some_and(|process| process.outlook() != Outlook::Dying) {
                tokio::time::sleep(END_LOOK_INTERVAL).await;
            }
            let report = Report::Exited { pid, code: None, signal: None };
            let _ = inputs.send(Input::Zygote { number, report }).await;
        });
    }

    /// Performs actions in order. True once everything is over.
    fn perform(&mut self, actions: Vec<Action>) -> bool {
        let mut over = false;
        for action in actions {
            match action {
                Action::Build { build, changed } => self.start_build(build, changed),
                Action::CancelBuild => self.cancel_build(),
                Action::StartZygote { origin } => self.start_zygote(&origin),
                Action::KillZygote => self.kill_zygote(),
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
                    // It may be idle already, and then nothing at the gate would change any more.
                    for event in self.workers.drained() {
                        self.post(event);
                    }
                }
                Action::CloseStreams { generation } => self.workers.close_streams(generation),
                Action::StopWorker { generation, reason } => {
                    self.tell_of_cut_off(generation, reason);
                    for Target { zygote, pid } in self.workers.stop(generation, reason) {
                        if let (Some(zygote), Some(how)) = (self.zygotes.get(&zygote), self.asks) {
                            let _ = zygote.ask(pid, how);
                        }
                    }
                }
                Action::KillWorker { generation } => {
                    if !self.workers.has(generation) {
                        // It was never forked, so nothing else will say that it has ended.
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
                    self.terminal.statics(&self.relative(files));
                    self.hub.advance();
                    self.hub.send(BrowserEvent::Reload { generation: self.workers.current(), files: names });
                }
                Action::SwapStyles { files } => {
                    let names = file_names(&files);
                    self.terminal.css(&self.relative(files));
                    self.hub.send(BrowserEvent::Css { files: names });
                }
                Action::Note(message) => self.terminal.note(&message),
                Action::TellOfEcho { answer, file } => {
                    let (what, seldom) = match answer {
                        Answer::Pages => ("pages are loaded", "they are loaded"),
                        Answer::Styles => ("it is swapped in open pages", "it is swapped"),
                        Answer::Start => ("the app is started", "it is started"),
                        Answer::Build => ("the app is built", "it is built"),
                    };
                    let file = self.relative(vec![file]);
                    self.note(format!(
                        "{} changes again whenever {what} because of it, as if the app wrote it: {seldom} less and less \
                         often because of it until it comes to rest",
                        file[0].display()
                    ));
                }
                Action::TellOfLeftAlone { file } => {
                    let file = self.relative(vec![file]);
                    self.terminal.note(&format!(
                        "{} changes again and again while it is being built: this build is left to finish, and serves \
                         until the next one is ready",
                        file[0].display()
                    ));
                }
                Action::Report(reload) => self.report(reload),
                Action::ReportCrash { end } => self.terminal.crash(&end),
                Action::Exit => over = true,
            }
        }
        over
    }

    /// Requests of a generation that is about to be ended get no answer.
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

    fn start_build(&mut self, build: u64, changed: Vec<PathBuf>) {
        let builder = Rc::clone(&self.builder);
        let inputs = self.inputs.clone();
        let show_progress = !self.first_build_over;
        let (terminal, hub) = (Arc::clone(&self.terminal), self.hub.clone());
        self.build = Some(rt::spawn(async move {
            let mut builder = builder.lock().await;
            let mut progress = |progress: build::Progress| {
                if show_progress {
                    let build::Progress { done, total, current } = progress;
                    terminal.progress(done, total, &current);
                    hub.send(BrowserEvent::Progress { done, total, current });
                }
            };
            let started = SystemTime::now();
            let outcome = builder.build(&changed, &mut progress).await;
            let report = builder.last_report().clone();
            drop(builder);
            let _ = inputs.send(Input::Built { build, started, outcome, report }).await;
        }));
    }

    fn cancel_build(&mut self) {
        if let Some(build) = self.build.take() {
            build.abort();
        }
    }

    fn start_zygote(&mut self, origin: &Origin) {
        self.zygote += 1;
        let number = self.zygote;
        self.origin = origin.clone();
        match Launcher::start(origin, &self.argv, self.loading) {
            Ok(zygote) => {
                let zygote = Rc::new(zygote);
                self.zygotes.insert(number, Rc::clone(&zygote));
                attendance::watch(number, zygote.pid(), zygote.attendance(), self.inputs.clone());
                let inputs = self.inputs.clone();
                rt::spawn(async move {
                    while let Some(report) = zygote.report().await {
                        if inputs.send(Input::Zygote { number, report }).await.is_err() {
                            return;
                        }
                    }
                    drop(zygote);
                    let _ = inputs.send(Input::ZygoteGone { number }).await;
                });
            }
            Err(error) => self.post(Event::ZygoteFailed { message: error.message }),
        }
    }

    fn kill_zygote(&mut self) {
        if let Some(zygote) = self.zygotes.remove(&self.zygote) {
            rt::spawn(async move { zygote.end(ZYGOTE_END_TIME_MAX).await });
        }
        // A number of its own, so that the end of the killed one is nobody's death.
        self.zygote += 1;
    }

    /// Ends the zygotes that are not current and have no worker left.
    fn retire_zygotes(&mut self) {
        let current = self.zygote;
        let over: Vec<u64> = self
            .zygotes
            .keys()
            .copied()
            .filter(|number| *number != current && !self.workers.any_of_zygote(*number))
            .collect();
        for number in over {
            if let Some(zygote) = self.zygotes.remove(&number) {
                if zygote.is_stuck() {
                    // It would not hear that it is to end. Without a wait, which the end of devhost might cut off.
                    let _ = zygote.end(Duration::ZERO).now_or_never();
                    continue;
                }
                rt::spawn(async move { zygote.end(ZYGOTE_END_TIME_MAX).await });
            }
        }
    }

    fn fork(&mut self, generation: u64, code: &Arc<Code>) {
        if is_gone(code) {
            self.post(Event::CodeGone);
            return;
        }
        let mut libraries = Vec::new();
        if let Origin::Zygote { preload } = &code.origin {
            if matches!(self.loading, Loading::Worker | Loading::Fresh) {
                libraries.clone_from(preload);
            }
            if self.loading == Loading::Fresh {
                let begun = Instant::now();
                self.start_zygote(&code.origin);
                self.fresh.insert(self.zygote, begun);
            }
        }
        let Some(zygote) = self.zygotes.get(&self.zygote) else {
            // Its end is being reported; the supervisor forks again after that.
            return;
        };
        let forked = env_files::read(&self.env_files).and_then(|variables| {
            let (size, wanted_port) = (self.workers_count, self.app_port);
            let start = StartWith { libraries, size, wanted_port, variables, stdin: self.stdin.as_ref() };
            self.workers.fork(zygote, self.zygote, generation, code, start, &self.inputs)
        });
        match forked {
            Ok(workers) => self.look_at_plain(Some(code.kind), &workers),
            Err(error) => {
                let targets = self.workers.kill(generation);
                self.kill(targets);
                self.post(Event::StartFailed { generation, message: error.message, hint: error.hint });
            }
        }
    }

    fn look_at_plain(&self, kind: Option<AppKind>, workers: &[WorkerId]) {
        if kind == Some(AppKind::Plain) {
            workers.iter().for_each(|worker| self.look_later(*worker, Instant::now()));
        }
    }

    /// Forks one more worker of a generation, from the zygote that it comes from.
    fn replace(&mut self, generation: u64, replacement: u64) {
        let zygote = self.workers.zygote_of(generation).and_then(|number| self.zygotes.get(&number));
        // Its end is being reported, and that of the generation with it.
        let Some(zygote) = zygote else { return };
        if zygote.is_stuck() {
            self.terminal
                .note("its zygote stands still, so this worker is not replaced before the next change");
            return;
        }
        if self.workers.code_of(generation).is_some_and(|code| is_gone(code)) {
            self.post(Event::CodeGone);
            return;
        }
        match self.workers.replace(zygote, generation, replacement, &self.inputs) {
            Ok(worker) => self.look_at_plain(self.workers.kind_of(generation), &[worker]),
            Err(error) => {
                self.terminal.error(&error);
                self.post(Event::WorkerEnded { generation, end: End::Lost });
            }
        }
    }

    fn kill(&self, targets: impl IntoIterator<Item = Target>) {
        for Target { zygote, pid } in targets {
            if let Some(zygote) = self.zygotes.get(&zygote) {
                // A zygote that cannot be told is dead, and its workers with it.
                let _ = zygote.kill(pid);
            }
        }
    }

    fn swap(&mut self, generation: u64, build_id: String, fresh: bool, release: bool, files: &[PathBuf]) {
        let workers = self.workers.make_current(generation, &self.inputs);
        if workers.is_empty() {
            return;
        }
        if fresh {
            // Before the swap, so that a page of the new generation is up to date when it hears of the reload.
            self.hub.advance();
        }
        self.further.set_current(generation);
        self.gate.swap(workers, release);
        self.status.update(|status| {
            status.generation = generation;
            status.build_id = build_id;
        });
        if fresh {
            self.hub.send(BrowserEvent::Reload { generation, files: names_for_reload(files) });
        }
    }

    fn set_state(&self, state: ServerState) {
        self.status.update(|status| status.state = state);
    }

    fn report(&self, mut reload: Reload) {
        reload.files =
            reload.files.iter().map(|file| self.relative_to_workspace(file.as_ref()).into()).collect();
        self.terminal.reload(&reload);
        self.status.update(|status| status.reloads.push_back(reload));
    }

    fn relative(&self, files: Vec<PathBuf>) -> Vec<PathBuf> {
        files.iter().map(|file| self.relative_to_workspace(file)).collect()
    }

    fn relative_to_workspace(&self, file: &Path) -> PathBuf {
        file.strip_prefix(&self.workspace).unwrap_or(file).to_owned()
    }

    fn arm(&self, timer: Timer, after: Duration) {
        self.post_after(after, Event::Timer(timer));
    }

    fn post_after(&self, after: Duration, event: Event) {
        let inputs = self.inputs.clone();
        rt::spawn(async move {
            tokio::time::sleep(after).await;
            let _ = inputs.send(Input::Event(event)).await;
        });
    }

    /// Sends an event to the loop from within it.
    fn post(&self, event: Event) {
        let inputs = self.inputs.clone();
        rt::spawn(async move {
            let _ = inputs.send(Input::Event(event)).await;
        });
    }

    fn publish_processes(&self) {
        let zygote = self.zygotes.get(&self.zygote).map(|zygote| Process { pid: zygote.pid() });
        let workers = self.workers.status();
        self.status.update(|status| {
            status.zygote = zygote;
            status.workers = workers;
        });
    }
}

/// Whether what a worker would load is not there any more.
fn is_gone(code: &Code) -> bool {
    !code.artifact.exists()
}
