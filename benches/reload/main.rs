//! Measures side by side how long it takes from a save to the new code: with cargo and a restart, with the bare rustc
//! calls, with devhost. See `docs/reload.md` for what is measured and what is unfair about it.
//!
//!     cargo bench --bench reload -- [--apps generated,example,workspace] [--ways a,b,c,d,dx] [--rounds 10]
//!
//! Nothing here asserts a time: it prints a table, and the goals beside it. It uses devhost as a user does, by its
//! command line and its status document, and none of its internals.

mod apps;
mod dx;
mod process;
mod stats;
mod ways;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use serde_json::{Value, json};

use crate::apps::App;
use crate::stats::{Row, Sample};
use crate::ways::{Cargo, Devhost, Place, Rustc, SHIM_NAME, Way};

/// How long nothing is done between two measurements, so that what one leaves to do is not the next one's burden.
const SETTLE_TIME: Duration = Duration::from_millis(500);

/// How long devhost is watched doing nothing.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// The times in `/proc/PID/stat` are in this unit on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Measure how long it takes from a save to the new code
#[derive(Debug, Parser)]
struct Options {
    /// Which apps are edited
    #[arg(long, value_delimiter = ',', default_value = "generated,example,workspace")]
    apps: Vec<String>,

    /// How often each edit is made; one more comes before, to warm up
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// (a) cargo build and restart, (b) the same with line tables only, (c) bare rustc calls, (d) devhost, (dx) dx serve
    #[arg(long, value_delimiter = ',', default_value = "a,b,c,d,dx")]
    #[arg(value_parser = ["a", "b", "c", "d", "dx"])]
    ways: Vec<String>,

    /// Also write every sample to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Build in this directory and leave it, for a later run to use again
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    /// Also watch devhost for a minute without a change, and reload once after it
    #[arg(long)]
    idle: bool,

