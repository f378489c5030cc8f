//! The ways from a save to the new code: cargo and a restart, the bare rustc calls, devhost. Each works in a
//! directory of its own, so that no two share what the compiler keeps from one build to the next.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::apps::{App, Edit};
use crate::process::{self, COLD_BUILD_TIME_MAX, Client, EDIT_TIME_MAX, Running};
use crate::stats::Sample;

/// The name by which this program is called in place of rustc.
pub(crate) const SHIM_NAME: &str = "rustc-that-tells";

/// Where the shim notes its calls.
const SHIM_LOG_VARIABLE: &str = "RELOAD_SHIM_LOG";

/// The rustc that the shim becomes.
const SHIM_RUSTC_VARIABLE: &str = "RELOAD_SHIM_RUSTC";

/// How long devhost's status may lag behind its response.
const STATUS_TIME_MAX: Duration = Duration::from_secs(5);

/// devhost's answer to a request that it has held for too long.
const GIVEN_UP_STATUS: u16 = 503;

/// What all ways are given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The app.
    pub app: &'a App,
    /// The directory for all ways with this app.
    pub directory: &'a Path,
}

impl Place<'_> {
    /// The directory of a way, with the app in it.
    pub(crate) fn of(&self, way: &str) -> Result<PathBuf> {
        let directory = self.directory.join(way);
        self.app.write(&directory)?;
        Ok(directory)
    }

    /// Where the output of a way's processes goes.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.log"))
    }

    /// The environment of the app.
    pub(crate) fn give_environment(&self, command: &mut Command, directory: &Path, port: u16) {
        command.env("PORT", port.to_string());
        if let Some(variable) = self.app.data_variable {
            command.env(variable, directory.join("data"));
        }
    }

    fn cargo_build(&self, directory: &Path, debug: Option<&str>) -> Command {
        let mut command = process::command("cargo");
        command.args(["build", "--package", self.app.package]).current_dir(directory);
        if let Some(debug) = debug {
            command.env("CARGO_PROFILE_DEV_DEBUG", debug);
        }
        command
    }
}

/// A way from a save to the new code.
pub(crate) trait Way {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// Saves the edit and waits for the new code.
    fn measure(&mut self, edit: &Edit, string: &str) -> Result<Sample>;

    /// The processes that are there while nothing happens, by what they are.
    fn processes(&self) -> Result<Vec<(&'static str, i32)>> {
        Ok(Vec::new())
    }

    /// Ends what runs.
    fn end(self: Box<Self>) -> Result<()>;
}

/// A time as the samples have it.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// `cargo build`, then the program anew.
#[derive(Debug)]
pub(crate) struct Cargo<'a> {
    place: Place<'a>,
    name: &'static str,
    debug: Option<&'static str>,
    directory: PathBuf,
    port: u16,
    client: Client,
    server: Option<Running>,
}

impl<'a> Cargo<'a> {
    /// Builds the app for the first time.
    pub(crate) fn prepare(place: Place<'a>, name: &'static str, debug: Option<&'static str>) -> Result<Self> {
        let directory = place.of(name)?;
        process::run(place.cargo_build(&directory, debug), &place.log(name), COLD_BUILD_TIME_MAX)?;
        let port = process::free_port()?;
        Ok(Self { place, name, debug, directory, port, client: Client::new(), server: None })
    }

    /// Where devhost may take dependencies from that are built already.
    pub(crate) fn built(&self) -> PathBuf {
        self.directory.join("target/debug")
    }
}

