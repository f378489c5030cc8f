//! Replay: builds the app by making cargo's recorded rustc calls again, without cargo. cargo's own no-op costs a fifth
//! of a second and grows with the workspace; a replay costs what rustc needs for the crates that changed.
//!
//! # When it is allowed
//!
//! By default it is not. `Recording::judge` allows it if it can prove that cargo would make the very same calls, for
//! no other crates, and that nothing but the content of known files is different:
//!
//! 1. The last run of cargo succeeded, and there is a record (`record`) under the present settings, made with the
//!    present values of the variables that cargo changes, for the app and for each crate of the workspace that it is
//!    linked from. Where a wrapper of the user's own (`RUSTC_WRAPPER`), other than a compiler cache, stands between cargo
//!    and devhost, there is none.
//! 2. Every *guard* is as it was: the manifests, the lock file, cargo's and rustup's configuration, the toolchain file
//!    (those that are missing must still be missing), rustc and devhost themselves, the wrapper's job sheet, every
//!    library that a call is given and that is no crate of the workspace, the libraries to preload, what build scripts
//!    have named as their inputs, every file that cargo lists for the app and no recorded call does, and the sources of
//!    recorded crates that the last run of cargo reported and that the app is not linked from (build scripts).
//! 3. Every file that is said to have changed is one that a recorded call has read, and each of them still exists. In
//!    the directories that they lie in, there is no other Rust file and no other directory than before: a file that is
//!    new or gone may be found as another one's module.
//! 4. No crate to be compiled is a procedural macro, has a build script that names no inputs and that only cargo can run, or
//!    is used by a procedural macro, a build script or a package whose calls are not recorded (one outside of the
//!    workspace). Its call was recorded under the present manifests and configuration.
//!    Which build scripts a replay runs, and what follows from it, stands at the head of `scripts`. Their inputs are no guards.
//! 5. What the calls have made is as they left it, and nobody else builds in this target directory.
//!
//! What has changed is found by content, never by time: every known file is looked at, whether the watcher has told of
//! it or not, so that a file restored with an old time, or a clock that is wrong, makes no difference. A crate is
//! compiled again if one of its files has another content than when it was last compiled, if that compilation failed or
//! was cancelled, or if a crate that it uses is. Files are compared once more when rustc is done with them; if one has
//! changed meanwhile, nobody knows which content rustc has read, and the crate is compiled again.
//!
//! Before a crate is replayed, cargo's memory of it is aged (see `stale`), so that the next run of cargo
//! compiles it anew whatever its files' times say.
//!
//! Errors in the code are said as rustc says them. Any other failure is not believed: cargo is asked.

mod inputs;
pub(super) mod record;
mod run;
mod scripts;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt as _;
use tokio::net::unix::pipe::Receiver;

use self::inputs::{Inputs, Stamped};
use self::record::Recorded;
use self::run::{Call as RunCall, Ended};
pub(super) use self::scripts::warning;
use self::scripts::{Cause, Look, Script, Scripts};
use super::app::{App, PathPackage};
use super::call::Call;
use super::cargo::Run;
use super::documents;
use super::job_sheet::{JobSheet, Report};
use super::settings::config_files;
use super::{CLOCK_LAG_MAX_MS, Progress, dep_info, stale};
use devhost_model::{BuildStep, Diagnostic};
use devhost_sys::content::{Content, Identity};

/// How often a crate is compiled again because its files change while rustc reads them. After that the result is what
/// it is: whoever changes them then says so once more.
const ROUNDS_COUNT_MAX: usize = 3;

/// How long a cancelled rustc may take to be gone.
const CANCELLED_END_TIME_MAX: Duration = Duration::from_secs(5);

/// A part of the rule that can be left out, to see that the tests notice.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weakness {
    /// Manifests, configuration, build scripts' inputs and the like do not count.
    Guards,
    /// New and removed files do not count.
    UnknownFiles,
    /// Crates that use a changed one are not compiled again.
    Dependents,
    /// Only what the watcher says has changed is looked at.
    Content,
    /// Files are not compared again once rustc has read them.
    SecondLook,
    /// A crate's record may be of other manifests.
    Manifests,
    /// Inputs of build scripts do not count.
    ScriptInputs,
    /// A package is not compiled again for a script that says and makes the same, although its inputs have changed.
    ScriptUsers,
    /// What a script says is not compared.
    ScriptOutput,
    /// What a script makes is not compared.
    ScriptMade,
    /// cargo is not told that a script was run.
    ScriptAge,
}