    /// As cargo says it to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let name = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    if name.file_name().is_some_and(|name| name == SHIM_NAME) {
        return ways::shim();
    }
    let options = Options::parse();
    match process::watch_for_interrupts().and_then(|()| measure(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if process::is_interrupted() => {
            eprintln!("interrupted");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<()> {
    // All names are right before anything is built.
    let apps = options.apps.iter().map(|name| App::named(name)).collect::<Result<Vec<_>>>()?;
    let scratch;
    let directory = match &options.keep {
        Some(directory) => {
            std::fs::create_dir_all(directory)?;
            directory.canonicalize()?
        }
        None => {
            scratch = tempfile::Builder::new().prefix("reload-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
            scratch.path().canonicalize()?
        }
    };
    let machine = machine();
    println!("{machine}");
    let (mut rows, mut notes, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    for app in &apps {
        measure_app(app, options, &directory.join(app.name), &mut rows, &mut notes, &mut idle)?;
    }
    println!("\n{}\n{}", stats::table(&rows), stats::devhost_lines(&rows));
    for note in &notes {
        println!("{note}");
    }
    let load = load();
    println!("load at the end: {load}");
    if let Some(path) = &options.json {
        let document = json!({
            "machine": machine, "load_at_end": load, "rounds": options.rounds, "rows": rows, "idle": idle,
            "notes": notes,
        });
        std::fs::write(path, serde_json::to_vec_pretty(&document)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn measure_app(
    app: &App,
    options: &Options,
    directory: &Path,
    rows: &mut Vec<Row>,
    notes: &mut Vec<String>,
    idle: &mut Vec<Value>,
) -> Result<()> {
    std::fs::create_dir_all(directory)?;
    let place = Place { app, directory };
    let mut ways = prepare(place, &options.ways, notes)?;
    let lock = std::fs::read_to_string(directory.join("a/Cargo.lock"))?;
    let crates_count = lock.lines().filter(|line| *line == "[[package]]").count();
    eprintln!("{}: {crates_count} packages in Cargo.lock", app.name);
    notes.push(format!("{}: {crates_count} packages in Cargo.lock", app.name));
    let first = rows.len();
    for edit in &app.edits {
        rows.extend(ways.iter().map(|way| Row {
            app: app.name.into(),
            edit: edit.name.into(),
            way: way.name().into(),
            samples: Vec::new(),
        }));
    }
    for round in 0..=options.rounds {
        let mut row = first;
        for edit in &app.edits {
            for way in &mut ways {
                process::pause(SETTLE_TIME)?;
                let sample = way
                    .measure(edit, &unique())
                    .with_context(|| format!("{}, edit {}, way {}", app.name, edit.name, way.name()))?;
                eprintln!("{} {} {} {round}: {:.0} ms", app.name, edit.name, way.name(), sample.ms);
                if round > 0 {
                    rows[row].samples.push(sample);
                }
                row += 1;
            }
        }
    }
    if options.idle
        && let Some(way) = ways.iter_mut().find(|way| way.name() == "d")
    {
        idle.push(watch_idle(app, way.as_mut(), notes)?);
    }
    ways.into_iter().try_for_each(ways::Way::end)
}

/// Builds the app for each way, one after the other. The first is always cargo's own, whose dependencies the others take.
fn prepare<'a>(
    place: Place<'a>,
    wanted: &[String],
    notes: &mut Vec<String>,
) -> Result<Vec<Box<dyn Way + 'a>>> {
    let wants = |name: &str| wanted.iter().any(|way| way == name);
    let say = |what: &str| eprintln!("{}: building for {what}", place.app.name);
    let mut ways: Vec<Box<dyn Way>> = Vec::new();
    say("(a) cargo");
    let cargo = Cargo::prepare(place, "a", None)?;
    let built = cargo.built();
    if wants("a") {
        ways.push(Box::new(cargo));
    }
    if wants("b") {
        say("(b) cargo with line tables");
        ways.push(Box::new(Cargo::prepare(place, "b", Some("line-tables-only"))?));
    }
    if wants("c") {
        say("(c) bare rustc");
        ways.push(Box::new(Rustc::prepare(place, &built)?));
    }
    if wants("d") {
        say("(d) devhost");
        ways.push(Box::new(Devhost::prepare(place, "d", &built, |_| {})?));
    }
    if wants("dx") {
        say("(dx) dx serve");
        match dx::Dx::prepare(place)? {
            Ok(dx) => ways.push(Box::new(dx)),
            Err(reason) => notes.push(format!("{}: (dx) is left out: {reason}", place.app.name)),
        }
    }
    Ok(ways)
}

/// A text that no build has seen.
fn unique() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("edit-{:020}", now.as_nanos())
}

/// Lets devhost alone for a while, and sees what that costs and how fast it is afterwards.
fn watch_idle(app: &App, way: &mut dyn Way, notes: &mut Vec<String>) -> Result<Value> {
    eprintln!("{}: watching devhost for {IDLE_TIME:?}", app.name);
    process::pause(SETTLE_TIME)?;
    let processes = way.processes()?;
    let times = || processes.iter().map(|(_, pid)| cpu_time(*pid)).collect::<Result<Vec<_>>>();
    let before = times()?;
    process::pause(IDLE_TIME)?;
    let after = times()?;
    let edit = app.edits.first().context("the app has no edit")?;
    let Sample { ms, .. } = way.measure(edit, &unique())?;
    let used: Vec<(&str, f64)> = processes
        .iter()
        .zip(before.iter().zip(after))
        .map(|((name, _), (before, after))| (*name, (after - before) * 1_000.0))
        .collect();
    let shown: Vec<String> = used.iter().map(|(name, used)| format!("{name} {used:.0} ms")).collect();
    notes.push(format!(
        "{}: CPU time in {} s without a change: {}; the first reload after it ({}): {ms:.0} ms",
        app.name,
        IDLE_TIME.as_secs(),
        shown.join(", "),
        edit.name,
    ));
    let used: serde_json::Map<String, Value> =
        used.into_iter().map(|(name, used)| (format!("{name}_cpu_ms"), json!(used))).collect();
    Ok(json!({ "app": app.name, "seconds": IDLE_TIME.as_secs(), "used": used, "first_reload_ms": ms }))
}

/// The seconds of CPU time that a process has used: user and system, all threads.
fn cpu_time(pid: i32) -> Result<f64> {
    let stat =
        std::fs::read_to_string(format!("/proc/{pid}/stat")).context("a process of devhost is gone")?;
    // The name before the last parenthesis may contain anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: Vec<u64> =
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    ensure!(ticks.len() == 2, "/proc/{pid}/stat is not as expected");
    let ticks = u32::try_from(ticks.iter().sum::<u64>()).unwrap_or(u32::MAX);
    Ok(f64::from(ticks) / TICKS_PER_SECOND)
}

/// What the figures are of.
fn machine() -> String {
    let said = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().ok();
        output
            .and_then(|output| Some(String::from_utf8(output.stdout).ok()?.trim().to_owned()))
            .unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!(
        "{cores} cores ({}), Linux {}, {}, {}, devhost {} ({}), load {}",
        model.map_or("unknown", |(_, model)| model),
        said("uname", &["-r"]),
        said("rustc", &["-V"]),
        said("date", &["-u", "+%Y-%m-%d"]),
        env!("CARGO_PKG_VERSION"),
        if cfg!(debug_assertions) { "unoptimized" } else { "optimized" },
        load(),
    )
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