impl Way for Cargo<'_> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn measure(&mut self, edit: &Edit, string: &str) -> Result<Sample> {
        let saved = edit.save(&self.directory, string)?;
        let build = self.place.cargo_build(&self.directory, self.debug);
        let built = process::run(build, &self.place.log(self.name), EDIT_TIME_MAX)?;
        if let Some(server) = self.server.take() {
            // Without a farewell: whatever the app does at its end would count against cargo.
            server.kill();
        }
        let mut start = process::command(self.built().join(self.place.app.package));
        start.current_dir(&self.directory);
        self.place.give_environment(&mut start, &self.directory, self.port);
        let log = self.place.log(&format!("{}-app", self.name));
        let server = self.server.insert(Running::start(start, &log)?);
        let url = format!("http://127.0.0.1:{}/", self.port);
        let answer =
            self.client.poll(&url, server, EDIT_TIME_MAX, |answer| Ok(answer.body.contains(string)))?;
        Ok(Sample {
            ms: ms(answer.first_byte - saved),
            parts: json!({ "build_ms": ms(built - saved), "restart_ms": ms(answer.first_byte - built) }),
        })
    }

    fn end(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// devhost, with a request that is made right after the save.
#[derive(Debug)]
pub(crate) struct Devhost {
    directory: PathBuf,
    url: String,
    client: Client,
    server: Running,
}

impl Devhost {
    /// Starts devhost and waits for the first page.
    pub(crate) fn prepare(
        place: Place<'_>,
        name: &str,
        built: &Path,
        adjust: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let directory = place.of(name)?;
        let port = process::free_port()?;
        let temporary = place.directory.join(format!("{name}-tmp"));
        std::fs::create_dir_all(&temporary)?;
        let mut command = process::command(env!("CARGO_BIN_EXE_devhost"));
        command.args(["run", place.app.package, "--strict-port", "--port", &port.to_string()]);
        command.current_dir(&directory).env("NO_COLOR", "1").env("TMPDIR", temporary);
        place.give_environment(&mut command, &directory, port);
        adjust(&mut command);
        let _seed = Seed::offer(&directory, built)?;
        let mut server = Running::start(command, &place.log(name))?;
        let url = format!("http://127.0.0.1:{port}/");
        let client = Client::new();
        let status_url = format!("{url}__devhost/status");
        client.poll(&status_url, &mut server, COLD_BUILD_TIME_MAX, |answer| {
            let status: Value = serde_json::from_str(&answer.body)?;
            ensure!(status["state"] != "failed", "devhost cannot serve the app: {:#}", status["failure"]);
            Ok(status["state"] == "ready")
        })?;
        Ok(Self { directory, url, client, server })
    }

    fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.client.get(&format!("{}__devhost/status", self.url))?.body)?)
    }

    /// What devhost says about the reload that made a generation.
    fn journey(&self, generation: u64) -> Result<Value> {
        let deadline = Instant::now() + STATUS_TIME_MAX;
        loop {
            let status = self.status()?;
            let reloads = status["reloads"].as_array().into_iter().flatten();
            let journey = reloads.rev().find(|reload| reload["generation"].as_u64() == Some(generation));
            if let Some(journey) = journey
                && journey.pointer("/steps/first_response_ms").is_some_and(Value::is_number)
            {
                return Ok(journey.clone());
            }
            ensure!(Instant::now() < deadline, "devhost's status never tells of generation {generation}");
            process::check_interrupt()?;
        }
    }
}

impl Way for Devhost {
    fn name(&self) -> &'static str {
        "d"
    }

    fn measure(&mut self, edit: &Edit, string: &str) -> Result<Sample> {
        let saved = edit.save(&self.directory, string)?;
        let (mut old_answers_count, mut given_up_count) = (0, 0);
        let answer = self.client.poll(&self.url, &mut self.server, EDIT_TIME_MAX, |answer| {
            if answer.status == GIVEN_UP_STATUS {
                // It was held for as long as devhost holds a request; the build goes on.
                given_up_count += 1;
                return Ok(false);
            }
            ensure!(answer.status < 500, "devhost answers with {}:\n{}", answer.status, answer.body);
            let new = answer.body.contains(string);
            old_answers_count += u32::from(!new);
            Ok(new)
        })?;
        let generation = answer.generation.context("devhost does not say which generation has answered")?;
        let journey = self.journey(generation)?;
        Ok(Sample {
            ms: ms(answer.first_byte - saved),
            parts: json!({
                "old_answers_count": old_answers_count,
                "given_up_count": given_up_count,
                "journey": journey,
            }),
        })
    }

    fn processes(&self) -> Result<Vec<(&'static str, i32)>> {
        let status = self.status()?;
        let pid = |pointer: &str| status.pointer(pointer).and_then(Value::as_i64);
        let found = [("front", pid("/front/pid")), ("zygote", pid("/zygote/pid"))];
        let found = found.into_iter().filter_map(|(name, pid)| Some((name, i32::try_from(pid?).ok()?)));
        Ok(found.collect())
    }

    fn end(self: Box<Self>) -> Result<()> {
        self.server.end()
    }
}

/// What cargo has built elsewhere, shown to devhost as if it were the user's own, until its first build is over.
struct Seed(PathBuf);