/// What there is to know for a replay.
#[derive(Debug)]
pub(super) struct Recording {
    key: String,
    /// What crates are needed by others come before those.
    units: Vec<Unit>,
    /// Files whose change is cargo's business, even if they are only touched: a build script may be meant to run then.
    /// `None` where it may have changed while cargo ran.
    guards: BTreeMap<PathBuf, Option<(Option<Identity>, Content)>>,
    /// Trees whose change is cargo's business.
    trees: BTreeMap<PathBuf, Option<Vec<Stamped>>>,
    /// Large files that nobody edits.
    fixed: BTreeMap<PathBuf, Option<Identity>>,
    /// What modules could be found in.
    listings: BTreeMap<PathBuf, BTreeSet<OsString>>,
    /// Warnings of crates that have no record.
    other_warnings: Vec<Diagnostic>,
    /// The build scripts that a replay can run.
    scripts: Vec<Script>,
    /// The profile's directories, whose fingerprints are aged.
    profile_dirs: Vec<PathBuf>,
    /// At their end when every process of the last replay has ended.
    alive: Vec<Receiver>,
}

/// A build script to be run, by its index.
type Wanted = (usize, (Cause, Look));

/// A crate of the workspace, as one rustc call.
#[derive(Debug)]
struct Unit {
    recorded: Recorded,
    call: Call,
    package: PathPackage,
    /// Indices of the units that it is given.
    needs: Vec<usize>,
    is_macro: bool,
    /// Why every change in its package is cargo's business.
    only_cargo: Option<String>,
    /// What was in its files when it was last compiled; `None` where that is not known.
    sources: BTreeMap<PathBuf, Option<Content>>,
    /// The files that it makes.
    outputs: BTreeMap<PathBuf, Option<Identity>>,
    /// It must be compiled whatever its files say: the last time it was not to the end.
    due: bool,
    /// cargo knows that it must compile it.
    aged: bool,
    warnings: Vec<Diagnostic>,
}

/// What the builder knows of the files before it starts cargo.
#[derive(Debug)]
pub(super) struct Before {
    started: SystemTime,
    /// Where only build scripts write, before their outcome is read.
    target_dir: PathBuf,
    contents: HashMap<PathBuf, Content>,
}

impl Before {
    /// Looks at the files that the next build will probably read.
    pub(crate) fn look(app: &App, sheet: &Path, files: &[PathBuf], recording: Option<&Recording>) -> Self {
        let started = SystemTime::now();
        let mut contents = HashMap::new();
        if let Some(recording) = recording {
            let sources = recording.units.iter().flat_map(|unit| unit.sources.iter());
            let known = sources.filter_map(|(path, content)| Some((path, (*content)?)));
            let guards = recording.guards.iter().filter_map(|(path, known)| Some((path, (*known)?.1)));
            contents.extend(known.chain(guards).map(|(path, content)| (path.clone(), content)));
        }
        for path in files.iter().chain(&manifests(app)) {
            contents.entry(path.clone()).or_insert(Content::Absent);
        }
        // What a script writes while cargo runs is there before anybody reads it.
        contents.retain(|path, _| !path.starts_with(&app.target_dir));
        contents.entry(sheet.to_owned()).or_insert(Content::Absent);
        for (path, content) in &mut contents {
            content.refresh(path);
        }
        Self { started, target_dir: app.target_dir.clone(), contents }
    }

    /// What a build that started then has read in the file, if it can be told.
    fn content(&self, path: &Path) -> Option<Content> {
        match self.contents.get(path) {
            Some(content) => {
                let mut now = *content;
                (!now.refresh(path)).then_some(now)
            }
            None => {
                let mut now = Content::notice(path);
                // What is written while it is read has an older stamp than its bytes.
                let is_written = now.refresh(path);
                let lag = Duration::from_millis(CLOCK_LAG_MAX_MS);
                let is_old = self.started.checked_sub(lag).is_some_and(|time| !now.is_newer_than(time));
                let settled = path.starts_with(&self.target_dir) || (is_old && !is_written);
                settled.then_some(now)
            }
        }
    }
}

/// What the builder has beside the recording.
#[derive(Debug)]
pub(super) struct Context {
    pub app: App,
    /// The devhost executable, which is the guard too.
    pub devhost: PathBuf,
    /// The rustc wrapper.
    pub wrapper: PathBuf,
    pub sheet_path: PathBuf,
    /// The environment that cargo is given.
    pub environment: Vec<(OsString, OsString)>,
    pub temporary: PathBuf,
    /// How many rustcs may run at once.
    pub jobs: usize,
    /// What is left out of the rule.
    pub weakness: Option<Weakness>,
}

impl Context {
    fn is_weak(&self, weakness: Weakness) -> bool {
        self.weakness == Some(weakness)
    }
}

