//! The command line, parsed into types that need no more checking. Only reads arguments and environment. A
//! mistake ends the process with exit code 2 and says what was expected.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use devhost_bench as bench;
use devhost_config::APPS_COUNT_MAX;
use devhost_front::{host, origin};
use devhost_process::Loading;
use devhost_terminal::Format;

/// The port if neither the user nor the app asks for one.
pub(crate) const PORT_DEFAULT: u16 = 3000;
/// How long an old generation may take to finish its requests.
pub(crate) const DRAIN_TIME_DEFAULT_MS: u64 = 10_000;
/// How long the app may ignore its requests.
pub(crate) const STALL_TIME_DEFAULT_MS: u64 = 60_000;
/// How long the app may take to start.
pub(crate) const START_TIME_DEFAULT_MS: u64 = 10_000;
/// How long the app may take to exit when devhost exits.
pub(crate) const STOP_TIME_DEFAULT_MS: u64 = 5_000;

/// How many workers a generation may have: each has a process, a link and threads of its own.
pub(crate) const WORKERS_COUNT_MAX: u32 = 16;

const EXAMPLES: &str = "\
Examples:
  devhost run                          serve the package in this directory
  devhost run example_app              serve the workspace's package of that name, or the one in that directory
  devhost run --port 8080 --open       choose the port and open a browser
  devhost run --bin server             choose one of several binaries
  devhost run -- --seed data.json      give the app arguments of its own

Settings:
  Every option can stand in a devhost.toml beside Cargo.toml or at the workspace's root, as a key of its name
  (port = 8080). An option wins over it, and so does a variable; --open=false switches off a flag that it sets.

Environment:
  DEVHOST_PORT, DEVHOST_HOST, DEVHOST_TARGET_DIR stand in for the options of these names; an option wins.
  NO_COLOR switches colours off.

Exit codes:
  0  ended by Ctrl-C or SIGTERM
  1  something failed
  2  a mistake in the arguments or the package, with what to do about it";

/// A development server for Rust web apps: saves become live in about the time of one rustc call.
#[derive(Debug, Parser)]
#[command(name = "devhost", version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What devhost can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an app, serve it, and serve each change as soon as it is saved
    Run(Box<RunArgs>),
    /// Look for what stands in the way of an app, and say what to do about it
    Doctor(DoctorArgs),
    /// Measure what each way of reloading an app costs, and what it leaves behind
    Bench(BenchArgs),
    /// Remove what devhost has built for a workspace
    Clean(CleanArgs),
}

/// How many reloads `devhost bench` makes, and may be told to make.
const RELOADS_DEFAULT_COUNT: u32 = 10;
const RELOADS_COUNT_MAX: u32 = 10_000;

/// The steady load of `devhost bench`, and the most that its client can be trusted with.
const REQUESTS_PER_SECOND_DEFAULT: f64 = 20.0;
const REQUESTS_PER_SECOND_MAX: f64 = 1_000.0;

const BENCH_NOTES: &str = "\
Examples:
  devhost bench                              this directory's app, every strategy
  devhost bench --reloads 3 --strategies inprocess,fork,restart
  devhost bench --edit src/pages.rs:Welcome  edit behind this text, which the page at / shows
  devhost bench --json - | jq '.strategies[].strategy'

The app is copied, for each strategy, to target/devhost/bench, and built there; your own files are only read. What is
built is kept, so that a second run starts sooner: remove the directory to have the room back. While it runs, the app
runs once for each strategy; give it a PORT to listen on by that variable where you can.

Ctrl-C keeps what was measured so far; a second one ends at once.

Exit codes:
  0    all was measured; strategies may have failed, the report says so
  1    something failed
  2    a mistake in the arguments or the app
  130  it was cancelled";

/// The arguments of `devhost bench`.
#[derive(Debug, Clone, Args)]
#[command(after_help = BENCH_NOTES)]
pub(crate) struct BenchArgs {
    /// The app: a directory with a package, or a package's name [default: this directory]
    #[arg(value_name = "PATH or PACKAGE")]
    pub app: Option<PathBuf>,

    /// How many reloads each strategy makes
    #[arg(short = 'n', long, value_name = "N", default_value_t = RELOADS_DEFAULT_COUNT, help_heading = "Measuring")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(RELOADS_COUNT_MAX)))]
    pub reloads: u32,

