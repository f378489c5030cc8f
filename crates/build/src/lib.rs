//! Builds the app: cargo runs on the app's crate in devhost's own target directory, devhost itself is cargo's
//! rustc wrapper, and the result is a fresh library that a worker can load. The parts:
//!
//! - [`app`] asks cargo what is to be built, with `partial` where cargo cannot say all.
//! - `cargo` runs cargo under [`guard`], which makes sure that no build outlives its cancellation or the front.
//! - [`wrapper`] adds devhost's flags to the app's rustc call, and puts devhost in the place of build scripts, where `script`
//!   writes down how cargo runs them; `deps` makes the library of dependencies, with
//!   [`linker`] as its linker.
//! - `plain`, with `root` and `shadow`, makes a library of a plain app's binary.
//! - `artifact` checks what came out before a process is forked for it.
//! - `seed` takes over what cargo has built before devhost's first start.
//! - `stale` makes cargo see changes that it would miss; `traces` tells what a build has read and written itself.
//! - `inputs` collects what build scripts depend on.
//! - [`replay`] makes cargo's rustc calls again without cargo, where that is provably the same.
//! - `disk` has this run's own directory, and removes what nobody uses any more, `units` what cargo has built and does not need;
//!   `footing` notices what somebody else has removed below a build that runs.
//!
//! Nothing here knows of processes that serve, of HTTP or of the watcher. Nothing writes outside devhost's own
//! target directory, and a file that a worker may have mapped is never written again.
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

pub mod allocator;
pub mod app;
mod artifact;
mod binary;
mod call;
mod cargo;
mod dep_info;
mod deps;
pub mod diagnostics;
mod directives;
mod disk;
mod documents;
mod environment;
pub mod export;
mod fallback;
mod footing;
pub mod guard;
mod inputs;
mod job_sheet;
mod leavings;
pub mod linker;
mod partial;
mod plain;
pub mod reason;
pub mod replay;
mod root;
mod script;
mod seed;
mod settings;
mod shadow;
mod stale;
mod traces;
mod units;
pub mod wrapper;

use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

pub use self::app::{App, PathPackage, Prebuilt, Target};
pub use self::fallback::note as note_of_own_program;
pub use self::inputs::ScriptInputs;
pub use self::leavings::Leavings;
pub use self::settings::{CargoOptions, Choice, DebugInfo, Deps, Settings, Strategy};
pub use self::traces::Trace;

use self::artifact::{Inspector, Problem};
use self::directives::Directives;
use self::disk::{ArtifactDirectory, Tool};
use self::job_sheet::{JOB_SHEET_VARIABLE, JobSheet, Report};
use self::replay::record;
use self::replay::{Before, Recording, Weakness};
use devhost_model::BuildInputs;
use devhost_model::Error;
use devhost_model::{AppKind, BuildReport, Diagnostics, Failure};

/// The kernel stamps files with a clock that lags behind by up to a tick.
const CLOCK_LAG_MAX_MS: u64 = 20;

/// Why there is no replay after a build that was not let to its end. What was recorded is then of neither state.
const GIVEN_UP: &str = "the build before was given up";

/// Why there is no replay after a build that failed under cargo.
const FAILED_BEFORE: &str = "the build before failed";

/// What the wrapper's lines about its progress start with: the builder shows them and keeps them out of errors.
const PROGRESS_MARK: &str = "devhost-progress: ";

/// Becomes the helper that the name in `argv[0]` asks for; `None` where devhost itself was called. To be called
/// first in `main`.
pub fn dispatch(argv0_file_name: &str) -> Option<ExitCode> {
    let helper: fn(&[OsString]) -> ExitCode = match argv0_file_name {
        "devhost-rustc" => wrapper::main,
        "devhost-linker" => linker::main,
        "devhost-guard" => guard::main,
        script::NAME => script::main,
        _ => return None,
    };
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    Some(helper(&args))
}

/// How far a build is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Crates done, fresh ones too.
    pub done: u32,
    /// Crates expected; an estimate that is never below `done`.
    pub total: u32,
    /// What is being done, such as `serde v1.0.228`.
    pub current: String,
}

/// What a build came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A library that can be loaded.
    Built(Artifact),
    /// The code does not build, or what was built cannot be loaded.
    Failed(Failure),
}

/// A library that can be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The library, under a name of its own.
    pub path: PathBuf,
    /// How the app in it is started.
    pub kind: AppKind,
    /// Whether it is a library to be forked with, or a program.
    pub strategy: Strategy,
    /// Its GNU build id in hexadecimal: the same id is the same code.
    pub build_id: String,
    /// What must be loaded before it, in this order; empty where everything is in the library itself.
    pub preload: Vec<PathBuf>,
    /// Every file that the app's own code was built from, as absolute paths.
    pub sources: Vec<PathBuf>,
    /// What its build scripts depend on.
    pub scripts: ScriptInputs,
    /// Warnings in the app's own code.
    pub warnings: Diagnostics,
    /// What a user should know about the build.
    pub notes: Vec<String>,
}