impl Recording {
    /// Puts together what a good run of cargo has left; why not, where a replay could never be right.
    pub(crate) fn make(
        context: &Context,
        run: &Run,
        report: &Report,
        sources: &[PathBuf],
        profile_dirs: Vec<PathBuf>,
        before: &Before,
    ) -> Result<Self, String> {
        let sheet: JobSheet =
            documents::read(&context.sheet_path).ok_or("the job sheet for rustc is gone")?;
        let mut maker = Maker { context, sheet: &sheet, before, units: Vec::new(), known: HashMap::new() };
        let root = report.call.as_ref().ok_or("the app's rustc call was not recorded")?;
        maker.add(root)?;
        maker.look_for_other_users(run);
        let mut units = maker.units;
        let scripts = Scripts::read(context, &sheet, run, &units, before);
        for unit in units.iter_mut().filter(|unit| scripts.without_inputs.contains(&unit.package.id)) {
            unit.only_cargo.get_or_insert_with(|| {
                format!(
                    "the build script of `{}` names no inputs that exist (`cargo::rerun-if-changed=…`), so cargo runs it \
                     after every change",
                    unit.package.name
                )
            });
        }
        let mut recording = Self {
            key: sheet.key.clone(),
            guards: BTreeMap::new(),
            trees: BTreeMap::new(),
            fixed: BTreeMap::new(),
            listings: BTreeMap::new(),
            other_warnings: Vec::new(),
            scripts: Vec::new(),
            profile_dirs,
            alive: Vec::new(),
            units: Vec::new(),
        };
        for (source, diagnostic) in &run.diagnostics_by_source {
            let mut known = false;
            for unit in units.iter_mut().filter(|unit| unit.root_source() == *source) {
                unit.warnings.push(diagnostic.clone());
                known = true;
            }
            if !known {
                recording.other_warnings.push(diagnostic.clone());
            }
        }
        recording.other_warnings.extend(run.script_warnings.iter().cloned());
        recording.other_warnings.retain(|warning| !scripts.own.iter().any(|script| script.has_said(warning)));
        recording.units = units;
        recording.guard(context, run, report, sources, &scripts, before);
        recording.scripts = scripts.own;
        recording.list_directories();
        Ok(recording)
    }

    fn guard(
        &mut self,
        context: &Context,
        run: &Run,
        report: &Report,
        sources: &[PathBuf],
        scripts: &Scripts,
        before: &Before,
    ) {
        let mut guards = manifests(&context.app);
        guards.extend(scripts.files.iter().cloned());
        guards.insert(context.sheet_path.clone());
        // A file of a recorded call may be a build script's, too, and then it is cargo's business.
        guards.extend(self.sources_of_others(context, run));
        let own: BTreeSet<&PathBuf> = self.units.iter().flat_map(|unit| unit.sources.keys()).collect();
        let of_others = self.readers_outside(context, run);
        // cargo lists what scripts have named, too.
        let is_input = |path: &PathBuf| {
            scripts.own.iter().any(|script| script.names(path))
                && !of_others
                    .iter()
                    .any(|package| stale::dep_info_names(&context.app, &self.profile_dirs, package, path))
        };
        guards.extend(sources.iter().filter(|path| !own.contains(path) && !is_input(path)).cloned());
        let look = |path: PathBuf| {
            let known = before.content(&path).map(|content| (Identity::of(&path), content));
            (path, known)
        };
        self.guards = guards.into_iter().map(look).collect();
        let stamps = |path: &PathBuf| (path.clone(), Inputs::Named(vec![path.clone()]).stamps());
        self.trees = scripts.directories.iter().map(stamps).collect();
        let mut fixed: BTreeSet<PathBuf> = report.preload.iter().cloned().collect();
        fixed.insert(context.devhost.clone());
        fixed.insert(context.wrapper.clone());
        fixed.extend(scripts.own.iter().flat_map(Script::programs));
        let made: BTreeSet<&PathBuf> = self.units.iter().flat_map(|unit| unit.outputs.keys()).collect();
        for unit in &self.units {
            fixed.insert(unit.recorded.rustc.clone());
            for library in &unit.call.externs {
                fixed.insert(library.path.clone());
                fixed.insert(library.rlib());
            }
        }
        fixed.retain(|path| !made.contains(path));
        self.fixed = fixed.into_iter().map(|path| (path.clone(), Identity::of(&path))).collect();
    }

