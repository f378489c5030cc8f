//! Starts everything the loop needs, and then the loop.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::rt;
use devhost_build::{self as build, Builder};
use devhost_front::Hub;
use devhost_front::gate::Gate;
use devhost_model::{AppKind, Diagnostics, Error, SideProcess, StatusBoard};
use devhost_process::{Argv, Loading};
use devhost_supervisor::{Origin, Settings, Supervisor};
use devhost_sys::parent::Ask;
use devhost_terminal::Terminal;
use devhost_watch::Changes;
use tokio::sync::{Mutex, mpsc};

use super::app_output::AppOutput;
use super::authors::Authors;
use super::config_file::ConfigFile;
use super::foreground::Foreground;
use super::further::Further;
use super::input::{INPUTS_COUNT_MAX, Inputs};
use super::keys::Keys;
use super::launcher::LAUNCHER_END_TIME_MAX;
use super::member::Member;
use super::orders::Orders;
use super::port::{Door, OnServing, PortPlan};
use super::sides::Beside;
use super::signals::Signals;
use super::state::Runner;
use super::stdin::Stdin;
use super::uses::Uses;
use super::watching::Watching;
use super::workers::{Drivers, Workers};

pub(crate) struct Parts {
    pub builder: Builder,
    pub argv: Argv,
    pub loading: Loading,
    /// What cargo has built serves while devhost builds.
    pub looks_for_ready_made: bool,
    pub settings: Settings,
    /// How long a worker may ignore its requests; `None` for ever.
    pub stall_time_max: Option<Duration>,
    /// The front. It has no listener yet if the app is to choose the port.
    pub front: devhost_front::FrontConfig,
    /// How to choose the port, if that is left to the app.
    pub port_plan: Option<PortPlan>,
    /// The front's listeners are inherited sockets.
    pub is_given: bool,
    /// The port of a plain app's main listener; 0 for its first one.
    pub app_port: u16,
    /// Environment files for the app.
    pub env_files: Vec<PathBuf>,
    /// devhost.toml.
    pub config_file: ConfigFile,
    /// The app gets devhost's standard input instead of /dev/null.
    pub stdin: bool,
    /// devhost listens for keys, if it has a terminal.
    pub keys: bool,
    pub watching: (Watching, mpsc::Receiver<Changes>),
    pub terminal: Arc<Terminal>,
    /// Called once the front serves, with its address.
    pub on_serving: OnServing,
}

/// Runs devhost until the user ends it.
pub(crate) fn run(parts: Parts) -> Result<(), Error> {
    on_system(|links| serve(parts, links))
}

/// Runs what `work` makes of the handle of the runtime for links, on this thread.
pub(super) fn on_system<F: Future<Output = Result<(), Error>>>(
    work: impl FnOnce(tokio::runtime::Handle) -> F,
) -> Result<(), Error> {
    let links = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("devhost-link")
        .enable_all()
        .build()
        .map_err(|error| Error::fault(format!("failed to start a runtime: {error}")))?;
    let result = rt::System::new().block_on(work(links.handle().clone()));
    links.shutdown_timeout(LAUNCHER_END_TIME_MAX);
    result
}

async fn serve(parts: Parts, links: tokio::runtime::Handle) -> Result<(), Error> {
    // Before the address is printed: anyone who reads it may end devhost.
    let signals = Signals::new()?;
    let (inputs, received) = mpsc::channel(INPUTS_COUNT_MAX);
    let keys = if parts.keys { Keys::listen(&inputs, &parts.terminal) } else { None };
    let status = parts.status();
    let ground = Ground { links, inputs, keys: keys.map(Rc::new), output: None, member: None };
    let (terminal, stop_time_max) = (Arc::clone(&parts.terminal), parts.settings.stop_time_max);
    let (runner, changes) = assemble(parts, ground, status, |processes, status| {
        Beside::start(processes, &terminal, status, stop_time_max)
    })?;
    Box::pin(runner.run(received, changes, signals)).await
}

/// What a runner stands on.
pub(super) struct Ground {
    pub(super) links: tokio::runtime::Handle,
    pub(super) inputs: Inputs,
    pub(super) keys: Option<Rc<Keys>>,
    pub(super) output: Option<AppOutput>,
    pub(super) member: Option<Rc<Member>>,
}

impl Parts {
    /// Makes the app's status document.
    pub(super) fn status(&self) -> Arc<StatusBoard> {
        let kind = match self.builder.target().kind() {
            AppKind::Plugin => "plugin",
            AppKind::Plain => "plain",
        };
        Arc::new(StatusBoard::new(self.front.app.clone(), kind))
    }
}

/// Opens the port, if it is known, starts the processes beside the app, and makes the runner.
pub(super) fn assemble(
    parts: Parts,
    ground: Ground,
    status: Arc<StatusBoard>,
    sides: impl FnOnce(Vec<SideProcess>, &Arc<StatusBoard>) -> Result<Beside, Error>,
) -> Result<(Runner, mpsc::Receiver<Changes>), Error> {
    let Parts {
        builder,
        argv,
        loading,
        looks_for_ready_made,
        settings,
        stall_time_max,
        front,
        port_plan,
        is_given,
        app_port,
        env_files,
        config_file,
        stdin,
        keys: _,
        watching,
        terminal,
        on_serving,
    } = parts;
    let Ground { links, inputs, keys, output, member } = ground;
    let gate = Gate::new();
    let hub = Hub::new();
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
    let sides = sides(config_file.processes().to_vec(), &status)?;
    let (watching, changes) = watching;
    let authors = Authors::new(builder.written());
    let runner = Runner {
        begun: Instant::now(),
        workers_count: settings.workers,
        supervisor: Supervisor::new(settings),
        workspace: workspace(builder.target()),
        builder: Rc::new(Mutex::new(builder)),
        build: None,
        sides: Rc::new(sides),
        live: None,
        looks_for_ready_made,
        discards: Rc::default(),
        argv,
        loading,
        launchers: HashMap::new(),
        current_launcher: 0,
        origin: Origin::Keeper,
        fresh: HashMap::new(),
        workers: Workers::new(
            gate.clone(),
            drivers,
            stall_time_max,
            watching.places(),
            Arc::clone(watching.observer()),
        ),
        further: Further::default(),
        codes: Vec::new(),
        door,
        app_port,
        env_files,
        config_file,
        stdin,
        foreground,
        keys,
        output,
        member,
        orders: Orders::default(),
        echo: false,
        has_hung_up: false,
        asks: Some(Ask::Terminate),
        notes: HashSet::new(),
        reasons: HashMap::new(),
        uses: Uses::default(),
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
    Ok((runner, changes))
}

/// Returns the directory that reported paths are relative to.
fn workspace(target: &build::Target) -> PathBuf {
    match target {
        build::Target::App(app) => app.workspace_root.clone(),
        build::Target::Prebuilt(prebuilt) => prebuilt.path.parent().map_or_else(PathBuf::new, Path::to_owned),
    }
}