/// What is remembered from one run of devhost to the next.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Memory {
    /// When cargo was last started.
    last_start: Option<SystemTime>,
    /// When that run ended; `None` where nobody saw its end.
    #[serde(default)]
    last_end: Option<SystemTime>,
    /// The sources of the last good build.
    sources: Vec<PathBuf>,
    /// The directories of the path packages that cargo was last started with: of these, each change is known.
    #[serde(default)]
    packages: Vec<PathBuf>,
    /// What its build scripts depend on.
    #[serde(default)]
    scripts: ScriptInputs,
    /// What its build scripts write beside their output.
    #[serde(default)]
    written: Vec<PathBuf>,
    /// How many messages cargo had for it.
    units: Option<u32>,
}

/// Builds one target, again and again.
#[derive(Debug)]
pub struct Builder {
    target: Target,
    settings: Settings,
    tool: Tool,
    /// Where this run's artifacts go.
    artifacts: ArtifactDirectory,
    /// Artifacts made so far.
    count: u64,
    memory: Memory,
    inspector: Inspector,
    /// A manifest may have changed since cargo was asked about the app.
    outdated: bool,
    /// What a replay needs, since the last good run of cargo, or why there is none.
    recording: Result<Recording, String>,
    /// How the last build was made.
    report: BuildReport,
    weakness: Option<Weakness>,
    /// Why the app is its own program, although nobody has asked for that.
    fallback: Option<String>,
    /// cargo's configuration files, whether they exist or not.
    configuration: Vec<PathBuf>,
    /// Something was removed while cargo ran, so that what cargo believes to be done may be of no use.
    rebuild_wanted: bool,
    /// cargo was started for the build that runs.
    cargo_started: bool,
    /// When the last good build ended.
    last_built: Option<SystemTime>,
    /// What of cargo's is in use.
    units: units::Keeper,
}

impl Builder {
    /// A builder for `target`. `devhost` is the path of the devhost executable, which cargo is to run.
    ///
    /// # Errors
    /// devhost's target directory cannot be written.
    pub fn new(target: Target, settings: Settings, devhost: PathBuf) -> Result<Self, Error> {
        let target_dir = target.target_dir().to_owned();
        let failed = |error: io::Error| {
            Error::mistake(
                format!("cannot write devhost's target directory {}: {error}", target_dir.display()),
                "make it writable, or choose another one with --target-dir",
            )
        };
        let artifacts = ArtifactDirectory::make(&target_dir).map_err(failed)?;
        let tool = Tool::open(&devhost).map_err(|error| {
            Error::fault(format!("cannot read the devhost executable {}: {error}", devhost.display()))
        })?;
        let mut builder = Self {
            target,
            settings,
            tool,
            artifacts,
            count: 0,
            memory: Memory::default(),
            inspector: Inspector::default(),
            outdated: false,
            recording: Err("it is the first build".into()),
            report: BuildReport::default(),
            weakness: None,
            fallback: None,
            configuration: Vec::new(),
            rebuild_wanted: false,
            cargo_started: false,
            last_built: None,
            units: units::Keeper::default(),
        };
        if let Target::App(app) = &builder.target {
            builder.memory = documents::read(&builder.document(app, "memory")).unwrap_or_default();
        }
        Ok(builder)
    }

    /// Removes this run's artifacts, when it is over. Whoever still runs code from there has it mapped.
    pub fn remove_artifacts(&self) {
        self.artifacts.remove();
    }

    /// What is being built, as cargo last described it.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What the last good build depends on, also one of an earlier run of devhost.
    pub fn known_inputs(&self) -> BuildInputs {
        self.memory.scripts.with_sources(&self.memory.sources)
    }

    /// How the last build was made.
    pub fn last_report(&self) -> &BuildReport {
        &self.report
    }

    /// Leaves out a part of the rule for replays, to see that the tests notice.
    #[doc(hidden)]
    pub fn weaken(&mut self, weakness: Weakness) {
        self.weakness = Some(weakness);
    }

    /// Builds the target as it is now. `changed` has the files that changed since the last call; a file that is
    /// missing from it is found too, unless something has set its time of modification back within the last
    /// clock tick.
    ///
    /// Dropping the future ends cargo, and all that it started, at once; the next call starts afresh.
    pub async fn build(&mut self, changed: &[PathBuf], progress: &mut dyn FnMut(Progress)) -> Outcome {
        self.report = BuildReport::default();
        let outcome = match &self.target {
            Target::Prebuilt(prebuilt) => {
                let prebuilt = prebuilt.clone();
                self.take_prebuilt(&prebuilt)
            }
            Target::App(_) => self.build_on_firm_ground(changed, progress).await,
        };
        self.last_built = outcome.is_ok().then(SystemTime::now);
        match outcome {
            Ok(artifact) => Outcome::Built(artifact),
            Err(failure) => {
                if let Err(reason) = &mut self.recording
                    && reason == GIVEN_UP
                {
                    *reason = FAILED_BEFORE.into();
                }
                Outcome::Failed(failure)
            }
        }
    }