    /// The path packages of the build that only cargo compiles.
    fn readers_outside<'a>(&self, context: &'a Context, run: &Run) -> Vec<&'a PathPackage> {
        let packages = context.app.path_packages.iter().filter(|package| run.packages.contains(&package.id));
        packages.filter(|package| !self.units.iter().any(|unit| unit.package.id == package.id)).collect()
    }

    /// The sources of recorded crates that belong to the build but that the app is not linked from: build scripts, and what
    /// those use.
    fn sources_of_others(&self, context: &Context, run: &Run) -> Vec<PathBuf> {
        let calls = super::entries(&context.app.target_dir.join("calls"));
        calls
            .filter_map(|path| documents::read::<Recorded>(&path))
            .filter(|recorded| recorded.key == self.key)
            .filter(|recorded| {
                context.app.path_packages.iter().any(|package| package.root == recorded.package_root)
            })
            .map(|recorded| (recorded.call(), recorded))
            .filter(|(call, recorded)| self.is_of_others(call, &recorded.directory, run))
            .flat_map(|(call, recorded)| sources_of(&recorded, &call))
            .collect()
    }

    /// A crate that is none of the units, and that the last run of cargo has made or found. A record of another one was
    /// left by an earlier state of the manifests.
    fn is_of_others(&self, call: &Call, directory: &Path, run: &Run) -> bool {
        let (out_dir, stem) = (directory.join(&call.out_dir), call.stem());
        let mut namesakes =
            self.units.iter().filter(|unit| unit.call.crate_name == call.crate_name).peekable();
        let has_namesake = namesakes.peek().is_some();
        if namesakes.any(|unit| unit.call.stem() == stem && unit.call.out_dir == call.out_dir) {
            return false;
        }
        let is_of = |file: &Path, stem: &str| {
            let name = file.file_stem().and_then(OsStr::to_str).unwrap_or_default().replace('-', "_");
            let stem = stem.replace('-', "_");
            name == stem || name.strip_prefix("lib") == Some(&stem)
        };
        // A build script has a directory of its own, in which cargo gives it another name.
        let is_alone = !out_dir.ends_with("deps");
        run.made.iter().any(|(_, file)| match file.parent() {
            Some(parent) if parent == out_dir => is_alone || is_of(file, &stem),
            // A program or a shared library is put above that, without the hash in its name.
            Some(parent) => {
                Some(parent) == out_dir.parent() && !has_namesake && is_of(file, &call.crate_name)
            }
            None => false,
        })
    }

    fn list_directories(&mut self) {
        let directories: BTreeSet<PathBuf> = self
            .units
            .iter()
            .flat_map(|unit| unit.sources.keys())
            .filter_map(|path| path.parent().map(Path::to_owned))
            .collect();
        self.listings.retain(|path, _| directories.contains(path));
        for directory in directories {
            self.listings.entry(directory.clone()).or_insert_with(|| listing(&directory));
        }
    }

    /// Whether all that cargo decides by is as it was; why not.
    fn check(&mut self, context: &Context, changed: &[PathBuf]) -> Result<(), String> {
        if !context.is_weak(Weakness::Guards) {
            self.check_guards(context)?;
        }
        if !context.is_weak(Weakness::UnknownFiles) {
            self.check_unknown(context, changed)?;
        }
        Ok(())
    }

    /// The units that a change needs to have compiled, with those that are `due` for another reason; why not, where that is
    /// cargo's business. See the module's head for the rule.
    fn judge(
        &self,
        context: &Context,
        changed: &[PathBuf],
        due: &BTreeSet<usize>,
    ) -> Result<Vec<usize>, String> {
        let mut wanted = BTreeSet::new();
        for index in 0..self.units.len() {
            let by_watcher = context.is_weak(Weakness::Content);
            let dependents = !context.is_weak(Weakness::Dependents);
            let unit = &self.units[index];
            let used = dependents && unit.needs.iter().any(|needed| wanted.contains(needed));
            let is_due = unit.due || due.contains(&index);
            if used || is_due || unit.is_changed(context, &self.scripts, by_watcher.then_some(changed))? {
                wanted.insert(index);
            }
        }
        for index in &wanted {
            let unit = &self.units[*index];
            if unit.is_macro {
                return Err(format!("`{}` is a procedural macro, or changes one", unit.package.name));
            }
            if let Some(reason) = &unit.only_cargo {
                return Err(reason.clone());
            }
        }
        for unit in self.units.iter().filter(|unit| !unit.due) {
            if let Some((path, _)) = unit.outputs.iter().find(|(path, made)| Identity::of(path) != **made) {
                return Err(format!("{} was changed by another program", shown(path, context)));
            }
        }
        Ok(wanted.into_iter().collect())
    }

    fn check_guards(&mut self, context: &Context) -> Result<(), String> {
        for (path, known) in &mut self.guards {
            let Some((identity, content)) = known else {
                return Err(format!("{} may have changed while cargo ran", shown(path, context)));
            };
            let mut now = *content;
            if now.refresh(path) || Identity::of(path) != *identity {
                return Err(format!("{} changed", shown(path, context)));
            }
            *content = now;
        }
        for (path, identity) in &self.fixed {
            if Identity::of(path) != *identity {
                return Err(format!("{} changed", shown(path, context)));
            }
        }
        for (path, stamps) in &self.trees {
            if stamps.is_none() || Inputs::Named(vec![path.clone()]).stamps() != *stamps {
                return Err(format!("{}, which a build script reads, changed", shown(path, context)));
            }
        }
        Ok(())
    }

    fn check_unknown(&self, context: &Context, changed: &[PathBuf]) -> Result<(), String> {
        for path in changed {
            // It may have changed while cargo ran, and then nothing here shows it.
            if self.guards.contains_key(path) {
                return Err(format!("{} changed", shown(path, context)));
            }
            let is_known = self.units.iter().any(|unit| unit.sources.contains_key(path))
                || self.scripts.iter().any(|script| script.reads(path));
            if !is_known {
                let what = if path.exists() { "is new to the build" } else { "is gone" };
                return Err(format!("{} {what}", shown(path, context)));
            }
        }
        for (directory, names) in &self.listings {
            let now = listing(directory);
            if let Some(name) = now.symmetric_difference(names).next() {
                let what = if names.contains(name) { "is gone" } else { "is new" };
                return Err(format!("{} {what}", shown(&directory.join(name), context)));
            }
        }
        Ok(())
    }

    /// Builds what changed, well or not; why not, where that is not allowed, or where it failed in a way that only cargo
    /// can explain. Dropping the future ends every rustc at once; what was not compiled to its end is compiled the next
    /// time.
    pub(crate) async fn replay(
        &mut self,
        context: &Context,
        changed: &[PathBuf],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Run, String> {
        if !self.is_quiet().await {
            return Err("a cancelled rustc is still running".into());
        }
        let Some(lock) = lock(&self.profile_dirs) else {
            return Err("another process builds in this target directory".into());
        };
        let begun = Instant::now();
        let mut run = Run { success: true, ..Run::default() };
        let mut steps = Vec::new();
        for round in 0..ROUNDS_COUNT_MAX {
            let changed = if round == 0 { changed } else { &[] };
            self.check(context, changed)?;
            let scripts = self.scripts_to_run(context, changed, round == 0)?;
            if !scripts.is_empty() {
                // Nothing is run where only cargo could go on.
                let units = scripts.iter().flat_map(|(index, _)| &self.scripts[*index].units);
                self.judge(context, changed, &units.copied().collect())?;
                steps.extend(self.run_scripts(context, begun, scripts, progress).await?);
            }
            let units = self.judge(context, changed, &BTreeSet::new())?;
            if units.is_empty() {
                break;
            }
            run = self.compile(context, begun, &units, progress).await?;
            if !run.success || context.is_weak(Weakness::SecondLook) {
                break;
            }
        }
        drop(lock);
        run.steps.splice(0..0, steps);
        if run.success {
            let of_scripts: Vec<Diagnostic> = self.scripts.iter().flat_map(Script::warnings).collect();
            let warnings = self.units.iter().flat_map(|unit| unit.warnings.iter());
            for warning in warnings.chain(&of_scripts).chain(&self.other_warnings) {
                run.diagnostics.add(warning);
            }
        }
        run.library = self.units.last().map(Unit::library);
        Ok(run)
    }

    /// Waits until nothing of a cancelled replay runs any more: it writes to the same files.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        let deadline = tokio::time::Instant::now() + CANCELLED_END_TIME_MAX;
        while let Some(alive) = self.alive.last_mut() {
            // Whatever is written to the pipe is of no interest.
            let mut nowhere = tokio::io::sink();
            let ended = tokio::io::copy(alive, &mut nowhere);
            if tokio::time::timeout_at(deadline, ended).await.is_err() {
                return false;
            }
            self.alive.pop();
        }
        true
    }

    /// The build scripts that cargo would run, by their indices; those that it runs every time only if `always`.
    fn scripts_to_run(
        &self,
        context: &Context,
        changed: &[PathBuf],
        always: bool,
    ) -> Result<Vec<Wanted>, String> {
        let mut wanted = Vec::new();
        for (index, script) in self.scripts.iter().enumerate() {
            let look = script.look(context, changed)?;
            wanted.extend(
                look.filter(|(cause, _)| always || *cause == Cause::Change).map(|look| (index, look)),
            );
        }
        Ok(wanted)
    }

    /// Runs build scripts, as many at once as may be, and takes in what they have said and made; why not, if only cargo
    /// knows what follows.
    async fn run_scripts(
        &mut self,
        context: &Context,
        begun: Instant,
        scripts: Vec<Wanted>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Vec<BuildStep>, String> {
        let started = SystemTime::now();
        let alive_count = self.alive.len();
        let mut runs = Vec::new();
        for (index, look) in scripts {
            let script = &mut self.scripts[index];
            script.begin(context, &self.profile_dirs);
            let name = script.package.name.clone();
            progress(Progress { done: 0, total: 1, current: format!("the build script of {name}") });
            let (reader, writer) = std::io::pipe().map_err(no_pipe)?;
            let other = reader.try_clone().map_err(no_pipe)?;
            self.alive.push(Receiver::from_owned_fd(other.into()).map_err(no_pipe)?);
            let reader = Receiver::from_owned_fd(reader.into()).map_err(no_pipe)?;
            let recorded = script.recorded.clone();
            runs.push(async move {
                let begun_at = begun.elapsed();
                let output = run::run_script(context, &name, &recorded, reader, writer).await;
                let step = BuildStep {
                    name: format!("{name} (build script)"),
                    begun_ms: begun_at.as_secs_f64() * 1_000.0,
                    took_ms: begun.elapsed().saturating_sub(begun_at).as_secs_f64() * 1_000.0,
                };
                (index, look, step, output)
            });
        }
        let ended: Vec<_> =
            futures_util::stream::iter(runs).buffer_unordered(context.jobs.max(1)).collect().await;
        // None was cancelled; what a script may have left running for good is nobody's to wait for.
        self.alive.truncate(alive_count);
        let mut steps = Vec::new();
        for (index, look, step, output) in ended {
            let script = &mut self.scripts[index];
            if script.take(context, &mut self.units, look, &output?, started)? {
                for unit in &script.units {
                    self.units[*unit].due = true;
                }
                // Whoever reads there is compiled again.
                let out_dir = script.out_dir().to_owned();
                self.listings.retain(|directory, _| !directory.starts_with(&out_dir));
            }
            steps.push(step);
        }
        self.list_directories();
        Ok(steps)
    }

    async fn compile(
        &mut self,
        context: &Context,
        begun: Instant,
        units: &[usize],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Run, String> {
        let mut calls = Vec::new();
        for index in units {
            let unit = &mut self.units[*index];
            if !unit.aged {
                stale::age_crates(&self.profile_dirs, &unit.package);
                unit.aged = true;
            }
            unit.due = true;
            let needs = unit.needs.iter().filter_map(|need| units.iter().position(|index| index == need));
            calls.push(RunCall {
                name: unit.package.name.clone(),
                recorded: unit.recorded.clone(),
                needs: needs.collect(),
                pipelined: unit.is_pipelined(),
            });
        }
        let (alive, held) = std::io::pipe().map_err(no_pipe)?;
        self.alive.push(Receiver::from_owned_fd(alive.into()).map_err(no_pipe)?);
        let mut before = HashMap::new();
        let mut ended = Vec::new();
        let mut run = run::run(context, begun, calls, held, progress, |event| match event {
            run::Event::Starts(call) => {
                let unit = &self.units[units[call]];
                before.insert(call, unit.look(&context.app.target_dir, SystemTime::now()));
            }
            run::Event::Ended(call, end) => ended.push((call, end)),
        })
        .await?;
        for (call, Ended { success, diagnostics: said, .. }) in ended {
            let unit = &mut self.units[units[call]];
            if success && let Some(before) = before.remove(&call) {
                unit.settle(&before);
                unit.warnings = said.to_vec();
            }
            run.diagnostics.merge(&said);
        }
        self.list_directories();
        let in_code = |diagnostic: &Diagnostic| diagnostic.level == "error" && diagnostic.file.is_some();
        if !run.success && !run.diagnostics.iter().any(in_code) {
            return Err("rustc failed, and not because of the code".into());
        }
        Ok(run)
    }

    /// Whether the crates that read a file were compiled with what is in it now; `None` if that is not known.
    pub(crate) fn has_read(&self, file: &Path) -> Option<bool> {
        let mut known = None;
        for content in self.units.iter().filter_map(|unit| unit.sources.get(file)) {
            let mut now = (*content)?;
            known = Some(known.unwrap_or(true) && !now.refresh(file));
        }
        // A build script may have read something else in it.
        known.filter(|_| !self.guards.contains_key(file))
    }

    /// From when until when replays have run build scripts, by the directories that cargo keeps for them.
    pub(crate) fn script_runs(&self) -> impl Iterator<Item = (&Path, (SystemTime, SystemTime))> {
        self.scripts.iter().filter_map(|script| Some((script.out_dir().parent()?, script.last_run()?)))
    }

    /// What build scripts name that replays have run.
    pub(crate) fn named(&self) -> impl Iterator<Item = &PathBuf> {
        self.scripts.iter().flat_map(Script::named)
    }

    /// Every file that the app is made of: those of recorded calls as they are now, and `others`, which no recorded
    /// call reads.
    pub(crate) fn sources(&self, others: &[PathBuf]) -> Vec<PathBuf> {
        let is_known = |path: &PathBuf| {
            self.guards.contains_key(path) || self.scripts.iter().any(|script| script.names(path))
        };
        let mut sources: BTreeSet<PathBuf> = others.iter().filter(|path| is_known(path)).cloned().collect();
        sources.extend(self.scripts.iter().flat_map(Script::named).cloned());
        sources.extend(self.units.iter().flat_map(|unit| unit.sources.keys().cloned()));
        sources.into_iter().collect()
    }
}

impl Unit {
    /// The root source file, as cargo names it.
    fn root_source(&self) -> PathBuf {
        self.recorded.directory.join(&self.call.input)
    }

    /// It can start once the metadata of what it needs is there.
    fn is_pipelined(&self) -> bool {
        self.call.crate_types.iter().all(|kind| kind == "lib" || kind == "rlib")
    }

    /// Where the library is that a worker loads, for the app's own unit.
    fn library(&self) -> PathBuf {
        let directory = self.recorded.directory.join(&self.call.out_dir);
        match self.call.crate_types.first().map(String::as_str) {
            Some("bin") => directory.join(self.call.stem()),
            _ => directory.join(format!("lib{}.so", self.call.stem())),
        }
    }

    fn is_changed(
        &self,
        context: &Context,
        scripts: &[Script],
        only: Option<&[PathBuf]>,
    ) -> Result<bool, String> {
        let mut changed = false;
        for (path, content) in &self.sources {
            if only.is_some_and(|only| !only.contains(path)) {
                continue;
            }
            let differs = match content {
                Some(content) => {
                    let mut now = *content;
                    now.refresh(path)
                }
                None => true,
            };
            if differs && !path.is_file() {
                return Err(format!("{} is gone", shown(path, context)));
            }
            let is_made = path.starts_with(&context.app.target_dir)
                && !scripts.iter().any(|script| script.has_made(path));
            if differs && is_made {
                return Err(format!("{}, which a build script makes, changed", shown(path, context)));
            }
            changed |= differs;
        }
        Ok(changed)
    }

    /// Looks at the files before rustc does.
    fn look(&self, target_dir: &Path, started: SystemTime) -> Before {
        let mut contents = HashMap::new();
        for (path, content) in &self.sources {
            let mut now = content.unwrap_or(Content::Absent);
            now.refresh(path);
            contents.insert(path.clone(), now);
        }
        Before { started, target_dir: target_dir.to_owned(), contents }
    }

    /// Notes what rustc has read and made.
    fn settle(&mut self, before: &Before) {
        let paths = sources_of(&self.recorded, &self.call);
        self.sources = paths.into_iter().map(|path| (path.clone(), before.content(&path))).collect();
        self.outputs = outputs_of(&self.recorded, &self.call);
        self.due = false;
    }
}

/// Finds units from the app downwards.
struct Maker<'a> {
    context: &'a Context,
    sheet: &'a JobSheet,
    before: &'a Before,
    units: Vec<Unit>,
    known: HashMap<PathBuf, Option<usize>>,
}