    /// The strategies, separated by commas [default: all; outside tools where they are installed]
    #[arg(long, value_enum, value_name = "S", value_delimiter = ',', help_heading = "Measuring")]
    pub strategies: Vec<bench::model::Strategy>,

    /// How many requests a second are sent all the while; 0 for none
    #[arg(long, value_name = "N", default_value_t = REQUESTS_PER_SECOND_DEFAULT, help_heading = "Measuring")]
    #[arg(value_parser = parse_rate)]
    pub requests_per_second: f64,

    /// What to edit: a file, and a text in it that the response shows [default: the longest such string literal]
    #[arg(long, value_name = "FILE:TEXT", help_heading = "Measuring")]
    pub edit: Option<String>,

    /// Where it shows
    #[arg(long, value_name = "PATH", default_value = "/", help_heading = "Measuring")]
    #[arg(value_parser = parse_url_path)]
    pub url_path: String,

    /// Leave out what reloads leave behind
    #[arg(long, help_heading = "Measuring")]
    pub no_artifacts: bool,

    /// Leave out what a fork costs as the image grows
    #[arg(long, help_heading = "Measuring")]
    pub no_fork_cost: bool,

    /// Write the report with all samples as JSON; - is standard output
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,

    /// Write the samples as CSV; - is standard output
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub csv: Option<PathBuf>,

    /// Write the report as a page with plots; - is standard output
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub html: Option<PathBuf>,

    /// Which target of the package, and how it is built.
    #[command(flatten)]
    pub selection: Selection,

    /// Arguments for the app
    #[arg(last = true, value_name = "APP ARGS")]
    pub app_args: Vec<OsString>,
}

const CLEAN_NOTES: &str = "\
It removes what is in target/devhost: what devhost's cargo has built, and the copies of `devhost bench`. What cargo has built
for you stays, and so do your files. The next `devhost run` builds all of it again.

Exit codes:
  0  done, or there was nothing
  1  something could not be removed
  2  a devhost or a bench is using it; nothing was removed";

/// The arguments of `devhost clean`.
#[derive(Debug, Clone, Args)]
#[command(after_help = CLEAN_NOTES)]
pub(crate) struct CleanArgs {
    /// The app: a directory with a package, or a package's name [default: this directory]
    #[arg(value_name = "PATH or PACKAGE")]
    pub app: Option<PathBuf>,

    /// Tell what there is, and remove nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// The directory that devhost was told to build in [default: target/devhost in the workspace]
    #[arg(long, value_name = "DIR", env = "DEVHOST_TARGET_DIR", hide_env = true)]
    pub target_dir: Option<PathBuf>,

    /// What is passed on to cargo.
    #[command(flatten)]
    pub cargo: CargoOptions,
}

const DOCTOR_NOTES: &str = "\
Exit codes:
  0  nothing stands in the way; there may be warnings
  1  the examination failed
  2  something stands in the way";

/// The arguments of `devhost doctor`.
#[derive(Debug, Clone, Args)]
#[command(after_help = DOCTOR_NOTES)]
pub(crate) struct DoctorArgs {
    /// The app: a directory with a package, or a package's name [default: this directory]
    #[arg(value_name = "PATH or PACKAGE")]
    pub app: Option<PathBuf>,

    /// Which target of the package, and how it is built.
    #[command(flatten)]
    pub selection: Selection,

    /// Ask the devhost that serves the app what a change of this file does, and why
    #[arg(long, value_name = "FILE")]
    pub why: Option<PathBuf>,

    /// Print a JSON document
    #[arg(long, conflicts_with = "why")]
    pub json: bool,
}

