//! `devhost run`: finds the app, binds the port, starts watching, and hands over to the runner.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::configured::{self, Chosen};
use super::doctor::Serving;
use super::guess;
use super::line::Line;
use super::package;
use super::several;
use crate::cli::{Command, DebugInfo, Deps, PORT_DEFAULT, RunArgs, Strategy};
use crate::runner::{self, ConfigFile, Early, Occasion, Parts, PortPlan, Said, Watching, scope};
use devhost_build::{self as build, Builder, Settings, Target};
use devhost_front::FrontConfig;
use devhost_model::AppKind;
use devhost_model::Error;
use devhost_process::{Argv, Loading};
use devhost_sys::{inherited, limits};
use devhost_sys::{listen, network};
use devhost_terminal::{Format, Terminal};
use devhost_watch::Mode;

/// Runs until the user ends it.
pub(super) fn run(line: Line, own: RunArgs) -> ExitCode {
    let begun = Instant::now();
    let mut terminal = Arc::new(Terminal::new(own.message_format, own.verbose > 0));
    let result = choose(&line, &own).and_then(|(mut chosen, cwd)| {
        if chosen.len() > 1 {
            return several::serve(line, chosen, &cwd, begun, &mut terminal);
        }
        let (args, file) = match chosen.pop() {
            Some(app) => configure(Rc::new(line), app, &cwd)?,
            None => (own, ConfigFile::default()),
        };
        start_log(args.verbose);
        terminal = Arc::new(Terminal::new(args.message_format, args.verbose > 0));
        let listeners = inherited_listeners(&args, &terminal)?;
        runner::run(prepare(args, file, begun, &terminal, None, listeners)?)
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Finds the apps that are meant.
fn choose(line: &Line, own: &RunArgs) -> Result<(Vec<Chosen>, PathBuf), Error> {
    // Without a directory to look in, it is said later.
    let Ok(cwd) = std::env::current_dir() else { return Ok((Vec::new(), PathBuf::new())) };
    Ok((configured::choose(line, &own.app, &cwd)?, cwd))
}

/// Completes the command line by what devhost.toml says of the app.
pub(super) fn configure(line: Rc<Line>, app: Chosen, cwd: &Path) -> Result<(RunArgs, ConfigFile), Error> {
    let args = run_args(app.command(&line)?)?;
    let said = Said { settings: app.settings(&line), env_files: in_directory(cwd, &args.env_files) };
    let (paths, cwd) = (app.paths().to_owned(), cwd.to_owned());
    let again = move || {
        let app = app.read_again()?;
        let args = run_args(app.command(&line)?)?;
        Ok(Said { settings: app.settings(&line), env_files: in_directory(&cwd, &args.env_files) })
    };
    Ok((args, ConfigFile::new(paths, said, again)))
}

fn run_args(command: Command) -> Result<RunArgs, Error> {
    match command {
        Command::Run(args) => Ok(*args),
        _ => Err(Error::fault("another command than `run` was completed")),
    }
}

pub(super) fn in_directory(directory: &Path, files: &[PathBuf]) -> Vec<PathBuf> {
    files.iter().map(|file| directory.join(file)).collect()
}

/// Starts devhost's own log, for its developers: `-vv`, or `DEVHOST_LOG` with a filter.
pub(super) fn start_log(verbose: u8) {
    let filter = std::env::var("DEVHOST_LOG").ok().or_else(|| (verbose > 1).then(|| "devhost=debug".into()));
    if let Some(mut filter) = filter {
        if !filter.contains("actix_http") {
            // It reports each response cut off on purpose as a server error.
            filter.push_str(",actix_http::h1::dispatcher=off");
        }
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
            .with_writer(std::io::stderr)
            .init();
    }
}

/// Prepares everything that the runner of an app needs. `title` is what people call it, if it is one of several.
pub(super) fn prepare(
    args: RunArgs,
    file: ConfigFile,
    begun: Instant,
    terminal: &Arc<Terminal>,
    title: Option<&str>,
    mut listeners: Vec<TcpListener>,
) -> Result<Parts, Error> {
    listen::permit(args.host, args.allow_remote)?;
    if args.stdin && args.workers > 1 {
        return Err(Error::mistake(
            "several workers cannot read one standard input",
            "leave out --stdin or --workers",
        ));
    }
    let cwd = std::env::current_dir().map_err(|error| {
        Error::mistake(
            format!("the current directory cannot be used: {error}"),
            "change to a directory that exists",
        )
    })?;
    let devhost = std::env::current_exe()
        .map_err(|error| Error::fault(format!("failed to find the devhost executable: {error}")))?;
    let (settings, target) = find_target(&args, &cwd, terminal)?;
    let env_files = in_directory(&cwd, &args.env_files);
    let from_files = runner::env_files::read(&env_files, file.env())?;
    let mode = if args.poll { Mode::Poll } else { Mode::Native };
    let watching = Watching::start(scope(&target, &cwd, &env_files, file.paths(), file.rules()?), mode)?;
    let apps_choice = listeners.is_empty() && args.port.is_none() && target.kind() == AppKind::Plain;
    let is_given = !listeners.is_empty();
    let guess = || guess(&target, title, &from_files, &file);
    let port_plan = apps_choice.then(|| plan_port(&args, &target, guess()));
    let early = match &port_plan {
        Some(plan) => plan.open_early(terminal)?,
        None if is_given => Early::Unknown,
        None => {
            let port = args.port.unwrap_or(PORT_DEFAULT);
            Early::Expected(runner::port::bind(args.host, port, args.strict_port, terminal)?)
        }
    };
    let is_guess = matches!(early, Early::Guessed(_));
    listeners.extend(early.into_listener());
    let (name, variables) = (target.name().to_owned(), target.variables().to_vec());
    let (place, session) = (Serving::place(&target), new_session());
    let target_root = match &target {
        Target::App(app) => app.workspace_root.clone(),
        Target::Prebuilt(_) => cwd,
    };
    limits::raise_descriptors();
    let builder = Builder::new(target, settings, &devhost)?;
    let notices = Arc::clone(terminal);
    let app = title.map_or_else(|| name.clone(), str::to_owned);
    let shown = app.clone();
    Ok(Parts {
        builder,
        argv: Argv {
            name: name.clone(),
            args: args.app_args,
            variables,
            at_terminal: false,
            stdout_is_taken: args.message_format == Format::Json,
            output: None,
        },
        loading: args.hidden.loading,
        // With `--strategy fork` nothing else than a fork is wanted.
        looks_for_ready_made: args.strategy != Strategy::Fork && args.hidden.loading == Loading::Preloaded,
        settings: devhost_supervisor::Settings {
            hold: !args.no_hold,
            overlap: !args.no_overlap,
            workers: args.workers,
            start_time_max: Duration::from_millis(args.start_timeout_ms),
            drain_time_max: Duration::from_millis(args.drain_ms),
            stop_time_max: Duration::from_millis(args.stop_timeout_ms),
            damp_echoes: !args.hidden.undamped,
        },
        stall_time_max: Some(Duration::from_millis(args.stall_ms)).filter(|limit| !limit.is_zero()),
        front: FrontConfig {
            listeners,
            is_guess,
            allowed_hosts: args.allowed_hosts,
            allowed_origins: args.allowed_origins,
            session: session.clone(),
            app: shown,
            inject: !args.no_inject,
            suspicion: if args.no_hold { Arc::default() } else { Arc::clone(watching.0.suspicion()) },
            observer: Arc::clone(watching.0.observer()),
            root: target_root,
            runtime: Arc::default(),
            on_notice: Box::new(move |notice| notices.note(&notice)),
        },
        port_plan,
        is_given,
        app_port: args.app_port.map_or(0, u16::from),
        env_files,
        config_file: file.alone(args.hidden.alone),
        stdin: args.stdin,
        keys: !args.stdin && args.message_format == Format::Human,
        watching,
        terminal: Arc::clone(terminal),
        on_serving: Box::new(move |terminal, bound, occasion| {
            // Once, since the page follows by itself.
            let open = args.open && occasion == Occasion::Start;
            greet(terminal, &app, bound, occasion, begun, args.allow_remote, open);
            Serving::note(&place, bound, &session).map(|serving| Box::new(serving) as Box<dyn std::any::Any>)
        }),
    })
}

/// Finds the app, and decides how to build it.
fn find_target(args: &RunArgs, cwd: &Path, terminal: &Terminal) -> Result<(Settings, Target), Error> {
    let mut settings = build_settings(args, cwd);
    let argument = args.app.first().map(|app| app.to_string_lossy().into_owned());
    let target = build::app::find(argument.as_deref(), cwd, &settings)?;
    settings.strategy = choose_strategy(args.strategy, &target, terminal)?;
    settings.may_fall_back = args.strategy == Strategy::Auto;
    if args.hidden.loading == Loading::OneProcess && target.kind() == AppKind::Plain {
        return Err(Error::mistake(
            format!("`{}` is a plain app, which cannot be loaded twice into one process", target.name()),
            "leave --loading out, or make it a plugin app (README, *Plugin apps*)",
        ));
    }
    Ok((settings, target))
}

/// Guesses the port that the app chooses.
fn guess(
    target: &Target,
    title: Option<&str>,
    variables: &[(String, String)],
    file: &ConfigFile,
) -> Option<u16> {
    match target {
        // It must not take what another of several apps is known to ask for.
        Target::App(app) if title.is_none() => guess::port(app, variables, file.processes(), PORT_DEFAULT),
        _ => None,
    }
}

/// Plans for a port chosen by the app.
fn plan_port(args: &RunArgs, target: &Target, guess: Option<u16>) -> PortPlan {
    PortPlan {
        host: args.host,
        strict: args.strict_port,
        default: PORT_DEFAULT,
        target_dir: target.target_dir().to_owned(),
        app: match target {
            Target::App(app) => app.crate_name.clone(),
            Target::Prebuilt(prebuilt) => prebuilt.name.clone(),
        },
        named: args.app_port.map(u16::from),
        guess,
    }
}

/// Tells the user where devhost serves.
fn greet(
    terminal: &Terminal,
    app: &str,
    bound: SocketAddr,
    occasion: Occasion,
    begun: Instant,
    allow_remote: bool,
    open: bool,
) {
    let urls = network::urls(bound);
    let told: Vec<(&str, &str)> = urls.iter().map(|(label, url)| (*label, url.as_str())).collect();
    let version = env!("CARGO_PKG_VERSION");
    match occasion {
        Occasion::Start => terminal.banner(version, app, &told, begun.elapsed()),
        Occasion::Move => terminal.moved(version, app, &told, begun.elapsed()),
    }
    if let Some(warning) = network::warning(bound, allow_remote) {
        terminal.warn(warning);
    }
    if open && let Some((_, url)) = urls.first() {
        runner::browser::open(terminal, url);
    }
}

/// Takes the sockets passed to devhost, unless the user names a port.
fn inherited_listeners(args: &RunArgs, terminal: &Terminal) -> Result<Vec<TcpListener>, Error> {
    let hint = "LISTEN_FDS promises sockets: pass listening TCP sockets, or unset LISTEN_FDS";
    let refused = |error: std::io::Error| {
        Error::mistake(format!("the sockets that devhost was started with cannot be used: {error}"), hint)
    };
    let listeners = inherited::take().map_err(refused)?;
    if listeners.is_empty() {
        return Ok(listeners);
    }
    if args.port.is_some() {
        terminal
            .note("a port was given, so the sockets that devhost was started with (LISTEN_FDS) are not used");
        return Ok(Vec::new());
    }
    for listener in &listeners {
        listen::permit(listener.local_addr().map_err(refused)?.ip(), args.allow_remote)?;
    }
    Ok(listeners)
}

fn build_settings(args: &RunArgs, cwd: &Path) -> Settings {
    Settings {
        deps: match args.deps {
            Deps::Auto => build::Deps::Auto,
            Deps::Shared => build::Deps::Shared,
            Deps::Static => build::Deps::Static,
        },
        debug_info: match args.debuginfo {
            DebugInfo::LineTables => build::DebugInfo::LineTables,
            DebugInfo::Full => build::DebugInfo::Full,
        },
        strategy: match args.strategy {
            Strategy::Auto | Strategy::Fork => build::Strategy::Fork,
            Strategy::Restart => build::Strategy::Restart,
        },
        ..package::settings(&args.selection, cwd)
    }
}

/// Chooses how to run new code: as requested, or as the app's own program if need be.
fn choose_strategy(asked: Strategy, target: &Target, terminal: &Terminal) -> Result<build::Strategy, Error> {
    match (asked, target) {
        (Strategy::Restart, Target::Prebuilt(prebuilt)) => Err(Error::mistake(
            format!("{} is a library and cannot be started as a program", prebuilt.path.display()),
            "leave --strategy out, or give the package that it is built from",
        )),
        (Strategy::Restart, Target::App(app)) if app.kind == AppKind::Plugin => Err(Error::mistake(
            format!("the library of `{}` cannot be started as a program", app.package),
            "leave out --lib or --strategy, or name a binary with --bin",
        )),
        (Strategy::Restart, Target::App(_)) => Ok(build::Strategy::Restart),
        (Strategy::Auto, Target::App(app)) if app.kind == AppKind::Plain => {
            Ok(match build::program_only::reason(&app.source, app.root()) {
                Some(reason) => {
                    terminal.note(&build::note_of_own_program(&reason));
                    build::Strategy::Restart
                }
                None => build::Strategy::Fork,
            })
        }
        (Strategy::Auto | Strategy::Fork, _) => Ok(build::Strategy::Fork),
    }
}

/// Returns a name unique to this run, so that pages of earlier runs are reloaded.
fn new_session() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", std::process::id(), now.as_millis())
}