impl Maker<'_> {
    fn add(&mut self, path: &Path) -> Result<usize, String> {
        let recorded: Recorded = documents::read(path).ok_or("the app's rustc call was not recorded")?;
        let call = recorded.call();
        let name = call.crate_name.clone();
        recorded.is_of(self.sheet, &name)?;
        let mut packages = self.context.app.path_packages.iter();
        let package = packages.find(|package| package.root == recorded.package_root);
        let package = package.ok_or_else(|| format!("`{name}` is no package of the app any more"))?.clone();
        let mut needs = Vec::new();
        for library in &call.externs {
            let out_dir = library.path.parent().unwrap_or(Path::new(""));
            let Some(stem) = super::call::library_stem(&library.path) else { continue };
            let path = record::path(&self.sheet.target_dir, out_dir, stem);
            let index = match self.known.get(&path) {
                Some(index) => *index,
                // What has no record is no crate of the workspace, and guarded.
                None if !path.is_file() => None,
                None => Some(self.add(&path)?),
            };
            self.known.insert(path, index);
            needs.extend(index);
        }
        let is_macro = call.crate_types.iter().any(|kind| kind == "proc-macro");
        let sources: BTreeMap<_, _> = sources_of(&recorded, &call)
            .into_iter()
            .map(|path| (path.clone(), self.before.content(&path)))
            .collect();
        if sources.is_empty() {
            return Err(format!("what `{name}` was compiled from is not known"));
        }
        self.units.push(Unit {
            needs,
            is_macro,
            only_cargo: self.reason_for_cargo(&package, &recorded),
            sources,
            outputs: outputs_of(&recorded, &call),
            due: false,
            aged: false,
            warnings: Vec::new(),
            package,
            recorded,
            call,
        });
        Ok(self.units.len() - 1)
    }

    /// Why every change in a package is cargo's business.
    fn reason_for_cargo(&self, package: &PathPackage, recorded: &Recorded) -> Option<String> {
        let name = &package.name;
        if !recorded.is_current(self.sheet) && !self.context.is_weak(Weakness::Manifests) {
            return Some(format!("a manifest or the configuration changed since `{name}` was compiled"));
        }
        let used = self.context.app.used_by_scripts.contains(&package.id);
        used.then(|| format!("`{name}` is used by a build script"))
    }

    /// What is used by a package of the build that is not replayed is cargo's business, too.
    fn look_for_other_users(&mut self, run: &Run) {
        let ours: BTreeSet<String> = self.units.iter().map(|unit| unit.package.id.clone()).collect();
        let is_other = |user: &str| run.packages.contains(user) && !ours.contains(user);
        for unit in &mut self.units {
            let mut users = self.context.app.uses.iter().filter(|(user, _)| is_other(user));
            if users.any(|(_, used)| used.contains(&unit.package.id)) {
                unit.only_cargo.get_or_insert_with(|| {
                    format!("`{}` is used by a package that only cargo compiles", unit.package.name)
                });
            }
        }
    }
}