/// The arguments of `devhost run`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RunArgs {
    /// The app: a directory with a package, a package's name, or the name of an app in devhost.toml; several to serve them
    /// together [default: this directory]
    #[arg(value_name = "PATH or PACKAGE", num_args = 0..=APPS_COUNT_MAX)]
    pub app: Vec<PathBuf>,

    /// Listen on this port; 0 takes a free one [default: the port that the app asks for, or 3000]
    #[arg(short, long, value_name = "N", env = "DEVHOST_PORT", hide_env = true, help_heading = "Server")]
    pub port: Option<u16>,

    /// Listen on this address
    #[arg(long, value_name = "ADDR", env = "DEVHOST_HOST", default_value = "127.0.0.1", hide_env = true)]
    #[arg(value_parser = parse_host, help_heading = "Server")]
    pub host: IpAddr,

    /// Give up if the port is in use, instead of taking the next free one
    #[arg(long, help_heading = "Server")]
    pub strict_port: bool,

    /// Allow an address that other machines can reach
    #[arg(long, help_heading = "Server")]
    pub allow_remote: bool,

    /// Answer requests for this host name too (a leading dot allows all names below it); may be repeated
    #[arg(long = "allowed-host", value_name = "H", value_parser = parse_allowed_host, help_heading = "Server")]
    pub allowed_hosts: Vec<String>,

    /// Let pages of this origin (SCHEME://HOST) open WebSockets, in addition to local ones and those of allowed hosts; may
    /// be repeated
    #[expect(clippy::doc_markdown, reason = "help shows it as it is")]
    #[arg(long = "allowed-origin", value_name = "O", value_parser = parse_allowed_origin, help_heading = "Server")]
    pub allowed_origins: Vec<String>,

    /// Open the app in a browser
    #[arg(long, help_heading = "Server")]
    pub open: bool,

    /// Serve the old code until the new is ready, instead of letting requests wait for it
    #[arg(long, help_heading = "Reload")]
    pub no_hold: bool,

    /// Leave pages as they are: no live reload, no error overlay
    #[arg(long, help_heading = "Reload")]
    pub no_inject: bool,

    /// Look for changes twice a second, for file systems that send no events (network, container and WSL mounts)
    #[arg(long, help_heading = "Reload")]
    pub poll: bool,

    /// End the old code before the new code starts, while requests wait: for apps that cannot run twice at once
    #[arg(long, help_heading = "Reload")]
    pub no_overlap: bool,

    /// How many processes serve the app, 1 to 16. Each runs the whole app: nothing that it keeps in memory (statics,
    /// sessions, caches, broadcasts) is shared between them
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "App")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(WORKERS_COUNT_MAX)))]
    pub workers: u32,

    /// How new code is run: in a fork that loads the app as a library, or as the app's own program
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Strategy::Auto, help_heading = "Reload")]
    pub strategy: Strategy,

    /// How long the old code may take to finish its requests, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = DRAIN_TIME_DEFAULT_MS, help_heading = "Reload")]
    pub drain_ms: u64,

    /// How long the app may take to start, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = START_TIME_DEFAULT_MS, help_heading = "Reload")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub start_timeout_ms: u64,

    /// How long the app may ignore its requests before it is restarted, in milliseconds; 0 for ever. Time under a debugger
    /// does not count
    #[arg(long, value_name = "MS", default_value_t = STALL_TIME_DEFAULT_MS, help_heading = "Reload")]
    pub stall_ms: u64,

    /// How long the app may take to exit when devhost exits, in milliseconds; then it is killed. A second Ctrl-C kills it at
    /// once
    #[arg(long, value_name = "MS", default_value_t = STOP_TIME_DEFAULT_MS, help_heading = "App")]
    pub stop_timeout_ms: u64,

    /// Give the app the environment variables of this file, unless they are set already; may be repeated
    #[arg(long = "env-file", value_name = "FILE", help_heading = "App")]
    pub env_files: Vec<PathBuf>,

    /// Give the app devhost's standard input, instead of an empty one, and its terminal, if there is one
    #[arg(long, help_heading = "App")]
    pub stdin: bool,

    /// The port of the app's main listener, if it has several [default: the first one that it opens]
    #[arg(long, value_name = "N", help_heading = "App")]
    pub app_port: Option<std::num::NonZeroU16>,

    /// Which target of the package, and how it is built.
    #[command(flatten)]
    pub selection: Selection,

    /// How much debug information the app is built with; less builds faster
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = DebugInfo::LineTables, help_heading = "Build")]
    pub debuginfo: DebugInfo,

    /// How the app is linked to its dependencies; one shared library of them makes reloads fast
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Deps::Auto, help_heading = "Build")]
    pub deps: Deps,

    /// How to report what happens; json is one event per line, for editors
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Human, help_heading = "Output")]
    pub message_format: Format,

    /// Print more; twice for devhost's own log
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = "Output")]
    pub verbose: u8,

    /// Options for devhost's own measurements and tests.
    #[command(flatten)]
    pub hidden: HiddenOptions,

    /// Arguments for the app
    #[arg(last = true, value_name = "APP ARGS")]
    pub app_args: Vec<OsString>,
}