    /// Removes artifacts that no process uses any more: all of this run but `in_use`, those of runs that are
    /// over, libraries of dependencies but the most recent ones, and what cargo has built for none of the last sets of
    /// dependencies.
    pub fn collect(&self, in_use: &[PathBuf]) {
        disk::collect(self.target.target_dir(), &self.artifacts, in_use);
        if let Target::App(app) = &self.target
            && self.owns_target_dir()
        {
            self.units.collect(&app.target_dir, self.profile_dirs(app));
        }
    }

    /// In a directory that the user has named, others may build, and need what devhost does not.
    fn owns_target_dir(&self) -> bool {
        self.settings.target_dir.is_none()
    }

    fn take_prebuilt(&mut self, prebuilt: &Prebuilt) -> Result<Artifact, Failure> {
        let path = self
            .next_path(&prebuilt.name)
            .map_err(|error| start_failure(format!("cannot make a directory for copies: {error}"), ""))?;
        // A copy, never a link: whoever builds it may write into the file that a worker has mapped.
        std::fs::copy(&prebuilt.path, &path).map_err(|error| {
            start_failure(format!("cannot copy {}: {error}", prebuilt.path.display()), "")
        })?;
        match self.inspector.check(None, &path, &[]) {
            Ok(checked) => Ok(Artifact {
                path,
                kind: checked.kind,
                strategy: Strategy::Fork,
                build_id: checked.build_id,
                preload: Vec::new(),
                sources: vec![prebuilt.path.clone()],
                scripts: ScriptInputs::default(),
                warnings: Diagnostics::default(),
                notes: Vec::new(),
            }),
            Err(problem) => {
                let _ = std::fs::remove_file(&path);
                // People know the file that they have built, not the copy.
                Err(explain(problem.said_of(&path, &prebuilt.path), &prebuilt.path))
            }
        }
    }