/// Files that decide what cargo does, whether they exist or not.
fn manifests(app: &App) -> BTreeSet<PathBuf> {
    let mut guards = BTreeSet::new();
    let roots = app.path_packages.iter().map(|package| package.root.as_path());
    for root in roots.chain([app.workspace_root.as_path()]) {
        guards.insert(root.join("Cargo.toml"));
    }
    guards.insert(app.workspace_root.join("Cargo.lock"));
    for directory in app.root().ancestors().chain(app.workspace_root.ancestors()) {
        guards.extend(["rust-toolchain", "rust-toolchain.toml"].map(|name| directory.join(name)));
    }
    guards.extend([app.root(), &app.workspace_root].into_iter().flat_map(config_files));
    guards.extend(app.config_files.iter().cloned());
    let rustup = std::env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".rustup")));
    guards.extend(rustup.map(|home| home.join("settings.toml")));
    guards
}

/// For each path package, by its directory, a hash of the files from which cargo takes the variables that it sets for the
/// package.
pub(super) fn manifest_hashes(app: &App) -> BTreeMap<PathBuf, String> {
    let mut common = blake3::Hasher::new();
    let add = |hasher: &mut blake3::Hasher, path: &Path| {
        let bytes = std::fs::read(path).ok();
        hasher.update(&[u8::from(bytes.is_some())]);
        hasher.update(blake3::hash(&bytes.unwrap_or_default()).as_bytes());
    };
    add(&mut common, &app.workspace_root.join("Cargo.toml"));
    for path in [app.root(), &app.workspace_root].into_iter().flat_map(config_files) {
        add(&mut common, &path);
    }
    let of = |package: &PathPackage| {
        let mut hasher = common.clone();
        add(&mut hasher, &package.root.join("Cargo.toml"));
        (package.root.clone(), hasher.finalize().to_hex()[..16].to_owned())
    };
    app.path_packages.iter().map(of).collect()
}