/// Options of `devhost run` that no user needs: only `devhost bench` and its tests pass them, and help does not show them.
#[derive(Debug, Clone, Args)]
pub(crate) struct HiddenOptions {
    /// How a new generation comes to its code
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Loading::Preloaded, hide = true)]
    pub loading: Loading,

    /// Run no processes beside the app
    #[arg(long, hide = true)]
    pub alone: bool,

    /// Answer every change at once, even if it may be an answer to the one before it
    #[arg(long, hide = true)]
    pub undamped: bool,
}

/// Which target of a package to serve, and how it is built.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Selection {
    /// Serve the package's library, which must have an `export!`
    #[arg(long, conflicts_with_all = ["bin", "example"], help_heading = "Build")]
    pub lib: bool,

    /// Serve the package's binary of this name
    #[arg(long, value_name = "NAME", conflicts_with = "example", help_heading = "Build")]
    pub bin: Option<String>,

    /// Serve the package's example of this name
    #[arg(long, value_name = "NAME", help_heading = "Build")]
    pub example: Option<String>,

    /// Features to activate, separated by commas; may be repeated
    #[arg(short = 'F', long, value_name = "F", value_delimiter = ',', help_heading = "Build")]
    pub features: Vec<String>,

    /// Activate all features
    #[arg(long, help_heading = "Build")]
    pub all_features: bool,

    /// Do not activate the default features
    #[arg(long, help_heading = "Build")]
    pub no_default_features: bool,

    /// Build with optimization
    #[arg(short, long, conflicts_with = "profile", help_heading = "Build")]
    pub release: bool,

    /// Build with this profile
    #[arg(long, value_name = "NAME", help_heading = "Build")]
    pub profile: Option<String>,

    /// Directory for everything that is built [default: target/devhost in the workspace]
    #[arg(long, value_name = "DIR", env = "DEVHOST_TARGET_DIR", hide_env = true, help_heading = "Build")]
    pub target_dir: Option<PathBuf>,

    /// What is passed on to cargo.
    #[command(flatten)]
    pub cargo: CargoOptions,
}

/// Options of cargo's own, which mean what they mean to cargo.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Cargo")]
pub(crate) struct CargoOptions {
    /// Run without accessing the network
    #[arg(long)]
    pub offline: bool,

    /// Fail if Cargo.lock would change
    #[arg(long)]
    pub locked: bool,

    /// Equivalent to --locked and --offline
    #[arg(long)]
    pub frozen: bool,

    /// Ignore the `rust-version` of packages
    #[arg(long)]
    pub ignore_rust_version: bool,

    /// Override a value of cargo's configuration, or name a configuration file; may be repeated
    #[arg(long, value_name = "KEY=VALUE|PATH")]
    pub config: Vec<String>,

    /// Unstable options of cargo (nightly only); may be repeated
    #[arg(short = 'Z', value_name = "FLAG")]
    pub unstable: Vec<String>,

    /// How many rustc processes run at once [default: the number of CPUs]
    #[arg(short, long, value_name = "N", allow_hyphen_values = true, value_parser = parse_jobs)]
    pub jobs: Option<String>,
}

/// Parses a number of jobs as cargo does: any number but 0, a negative one counting down from the number of CPUs, or
/// `default`.
fn parse_jobs(text: &str) -> Result<String, String> {
    match text.parse::<i32>() {
        Ok(count) if count != 0 => Ok(text.to_owned()),
        _ if text == "default" => Ok(text.to_owned()),
        _ => Err("a number is needed that is not 0, or `default`".into()),
    }
}

/// How new code is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Strategy {
    /// Fork, unless the app cannot be loaded as a library
    #[default]
    Auto,
    /// A fork of a process that has the dependencies loaded: the fastest
    Fork,
    /// The app's own program
    Restart,
}

/// How much debug information the app is built with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum DebugInfo {
    /// Files and lines: enough for backtraces
    #[default]
    LineTables,
    /// Variables and types too: for a debugger
    Full,
}