impl Seed {
    fn offer(directory: &Path, built: &Path) -> Result<Self> {
        let place = directory.join("target/debug");
        std::fs::create_dir_all(directory.join("target"))?;
        // One that an earlier run left behind when it was killed.
        let _ = std::fs::remove_file(&place);
        std::os::unix::fs::symlink(built, &place)
            .with_context(|| format!("cannot make a link at {}", place.display()))?;
        Ok(Self(place))
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// One rustc call, as rustc itself has seen it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Call {
    program: PathBuf,
    args: Vec<String>,
    directory: PathBuf,
    environment: BTreeMap<String, String>,
}

impl Call {
    /// The value of the last option of this name; `-C` options by `-C NAME`.
    fn option(&self, name: &str) -> Option<&str> {
        let codegen = name.strip_prefix("-C ");
        let mut values = self.args.iter().enumerate().filter_map(|(index, arg)| match codegen {
            Some(key) => arg.strip_prefix(key)?.strip_prefix('='),
            None if arg == name => self.args.get(index + 1).map(String::as_str),
            None => arg.strip_prefix(name)?.strip_prefix('='),
        });
        values.next_back()
    }

    fn stem(&self) -> String {
        let extra = self.option("-C extra-filename").unwrap_or_default();
        format!("{}{extra}", self.option("--crate-name").unwrap_or_default())
    }

    fn out_dir(&self) -> PathBuf {
        self.directory.join(self.option("--out-dir").unwrap_or_default())
    }

    /// Whether it was made of the file.
    fn reads(&self, file: &Path) -> bool {
        let dep_info = self.out_dir().join(format!("{}.d", self.stem()));
        let Ok(text) = std::fs::read_to_string(dep_info) else { return false };
        text.lines().any(|line| {
            line.strip_suffix(':').is_some_and(|path| self.directory.join(path.replace("\\ ", " ")) == file)
        })
    }

    /// Whether it is given what another call makes.
    fn uses(&self, other: &Self) -> bool {
        let library = other.out_dir().join(format!("lib{}", other.stem()));
        self.args.iter().any(|arg| {
            let path = arg.split_once('=').map(|(_, path)| self.directory.join(path));
            path.is_some_and(|path| path.with_extension("") == library)
        })
    }

    fn is_app(&self, crate_name: &str) -> bool {
        self.option("--crate-name") == Some(crate_name) && self.option("--crate-type") == Some("cdylib")
    }

    /// The library that the app's call makes.
    fn library(&self) -> PathBuf {
        let emitted = self.option("--emit").unwrap_or_default().split(',');
        match emitted.filter_map(|kind| kind.strip_prefix("link=")).next_back() {
            Some(path) => self.directory.join(path),
            None => self.out_dir().join(format!("lib{}.so", self.stem())),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(&self.directory).env_clear().envs(&self.environment);
        command
    }
}

/// The bare rustc calls that an edit makes necessary, one after another: no cargo, no wrapper, no server.
#[derive(Debug)]
pub(crate) struct Rustc<'a> {
    place: Place<'a>,
    directory: PathBuf,
    /// What uses others comes after them.
    calls: Vec<Call>,
    /// Which of the calls an edit needs, by the edit's name.
    needed: BTreeMap<&'static str, Vec<usize>>,
}

impl<'a> Rustc<'a> {
    /// Lets a devhost of its own build the app with a rustc that tells of its calls.
    pub(crate) fn prepare(place: Place<'a>, built: &Path) -> Result<Self> {
        let shim = place.directory.join(SHIM_NAME);
        let log = place.directory.join("calls.jsonl");
        let _ = std::fs::remove_file(&shim);
        std::os::unix::fs::symlink(std::env::current_exe()?, &shim)?;
        let devhost = Devhost::prepare(place, "c", built, |command| {
            command.env("RUSTC", &shim).env(SHIM_LOG_VARIABLE, &log).env(SHIM_RUSTC_VARIABLE, rustc_path());
        })?;
        let directory = devhost.directory.clone();
        Box::new(devhost).end()?;
        let crate_name = place.app.package.replace('-', "_");
        let calls = read_calls(&log, &directory, &crate_name)?;
        let mut needed = BTreeMap::new();
        for edit in &place.app.edits {
            let file = directory.join(&edit.file).canonicalize()?;
            let mut wanted: Vec<usize> = Vec::new();
            for (index, call) in calls.iter().enumerate() {
                if call.reads(&file) || wanted.iter().any(|other| call.uses(&calls[*other])) {
                    wanted.push(index);
                }
            }
            let last = wanted.last().with_context(|| format!("no call reads {}", edit.file.display()))?;
            ensure!(
                calls[*last].is_app(&crate_name),
                "an edit of {} does not reach the app",
                edit.file.display()
            );
            needed.insert(edit.name, wanted);
        }
        Ok(Self { place, directory, calls, needed })
    }