    async fn build_app(
        &mut self,
        changed: &[PathBuf],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Artifact, Failure> {
        let refusal = match self.replay_app(changed, progress).await {
            Ok(built) => {
                self.report.replayed = true;
                return built;
            }
            Err(reason) => reason,
        };
        self.report = BuildReport { reason: refusal, ..BuildReport::default() };
        self.outdated |= changed.iter().any(|path| concerns_cargo(path) || self.configuration.contains(path));
        let app = self.current_app().await?;
        self.configuration = app.config_files.clone();
        self.configuration.extend(settings::config_files(app.root()));
        let report_path = self.document(&app, "report");
        let sheet_path = self
            .place_job_sheet(&app, &report_path)
            .map_err(|error| build_failure(format!("cannot write {}: {error}", app.target_dir.display())))?;
        let before = Before::look(&app, &sheet_path, &self.memory.sources, self.recording.as_ref().ok());
        if let Ok(recording) = &mut self.recording {
            recording.is_quiet().await;
        }
        // It stands only if nobody lets this build come to its end.
        self.recording = Err(GIVEN_UP.into());
        self.show_hidden_changes(&app, changed);
        self.seed(&app, progress).await;
        let mut run = self.run_cargo(&app, &sheet_path, progress).await?;
        let mut report = self.valid_report(&report_path, &sheet_path);
        // First the app is linked in another way, then nothing is shared.
        for _ in 0..2 {
            let Some(ready) = report.as_ref().filter(|ready| !run.success && !ready.preload.is_empty())
            else {
                break;
            };
            let Some((marker, reason)) = self.other_linkage(ready, &run) else { break };
            std::fs::write(&marker, reason)
                .map_err(|error| build_failure(format!("cannot write {}: {error}", marker.display())))?;
            let doubt = fallback::Doubt::of(&marker);
            run = self.run_cargo(&app, &sheet_path, progress).await?;
            report = self.valid_report(&report_path, &sheet_path);
            doubt.decide(fallback::reason_to_share_nothing(&run).is_none());
        }
        if run.success && report.is_none() {
            // cargo found nothing to do, but what there is was made under other settings, or parts of it are gone.
            stale::age_app(&app, &self.profile_dirs(&app));
            run = self.run_cargo(&app, &sheet_path, progress).await?;
            report = self.valid_report(&report_path, &sheet_path);
        }
        let (mut library, mut ready) = finish(&run, report)?;
        let mut checked = self.inspector.check(Some(app.kind), &library, &ready.preload);
        // First less is shared, then nothing. Where that does not help either, the reason lies elsewhere.
        let mut doubts = Vec::new();
        for _ in 0..2 {
            let Err(problem) = &checked else { break };
            if ready.preload.is_empty() {
                break;
            }
            let Some(doubt) = self.share_less(&app, problem, &ready, &run.libraries)? else { break };
            doubts.push(doubt);
            stale::age_app(&app, &self.profile_dirs(&app));
            run = self.run_cargo(&app, &sheet_path, progress).await?;
            (library, ready) = finish(&run, self.valid_report(&report_path, &sheet_path))?;
            checked = self.inspector.check(Some(app.kind), &library, &ready.preload);
        }
        let checked = checked.map_err(|problem| explain(problem, &library))?;
        doubts.into_iter().for_each(|doubt| doubt.decide(true));
        let mut sources = dep_info::read_sources(&dep_info_path(&app, &library), &app.workspace_root);
        // These are followed by their names, what they include is not.
        let included = self.configuration.iter().filter(|path| path.is_file() && !concerns_cargo(path));
        sources.extend(included.cloned());
        self.memory.sources.clone_from(&sources);
        self.memory.scripts = ScriptInputs::read(&app, &run);
        self.memory.units = Some(run.units_done);
        self.remember(&app);
        let profile_dirs = self.profile_dirs(&app);
        let context = self.replay_context(app, sheet_path);
        self.recording = Recording::make(&context, &run, &ready, &sources, profile_dirs, &before);
        self.take_artifact(&context.app, &library, checked, ready, sources, run.diagnostics.sorted())
    }

    /// Builds the app without cargo; why not, where that is not allowed.
    async fn replay_app(
        &mut self,
        changed: &[PathBuf],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Result<Artifact, Failure>, String> {
        let Target::App(app) = &self.target else { unreachable!("only called for an app") };
        if let Err(reason) = &self.recording {
            return Err(reason.clone());
        }
        if self.outdated {
            return Err("a manifest changed".into());
        }
        let (sheet_path, report_path) = (self.document(app, "job-sheet"), self.document(app, "report"));
        let context = self.replay_context(app.clone(), sheet_path);
        let recording = self.recording.as_mut().map_err(|reason| reason.clone())?;
        let run = recording.replay(&context, changed, progress).await?;
        self.report.crates.clone_from(&run.steps);
        let sources = recording.sources(&self.memory.sources);
        let named: Vec<PathBuf> = recording.named().cloned().collect();
        if !run.success {
            if fallback::reason_to_share_nothing(&run).is_some() {
                return Err("the linker refused it".into());
            }
            return Ok(finish(&run, None).map(|_| unreachable!("it has failed")));
        }
        let Some(report) = self.valid_report(&report_path, &context.sheet_path) else {
            return Err("the wrapper's report is gone".into());
        };
        let (library, ready) = finish(&run, Some(report)).map_err(|_| "nothing was made")?;
        let checked = self
            .inspector
            .check(Some(context.app.kind), &library, &ready.preload)
            .map_err(|_| "what was made could not be loaded")?;
        let names_more = self.memory.scripts.add(&named);
        if names_more || self.memory.sources != sources {
            self.memory.sources.clone_from(&sources);
            self.remember(&context.app);
        }
        Ok(self.take_artifact(&context.app, &library, checked, ready, sources, run.diagnostics.sorted()))
    }

    fn replay_context(&self, app: App, sheet_path: PathBuf) -> replay::Context {
        replay::Context {
            devhost: self.tool.path(),
            wrapper: self.wrapper(&app),
            environment: self.environment(&app, &sheet_path),
            temporary: temporary_directory(&app.target_dir),
            jobs: self.settings.jobs(&self.configuration),
            weakness: self.weakness,
            app,
            sheet_path,
        }
    }

    /// Gives a library that was just built a name of its own.
    fn take_artifact(
        &mut self,
        app: &App,
        library: &Path,
        checked: artifact::Checked,
        ready: Report,
        sources: Vec<PathBuf>,
        warnings: Diagnostics,
    ) -> Result<Artifact, Failure> {
        let path = self.next_path(&app.crate_name).map_err(|error| {
            build_failure(format!("cannot make a directory in {}: {error}", app.target_dir.display()))
        })?;
        // The wrapper unlinks the library before it is written anew, so a link is as good as a copy.
        std::fs::hard_link(library, &path)
            .or_else(|_| std::fs::copy(library, &path).map(drop))
            .map_err(|error| build_failure(format!("cannot write {}: {error}", path.display())))?;
        Ok(Artifact {
            path,
            kind: checked.kind,
            strategy: Strategy::Fork,
            build_id: checked.build_id,
            preload: ready.preload,
            sources,
            scripts: self.memory.scripts.clone(),
            warnings,
            notes: ready.notes,
        })
    }

    /// Takes over what cargo has built for the user, where nothing has been built here yet.
    async fn seed(&self, app: &App, progress: &mut dyn FnMut(Progress)) {
        if !self.profile_dirs(app).is_empty() {
            return;
        }
        let (app, profile) = (app.clone(), self.settings.profile_directory().to_owned());
        if !seed::finds(&app, &profile) {
            return;
        }
        let total = self.memory.units.unwrap_or(app.units_expected);
        progress(Progress { done: 0, total, current: "taking over what cargo has built before".into() });
        // Nothing of it can fail but its thread; what is not taken over is built.
        let _ = tokio::task::spawn_blocking(move || seed::seed(&app, &profile)).await;
    }

    /// Sees to it that the next run of cargo shares less, where that may mend a problem: that it leaves out the crates
    /// that bring it, or else shares nothing.
    fn share_less(
        &self,
        app: &App,
        problem: &Problem,
        ready: &Report,
        libraries: &[(String, PathBuf)],
    ) -> Result<Option<fallback::Doubt>, Failure> {
        let reason = match problem {
            Problem::Unfit { .. } => return Ok(None),
            Problem::OwnAllocator => "the app has a #[global_allocator] outside of its root file".to_owned(),
            Problem::Unresolved(symbols) => format!(
                "{} would not be found in the shared library of dependencies",
                artifact::list_symbols(symbols)
            ),
        };
        let written = match (&ready.exclusion, problem) {
            (Some(path), Problem::Unresolved(symbols)) => exclusion(app, symbols, libraries, &reason)
                .map(|exclusion| (path, documents::write(path, &exclusion))),
            _ => None,
        };
        let (path, result) =
            written.unwrap_or_else(|| (&ready.static_marker, std::fs::write(&ready.static_marker, &reason)));
        if self.settings.deps == Deps::Shared && path == &ready.static_marker {
            let _ = std::fs::remove_file(path);
            return Ok(None);
        }
        result.map_err(|error| build_failure(format!("cannot write {}: {error}", path.display())))?;
        Ok(Some(fallback::Doubt::of(path)))
    }

    /// How else the app may be linked after the linker has refused it: the file to be made for that, and what is to be in it.
    fn other_linkage(&self, ready: &Report, run: &cargo::Run) -> Option<(PathBuf, String)> {
        let reason = fallback::reason_to_share_nothing(run)?;
        match &ready.relink_marker {
            Some(marker) if fallback::misses_symbols(run) => Some((marker.clone(), reason)),
            _ if self.settings.deps == Deps::Auto => Some((ready.static_marker.clone(), reason)),
            _ => None,
        }
    }

    /// The app as its manifests describe it now.
    async fn current_app(&mut self) -> Result<App, Failure> {
        let Target::App(app) = &self.target else { unreachable!("only called for an app") };
        if !self.outdated {
            return Ok(app.clone());
        }
        let (app, settings) = (app.clone(), self.settings.clone());
        let refreshed = tokio::task::spawn_blocking(move || app::refresh(&app, &settings)).await;
        match refreshed {
            Ok(Ok(app)) => {
                self.target = Target::App(app.clone());
                self.outdated = false;
                Ok(app)
            }
            Ok(Err(error)) if error.hint.is_empty() => Err(build_failure(error.message)),
            Ok(Err(error)) => Err(build_failure(format!("{}\n{}", error.message, error.hint))),
            Err(error) => Err(build_failure(format!("asking cargo about the app failed: {error}"))),
        }
    }

    /// Writes the wrapper's job sheet and makes the links by whose names devhost is called.
    fn place_job_sheet(&self, app: &App, report: &Path) -> io::Result<PathBuf> {
        let key = self.key(app);
        let sheet_path = self.document(app, "job-sheet");
        let environment = record::fingerprint(self.environment(app, &sheet_path).into_iter());
        let bin = app.target_dir.join("bin").join(&key);
        std::fs::create_dir_all(&bin)?;
        std::fs::create_dir_all(temporary_directory(&app.target_dir))?;
        for name in ["devhost-rustc", "devhost-linker", script::NAME] {
            link(&self.tool.path(), &bin.join(name))?;
        }
        let sheet = JobSheet {
            tool: self.tool.stamp().to_owned(),
            target_dir: app.target_dir.clone(),
            temporary: temporary_directory(&app.target_dir),
            workspace_root: app.workspace_root.clone(),
            app_root: app.root().to_owned(),
            app_crate: match self.strategy() {
                Strategy::Fork => app.crate_name.clone(),
                // No crate is the one to be made a library of.
                Strategy::Restart => String::new(),
            },
            kind: app.kind,
            deps: self.settings.deps,
            debug_info: self.settings.debug_info,
            externs: app.externs.clone(),
            report: report.to_owned(),
            linker: bin.join("devhost-linker"),
            script: bin.join(script::NAME),
            environment,
            manifests: replay::manifest_hashes(app),
            key,
        };
        documents::write(&sheet_path, &sheet)?;
        Ok(sheet_path)
    }

    /// Covers what decides how workspace crates are compiled and cargo does not know. cargo hashes the wrapper's
    /// path, so that it compiles them again when this changes.
    fn key(&self, app: &App) -> String {
        let mut hasher = blake3::Hasher::new();
        let settings = format!("{:?} {:?}", self.strategy(), self.settings.decisive());
        for part in [self.tool.stamp(), &app.package_id, &settings] {
            hasher.update(part.as_bytes());
            hasher.update(&[0]);
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }

    fn document(&self, app: &App, kind: &str) -> PathBuf {
        document(app, &self.settings, kind)
    }

    fn show_hidden_changes(&mut self, app: &App, changed: &[PathBuf]) {
        let now = SystemTime::now();
        if let Some(last_start) = self.memory.last_start {
            let last_run = last_start..=self.memory.last_end.unwrap_or(now);
            let hidden = stale::find_hidden(changed, &self.memory.sources, &last_run);
            stale::age_users(app, &self.profile_dirs(app), &hidden);
        }
        let unmanaged: Vec<PathBuf> = changed.iter().filter(|path| !concerns_cargo(path)).cloned().collect();
        stale::age_unfollowed(app, &self.profile_dirs(app), &unmanaged, &self.memory.sources);
        if std::mem::take(&mut self.rebuild_wanted) || footing::lacks_records(&app.target_dir) {
            stale::age_losers(app, &self.profile_dirs(app), &self.memory.scripts.packages, changed);
            stale::age_newcomers(app, &self.profile_dirs(app), &[]);
        }
        stale::age_newcomers(app, &self.profile_dirs(app), &self.memory.packages);
        self.memory.packages = app.path_packages.iter().map(|package| package.root.clone()).collect();
        self.memory.last_start = now.checked_sub(Duration::from_millis(CLOCK_LAG_MAX_MS));
    }

    fn remember(&self, app: &App) {
        // Forgetting costs a build that might not have been needed, or the rare hidden change across runs.
        let _ = documents::write(&self.document(app, "memory"), &self.memory);
    }

    /// Where cargo keeps what it built for the profile: for the host, and for a target that was named.
    fn profile_dirs(&self, app: &App) -> Vec<PathBuf> {
        let profile = self.settings.profile_directory();
        std::iter::once(app.target_dir.clone())
            .chain(entries(&app.target_dir))
            .map(|directory| directory.join(profile))
            .filter(|directory| directory.join(".fingerprint").is_dir())
            .collect()
    }

    async fn run_cargo(
        &mut self,
        app: &App,
        sheet: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<cargo::Run, Failure> {
        self.cargo_started = true;
        self.memory.last_end = None;
        self.remember(app);
        let devhost = self.tool.path();
        let started = SystemTime::now() - Duration::from_millis(CLOCK_LAG_MAX_MS);
        let invocation = cargo::Invocation {
            devhost: &devhost,
            args: self.cargo_args(app),
            environment: self.environment(app, sheet),
            directory: app.root(),
            app,
            units_expected: self.memory.units.unwrap_or(app.units_expected),
        };
        let run = cargo::run(invocation, progress)
            .await
            .map_err(|error| build_failure(format!("cannot run {}: {error}", devhost.display())))?;
        self.memory.last_end = Some(SystemTime::now());
        self.remember(app);
        if self.owns_target_dir() {
            let document = self.document(app, units::DIRECTORY);
            self.units.note(&document, app, &self.profile_dirs(app), &run, started);
        }
        Ok(run)
    }

    /// The rustc wrapper's path, which differs wherever the wrapper would do something else.
    fn wrapper(&self, app: &App) -> PathBuf {
        app.target_dir.join("bin").join(self.key(app)).join("devhost-rustc")
    }

    /// The environment that cargo is given.
    fn environment(&self, app: &App, sheet: &Path) -> Vec<(OsString, OsString)> {
        let own: [(&str, OsString); 7] = [
            (JOB_SHEET_VARIABLE, sheet.into()),
            ("RUSTC_WORKSPACE_WRAPPER", self.wrapper(app).into()),
            // Where a user keeps intermediate files for all builds together, ours would wait for theirs.
            ("CARGO_BUILD_BUILD_DIR", app.target_dir.clone().into()),
            ("CARGO_TERM_COLOR", environment::colour().into()),
            ("CARGO_TERM_PROGRESS_WHEN", "never".into()),
            ("CARGO_TERM_QUIET", "false".into()),
            ("CARGO_TERM_VERBOSE", "false".into()),
        ];
        let mut environment: Vec<_> =
            environment::inherited().filter(|(name, _)| own.iter().all(|(own, _)| name != own)).collect();
        environment.extend(own.map(|(name, value)| (name.into(), value)));
        environment
    }

    fn cargo_args(&self, app: &App) -> Vec<OsString> {
        let format = if environment::coloured() { "json-diagnostic-rendered-ansi" } else { "json" };
        let profile = self.settings.profile();
        let target = match &app.choice {
            Choice::Lib => vec!["--lib", "--crate-type", "cdylib"],
            Choice::Bin(name) => vec!["--bin", name],
            Choice::Example(name) => vec!["--example", name],
        };
        let mut args: Vec<OsString> = vec!["rustc".into()];
        args.extend(target.into_iter().map(OsString::from));
        args.push("--manifest-path".into());
        args.push(app.manifest_path.clone().into());
        args.push("--target-dir".into());
        args.push(app.target_dir.clone().into());
        args.push(format!("--message-format={format}").into());
        args.push("--profile".into());
        args.push(profile.into());
        args.extend(self.settings.feature_args().into_iter().map(OsString::from));
        args.extend(self.settings.cargo.building_args().into_iter().map(OsString::from));
        // Crates compiled for link-time optimization are no machine code yet, and cannot become a library. After the user's
        // values: the later one wins.
        args.push(format!("--config=profile.{profile}.lto=false").into());
        if !self.settings.cargo.config.is_empty() {
            let place = toml_edit::Value::from(app.target_dir.to_string_lossy().into_owned());
            args.push(format!("--config=build.build-dir={}", place.to_string().trim()).into());
        }
        args
    }

    /// The wrapper's report, if it is about this job sheet and everything it names still exists.
    fn valid_report(&self, report: &Path, sheet: &Path) -> Option<Report> {
        let sheet: JobSheet = documents::read(sheet)?;
        documents::read(report).filter(|report: &Report| {
            report.key == sheet.key && report.preload.iter().all(|library| library.is_file())
        })
    }

    fn next_path(&mut self, name: &str) -> io::Result<PathBuf> {
        self.count += 1;
        Ok(self.artifacts.ensure()?.join(format!("lib{name}-{}.so", self.count)))
    }
}

/// A file of a target and a profile: cargo, too, has one place for each.
fn document(app: &App, settings: &Settings, kind: &str) -> PathBuf {
    let target = match &app.choice {
        Choice::Lib => String::new(),
        Choice::Bin(name) => format!("-bin-{name}"),
        Choice::Example(name) => format!("-example-{name}"),
    };
    app.target_dir.join(kind).join(format!("{}{target}-{}.json", app.package, settings.profile()))
}

/// What is known of how an app was linked when devhost built it last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastBuild {
    /// Its dependencies are in a shared library, but for what the notes name.
    pub shared: bool,
    /// What was said about it.
    pub notes: Vec<String>,
}

/// Gives a target directory of cargo's what another one has of the app's dependencies; see `seed`. Both are named with
/// the profile's directory. What cannot be taken over will be built.
pub fn take_over_dependencies(app: &App, from: &Path, to: &Path) {
    seed::take_over(app, from, to, &to.with_file_name("tmp"));
}

/// How an app was linked when it was built last with these settings, if it ever was.
pub fn last_build(app: &App, settings: &Settings) -> Option<LastBuild> {
    let report: Report = documents::read(&document(app, settings, "report"))?;
    Some(LastBuild { shared: !report.preload.is_empty(), notes: report.notes })
}

/// Whether the app's build script named inputs when it ran last, in devhost's target directory or in the user's.
pub fn script_names_inputs(app: &App, settings: &Settings) -> Option<bool> {
    let places = [&app.target_dir, &app.user_build_dir];
    let scripts =
        places.into_iter().flat_map(|place| entries(&place.join(settings.profile_directory()).join("build")));
    let outputs = scripts
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.rsplit_once('-').is_some_and(|(package, _)| package == app.package)
        })
        .map(|path| path.join("output"));
    let newest = outputs
        .filter_map(|path| Some((std::fs::metadata(&path).ok()?.modified().ok()?, path)))
        .max_by_key(|(modified, _)| *modified)?;
    Some(Directives::read(&std::fs::read(newest.1).ok()?).names_inputs)
}

/// Where cargo lists what the app's library was made of.
fn dep_info_path(app: &App, library: &Path) -> PathBuf {
    match app.kind {
        AppKind::Plugin => library.with_extension("d"),
        AppKind::Plain => {
            let mut path = library.as_os_str().to_owned();
            path.push(".d");
            path.into()
        }
    }
}

/// The library and the report of a run that was good.
fn finish(run: &cargo::Run, report: Option<Report>) -> Result<(PathBuf, Report), Failure> {
    if !run.success {
        return Err(failed(run));
    }
    let library = run
        .library
        .clone()
        .ok_or_else(|| build_failure("cargo succeeded, but reported no library for the app".into()))?;
    let report = report.ok_or_else(|| {
        build_failure(
            "cargo succeeded without calling devhost for the app. Does a `rustc` or `rustc-wrapper` in \
             .cargo/config.toml leave out the arguments that it is given?"
                .into(),
        )
    })?;
    Ok((library, report))
}

/// The failure that a run came to.
fn failed(run: &cargo::Run) -> Failure {
    let mut output = run.output.clone();
    if let Some(hint) = missing_from_the_system(run) {
        output.push_str(&format!("hint: {hint}\n"));
    }
    Failure::Build { diagnostics: run.diagnostics.sorted(), output }
}

/// What to do where the build fails for want of something that cargo does not bring.
fn missing_from_the_system(run: &cargo::Run) -> Option<String> {
    let rendered = run.diagnostics.iter().map(|diagnostic| diagnostic.rendered.as_str());
    let text: Vec<String> = rendered.chain([run.output.as_str()]).map(cargo::strip_colours).collect();
    let mut lines = text.iter().flat_map(|text| text.lines());
    lines.find_map(|line| {
        if let Some(library) = deps::missing_library(line) {
            return Some(format!(
                "the linker does not find the system library `{library}`: install the package with its development \
                 files (`lib{library}-dev`, `{library}-devel` or the like)"
            ));
        }
        // As the crate pkg-config says it.
        let (_, rest) = line.split_once("The system library `")?;
        let (library, _) = rest.split_once("` required by crate")?;
        Some(format!(
            "install the package with the development files of `{library}`, or let PKG_CONFIG_PATH name the directory \
             of its `{library}.pc`"
        ))
    })
}

/// Leaves out the crates that define the symbols, and those that use them: a library must hold all that it is made of.
fn exclusion(
    app: &App,
    symbols: &[String],
    libraries: &[(String, PathBuf)],
    reason: &str,
) -> Option<job_sheet::Exclusion> {
    let defines = |path: &Path| std::fs::read(path).is_ok_and(|bytes| linker::defines_one(&bytes, symbols));
    let origins: Vec<&(String, PathBuf)> = libraries.iter().filter(|(_, path)| defines(path)).collect();
    let (_, first) = origins.first()?;
    let ids: Vec<&str> = origins.iter().map(|(id, _)| id.as_str()).collect();
    let excluded = libraries.iter().filter(|(id, _)| app.reaches(id, &ids)).map(|(_, path)| path.clone());
    let stem = first.file_stem().unwrap_or_default().to_string_lossy();
    let stem = stem.strip_prefix("lib").unwrap_or(&stem);
    let name = stem.rsplit_once('-').map_or(stem, |(name, _)| name);
    Some(job_sheet::Exclusion {
        libraries: excluded.collect(),
        reason: format!(
            "`{name}`, and what uses it, is linked into the app, which makes a reload slower: {reason}"
        ),
    })
}

fn explain(problem: Problem, library: &Path) -> Failure {
    match problem {
        Problem::Unfit { message, hint } => start_failure(message, hint),
        Problem::OwnAllocator => start_failure(
            format!("{} has an allocator of its own beside the shared standard library's", library.display()),
            "use --deps static, or --deps auto",
        ),
        Problem::Unresolved(symbols) => start_failure(
            format!(
                "{} needs symbols that nothing provides: {}",
                library.display(),
                artifact::list_symbols(&symbols)
            ),
            "link the library that has them (in a build script: `cargo::rustc-link-lib=NAME`)",
        ),
    }
}

fn build_failure(output: String) -> Failure {
    Failure::Build { diagnostics: Diagnostics::default(), output }
}

fn start_failure(message: impl Into<String>, hint: impl Into<String>) -> Failure {
    Failure::start(message, hint)
}

/// A change of these may change what the app's packages are.
fn concerns_cargo(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    matches!(name, "Cargo.toml" | "Cargo.lock" | "rust-toolchain" | "rust-toolchain.toml")
        || path.parent().is_some_and(|parent| parent.ends_with(".cargo"))
}

/// Without `.` and `..`, by the words alone: what does not exist has no better name.
pub fn normalize(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(normal.pop()),
            other => normal.push(other),
        }
    }
    normal
}

fn link(target: &Path, path: &Path) -> io::Result<()> {
    if std::fs::read_link(path).is_ok_and(|current| current == target) {
        return Ok(());
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    let scratch = tempfile::tempdir_in(directory)?;
    let fresh = scratch.path().join("link");
    std::os::unix::fs::symlink(target, &fresh)?;
    std::fs::rename(fresh, path)
}

fn temporary_directory(target_dir: &Path) -> PathBuf {
    target_dir.join("tmp").join("rustc")
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(directory).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_manifests_are_told_from_others() {
        for path in ["/w/Cargo.toml", "/w/a/Cargo.lock", "/w/.cargo/config.toml", "/w/rust-toolchain"] {
            assert!(concerns_cargo(Path::new(path)), "{path}");
        }
        assert!(!concerns_cargo(Path::new("/w/src/lib.rs")));
    }

    #[test]
    fn an_unknown_name_is_no_helper() {
        assert!(dispatch("devhost").is_none());
    }
}