/// How the app is linked to its dependencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Deps {
    /// Shared, except for what cannot be
    #[default]
    Auto,
    /// Shared, or it is an error
    Shared,
    /// Statically, into the app
    Static,
}

/// Parses a rate within the limits.
fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "a number is needed".to_owned())?;
    if rate.is_finite() && (0.0..=REQUESTS_PER_SECOND_MAX).contains(&rate) {
        return Ok(rate);
    }
    Err(format!("it must be from 0 to {REQUESTS_PER_SECOND_MAX}"))
}

/// Parses the path and query of a URL.
fn parse_url_path(text: &str) -> Result<String, String> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if text.starts_with('/') && is_plain {
        Ok(text.to_owned())
    } else {
        Err("it must start with /".to_owned())
    }
}

/// Parses a host name, or a domain with a leading dot.
fn parse_allowed_host(text: &str) -> Result<String, String> {
    if text.contains('*') {
        return Err("with `*` every web page could read the app under a name of its own; name each host, or a domain \
                    with a leading dot (.example.com)"
            .to_owned());
    }
    let name = text.strip_prefix('.').unwrap_or(text);
    let has_port = name.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    if !has_port && !name.starts_with('.') && host::host_name(name).is_some() {
        return Ok(text.to_owned());
    }
    Err("a host name is needed, without scheme, port and path, such as app.example.com".to_owned())
}

/// Parses an origin and normalizes it as browsers write it.
fn parse_allowed_origin(text: &str) -> Result<String, String> {
    origin::normalize(text).ok_or_else(|| {
        "an origin is needed, such as https://app.example.com or http://app.example.com:8080, without a path; or null, for \
         pages that have none"
            .to_owned()
    })
}