    /// A plain app's root is a generated file: the edit goes there, too.
    fn edit_shadow(&self, call: &Call, edit: &Edit, string: &str) -> Result<()> {
        let shadow = self.directory.join("target/devhost/shadow");
        for arg in call.args.iter().filter(|arg| arg.ends_with(".rs")) {
            let path = call.directory.join(arg);
            if !path.starts_with(&shadow) || !path.symlink_metadata()?.is_file() {
                continue;
            }
            let text = std::fs::read_to_string(&path)?;
            if let Some(current) = edit.current(&text) {
                std::fs::write(&path, text.replacen(current, string, 1))?;
            }
        }
        Ok(())
    }
}

impl Way for Rustc<'_> {
    fn name(&self) -> &'static str {
        "c"
    }

    fn measure(&mut self, edit: &Edit, string: &str) -> Result<Sample> {
        let calls: Vec<&Call> = self.needed[edit.name].iter().map(|index| &self.calls[*index]).collect();
        for call in &calls {
            self.edit_shadow(call, edit, string)?;
        }
        let saved = edit.save(&self.directory, string)?;
        let mut end = saved;
        let mut took = Vec::new();
        for call in &calls {
            let begun = end;
            end = process::run(call.command(), &self.place.log("c-rustc"), EDIT_TIME_MAX)?;
            took.push(json!({ "crate": call.option("--crate-name"), "ms": ms(end - begun) }));
        }
        let library = calls.last().context("there is no call")?.library();
        let bytes = std::fs::read(&library).with_context(|| format!("cannot read {}", library.display()))?;
        let found = bytes.windows(string.len()).any(|window| window == string.as_bytes());
        ensure!(found, "{} does not contain the edit", library.display());
        Ok(Sample { ms: ms(end - saved), parts: json!({ "crates": took }) })
    }

    fn end(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// The calls for the app and the workspace's crates below it, the app's being the last one.
fn read_calls(log: &Path, directory: &Path, crate_name: &str) -> Result<Vec<Call>> {
    let text = std::fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
    let mut calls: Vec<Call> = Vec::new();
    for line in text.lines() {
        let call: Call = serde_json::from_str(line)?;
        let of_app = call.is_app(crate_name);
        let kind = call.option("--crate-type").unwrap_or_default();
        let manifest = call.environment.get("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
        if (of_app || kind == "lib" || kind == "rlib") && manifest.starts_with(directory) {
            // A later call for the same file is the one that counts.
            calls.retain(|earlier| (earlier.out_dir(), earlier.stem()) != (call.out_dir(), call.stem()));
            calls.push(call);
        }
    }
    if !calls.last().is_some_and(|call| call.is_app(crate_name)) {
        bail!("devhost has not compiled `{crate_name}` last, among {} calls", calls.len());
    }
    Ok(calls)
}

/// The rustc that cargo would call, without rustup in between.
fn rustc_path() -> PathBuf {
    let output = process::command("rustc").args(["--print", "sysroot"]).output();
    let sysroot = output.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    let path = sysroot.map(|path| Path::new(path.trim()).join("bin/rustc"));
    path.filter(|path| path.is_file()).unwrap_or_else(|| "rustc".into())
}

/// This program in place of rustc: notes the call and becomes rustc.
pub(crate) fn shim() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (Some(program), Some(log)) =
        (std::env::var_os(SHIM_RUSTC_VARIABLE), std::env::var_os(SHIM_LOG_VARIABLE))
    else {
        eprintln!("{SHIM_NAME}: only the measurement calls this");
        return ExitCode::FAILURE;
    };
    if let Err(error) = note(Path::new(&program), &args, Path::new(&log)) {
        eprintln!("{SHIM_NAME}: {error:#}");
        return ExitCode::FAILURE;
    }
    let error = Command::new(program).args(args).exec();
    eprintln!("{SHIM_NAME}: {error}");
    ExitCode::FAILURE
}

fn note(program: &Path, args: &[OsString], log: &Path) -> Result<()> {
    use std::io::Write as _;
    let text = |text: &OsString| text.clone().into_string().ok();
    // The jobserver's pipes are gone when the call is made again; the others are the measurement's own.
    let own = ["CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS", "RUSTC", SHIM_LOG_VARIABLE, SHIM_RUSTC_VARIABLE];
    let call = Call {
        program: program.to_owned(),
        args: args.iter().map(text).collect::<Option<_>>().context("an argument is no text")?,
        directory: std::env::current_dir()?,
        environment: std::env::vars_os()
            .filter_map(|(name, value)| Some((text(&name)?, text(&value)?)))
            .filter(|(name, _)| !own.contains(&name.as_str()) && !name.starts_with("DEVHOST_"))
            .collect(),
    };
    let mut line = serde_json::to_vec(&call)?;
    line.push(b'\n');
    // One write: several rustcs run at once.
    std::fs::File::options().create(true).append(true).open(log)?.write_all(&line)?;
    Ok(())
}