fn no_pipe(error: std::io::Error) -> String {
    format!("cannot create a pipe: {error}")
}

/// What a compiled crate was made of.
fn sources_of(recorded: &Recorded, call: &Call) -> Vec<PathBuf> {
    let dep_info = recorded.directory.join(&call.out_dir).join(format!("{}.d", call.stem()));
    dep_info::read_sources(&dep_info, &recorded.directory)
}

/// What a call has made, as it is now.
fn outputs_of(recorded: &Recorded, call: &Call) -> BTreeMap<PathBuf, Option<Identity>> {
    let directory = recorded.directory.join(&call.out_dir);
    let stem = call.stem();
    let names = [
        format!("lib{stem}.rlib"),
        format!("lib{stem}.rmeta"),
        format!("lib{stem}.so"),
        format!("{stem}.d"),
        stem,
    ];
    names.iter().map(|name| directory.join(name)).map(|path| (path.clone(), Identity::of(&path))).collect()
}

/// The names in a directory by which rustc could find a module.
fn listing(directory: &Path) -> BTreeSet<OsString> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            Path::new(&entry.file_name()).extension() == Some(OsStr::new("rs"))
                || entry.file_type().is_ok_and(|kind| kind.is_dir())
        })
        .map(|entry| entry.file_name())
        .collect()
}

/// cargo's own lock, so that cargo waits for a replay and a replay does not run beside cargo.
pub(super) fn lock(profile_dirs: &[PathBuf]) -> Option<Vec<File>> {
    let mut files = Vec::new();
    for directory in profile_dirs {
        let path = directory.join(".cargo-lock");
        if !path.exists() {
            continue;
        }
        let file = File::options().write(true).open(path).ok()?;
        file.try_lock().ok()?;
        files.push(file);
    }
    Some(files)
}

fn shown(path: &Path, context: &Context) -> String {
    path.strip_prefix(&context.app.workspace_root).unwrap_or(path).display().to_string()
}