/// Parses an IP address, or `localhost`.
fn parse_host(text: &str) -> Result<IpAddr, String> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| "an IP address is needed, such as 127.0.0.1, or localhost".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn run(arguments: &[&str]) -> Result<RunArgs, clap::Error> {
        match Cli::try_parse_from(["devhost", "run"].iter().chain(arguments))?.command {
            Command::Run(run) => Ok(*run),
            other => panic!("not run: {other:?}"),
        }
    }

    #[test]
    fn definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn nothing_but_run_serves_this_directory_on_a_port_that_is_found_out() {
        let run = run(&[]).unwrap();
        assert!(run.app.is_empty());
        assert_eq!((run.port, run.host.to_string()), (None, "127.0.0.1".into()));
        assert_eq!(run.message_format, Format::Human);
        assert_eq!(run.debuginfo, DebugInfo::LineTables);
        assert!(!run.strict_port && !run.open && !run.poll && !run.no_hold && !run.no_inject && !run.stdin);
        assert!(!run.selection.release);
    }

    #[test]
    fn every_option_arrives() {
        let line = "example_app --port 0 --host localhost --strict-port --allow-remote --allowed-host a.test \
                    --allowed-host .b.test --open --no-hold --poll --features x,y -F z --no-default-features \
                    --all-features --profile dev --debuginfo full --target-dir /t --message-format json -vv \
                    --no-overlap --stdin --env-file .env --env-file b --app-port 8080 --strategy restart --deps static --bin server --no-inject \
                    --drain-ms 5 --start-timeout-ms 6 --workers 3 -- --port 1 -x";
        let arguments: Vec<&str> = line.split_ascii_whitespace().collect();
        let run = run(&arguments).unwrap();
        assert_eq!(run.app, [PathBuf::from("example_app")]);
        assert_eq!((run.port, run.host.to_string(), run.drain_ms), (Some(0), "127.0.0.1".into(), 5));
        assert_eq!((run.start_timeout_ms, run.verbose, run.workers), (6, 2, 3));
        assert_eq!(run.env_files, [PathBuf::from(".env"), "b".into()]);
        assert_eq!((run.no_overlap, run.app_port.map(u16::from)), (true, Some(8080)));
        assert_eq!(run.allowed_hosts, ["a.test", ".b.test"]);
        assert_eq!(run.selection.features, ["x", "y", "z"]);
        assert_eq!(run.app_args, ["--port", "1", "-x"]);
        assert_eq!((run.debuginfo, run.message_format), (DebugInfo::Full, Format::Json));
        assert_eq!(run.strategy, Strategy::Restart);
        let Selection { lib, bin, example, profile, target_dir, no_default_features, all_features, .. } =
            run.selection;
        assert_eq!((profile, target_dir), (Some("dev".into()), Some("/t".into())));
        assert_eq!((run.deps, bin, example, lib), (Deps::Static, Some("server".into()), None, false));
        assert!(run.strict_port && run.allow_remote && run.open && run.no_hold && run.poll && run.no_inject);
        assert!(no_default_features && all_features && run.stdin);
    }

    #[test]
    fn options_of_cargos_own_arrive() {
        let line = "--offline --locked --frozen --ignore-rust-version --config build.jobs=1 --config a.toml -Zone -Z two -j-2";
        let arguments: Vec<&str> = line.split(' ').collect();
        let cargo = run(&arguments).unwrap().selection.cargo;
        assert!(cargo.offline && cargo.locked && cargo.frozen && cargo.ignore_rust_version);
        assert_eq!(cargo.config, ["build.jobs=1", "a.toml"]);
        assert_eq!(cargo.unstable, ["one", "two"]);
        assert_eq!(cargo.jobs.as_deref(), Some("-2"));
        for jobs in ["4", "-1", "default"] {
            assert_eq!(run(&["--jobs", jobs]).unwrap().selection.cargo.jobs.as_deref(), Some(jobs));
        }
    }

    #[test]
    fn mistakes_have_exit_code_2() {
        for arguments in [
            &["-j", "0"][..],
            &["-j", "many"],
            &["--port", "65536"],
            &["--port", "http"],
            &["--host", "example.com"],
            &["--debuginfo", "some"],
            &["--release", "--profile", "dev"],
            &["--lib", "--bin", "a"],
            &["--bin", "a", "--example", "b"],
            &["--deps", "some"],
            &["--start-timeout-ms", "0"],
            &["--workers", "0"],
            &["--workers", "17"],
            &["--allowed-host", "*"],
            &["--allowed-host", "*.example.com"],
            &["--allowed-host", ""],
            &["--allowed-host", "."],
            &["--allowed-host", "http://a.test"],
            &["--allowed-host", "a.test:3000"],
            &["--allowed-origin", "*"],
            &["--allowed-origin", "a.test"],
            &["--no-such-option"],
            &["1", "2", "3", "4", "5", "6", "7", "8", "9"],
        ] {
            let error = run(arguments).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{arguments:?}");
        }
        let error = run(&["--allowed-host", "*"]).unwrap_err().to_string();
        assert!(error.contains("every web page could read the app"), "{error}");
        let error = run(&["--allowed-host="]).unwrap_err().to_string();
        assert!(error.contains("a host name is needed"), "{error}");
        let error = run(&["--host", "example.com"]).unwrap_err().to_string();
        assert!(error.contains("an IP address is needed"), "{error}");
    }

    #[test]
    fn origins_are_taken_as_browsers_write_them() {
        let run = run(&["--allowed-origin", "HTTPS://App.test:443", "--allowed-origin", "null"]).unwrap();
        assert_eq!(run.allowed_origins, ["https://app.test", "null"]);
    }

    #[test]
    fn ipv6_address_may_have_brackets() {
        assert_eq!(run(&["--host", "[::1]"]).unwrap().host.to_string(), "::1");
        assert_eq!(run(&["--host", "::"]).unwrap().host.to_string(), "::");
    }

    #[test]
    fn environment_stands_in_for_options() {
        let command = Cli::command();
        let run = command.find_subcommand("run").unwrap();
        for (option, variable) in
            [("port", "DEVHOST_PORT"), ("host", "DEVHOST_HOST"), ("target_dir", "DEVHOST_TARGET_DIR")]
        {
            let argument = run.get_arguments().find(|argument| argument.get_id() == option).unwrap();
            assert_eq!(argument.get_env(), Some(variable.as_ref()));
        }
    }

    #[test]
    fn help_has_examples_and_every_option() {
        let mut command = Cli::command();
        let help = command.find_subcommand_mut("run").unwrap().render_long_help().to_string();
        for part in [
            "Examples:",
            "DEVHOST_PORT",
            "Exit codes:",
            "--strict-port",
            "--message-format",
            "[-- <APP ARGS>...]",
        ] {
            assert!(help.contains(part), "{part} in {help}");
        }
        assert!(!help.contains("--loading"), "only the bench needs it: {help}");
    }
}
