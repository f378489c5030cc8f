//! Build scripts in a replay: which ones cargo would rerun, and what follows from their output and files.
//!
//! A script can be run without cargo if devhost stood in its place when cargo ran it (see `script`), under
//! the same settings and manifests, if it passes nothing to other packages' scripts (`links`), and if its
//! output directory is that of recorded calls and no other package's call reads there. It runs as under
//! cargo: same program, directory and environment.
//!
//! - It runs whenever cargo would run it: if any of its inputs changed or was touched; every time, if an
//!   input it names is missing or it writes to its own inputs. As inputs may change during the run, they are
//!   looked at before, and compared again after.
//! - cargo then compiles the whole package. So does a replay, as a macro may read files nobody follows. The
//!   exception: nothing changed except that the script ran, and its output and files are as before.
//! - Values of variables (`rustc-env`) may differ: they go to the calls of the package and to no other.
//!   Everything else it tells cargo must be the same. Its latest inputs count from then on.
//! - A script that fails or reports an error is cargo's business.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::before::Before;
use super::context::Context;
use super::inputs::{Inputs, Stamped};
use super::unit::Unit;
use super::weakness::is_left_out;
use crate::app::{App, PathPackage};
use crate::cargo::Run;
use crate::diagnostics::script_warning;
use crate::directives::Directives;
use crate::documents;
use crate::file_times::CLOCK_LAG_MAX;
use crate::job_sheet::JobSheet;
use crate::record::{self, OUT_DIR, Recorded};
use crate::refusal::Refusal;
use crate::{script, stale};
use devhost_model::Diagnostic;
use devhost_sys::content::Content;

#[derive(Debug)]
pub(super) struct Script {
    pub package: PathPackage,
    pub recorded: Recorded,
    out_dir: PathBuf,
    /// The units that receive its output.
    pub units: BTreeSet<usize>,
    said: Directives,
    inputs: Inputs,
    /// Its inputs before its last run. `None` if they are unknown, or that run did not finish.
    known: Option<Vec<Stamped>>,
    feeds_itself: bool,
    /// cargo has been made to rerun it.
    pub aged: bool,
    has_run: bool,
    /// Start and end of the last finished run by a replay.
    last_run: Option<(SystemTime, SystemTime)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// An input has changed, or its state is unknown.
    Change,
    /// cargo runs it every time.
    Always,
}

#[derive(Debug)]
pub(super) struct Look {
    inputs: Vec<Stamped>,
    /// Its previous output files, if they matter.
    made: Option<BTreeMap<PathBuf, Content>>,
}

impl Script {
    /// The script that wrote to `out_dir` in the last run of cargo. Returns `None` if only cargo can run it.
    pub(super) fn make(
        context: &Context,
        sheet: &JobSheet,
        package: &PathPackage,
        out_dir: &Path,
        units: &[Unit],
        before: &Before,
    ) -> Option<Self> {
        let recorded: Recorded = documents::read(&record::script_path(&context.app.target_dir, out_dir))?;
        let writes_there = |recorded: &Recorded| {
            recorded.set.get(OUT_DIR).is_some_and(|directory| Path::new(directory) == out_dir)
        };
        let is_usable = recorded.is_of(sheet, &package.name).is_ok()
            && (recorded.is_current(sheet) || is_left_out!(context, Manifests))
            && recorded.package_root == package.root
            && writes_there(&recorded)
            && !recorded.set.contains_key("CARGO_MANIFEST_LINKS");
        if !is_usable {
            return None;
        }
        let users: BTreeSet<usize> =
            (0..units.len()).filter(|index| writes_there(&units[*index].recorded)).collect();
        let reads_there = |unit: &Unit| unit.made().sources.keys().any(|path| path.starts_with(out_dir));
        let is_alone = (0..units.len()).all(|index| users.contains(&index) || !reads_there(&units[index]));
        if users.is_empty() || !is_alone {
            return None;
        }
        let said = Directives::read(&std::fs::read(out_dir.with_file_name("output")).ok()?);
        let inputs = Inputs::of(&context.app, package, &said);
        let known = inputs.stamps().filter(|stamps| is_settled(stamps, before.started));
        Some(Self {
            package: package.clone(),
            recorded,
            out_dir: out_dir.to_owned(),
            units: users,
            said,
            inputs,
            known,
            feeds_itself: false,
            aged: false,
            has_run: false,
            last_run: None,
        })
    }

    /// The programs cargo and this process run for it.
    pub(super) fn programs(&self) -> impl Iterator<Item = PathBuf> + use<> {
        let place = self.recorded.rustc.clone();
        script::real_program(&place).into_iter().chain([place])
    }

    pub(super) fn reads(&self, path: &Path) -> bool {
        self.inputs.cover(path)
    }

    /// Whether it has named a file as its input.
    pub(super) fn names(&self, path: &Path) -> bool {
        matches!(self.inputs, Inputs::Named(_)) && self.inputs.cover(path)
    }

    pub(super) fn named(&self) -> impl Iterator<Item = &PathBuf> {
        let paths = match &self.inputs {
            Inputs::Named(paths) => paths.as_slice(),
            Inputs::Package { .. } => &[],
        };
        paths.iter()
    }

    /// Start and end of the last finished run by a replay.
    pub(super) fn last_run(&self) -> Option<(SystemTime, SystemTime)> {
        self.last_run
    }

    /// Whether a replay may have made a file by running it.
    pub(super) fn has_made(&self, path: &Path) -> bool {
        self.has_run && path.starts_with(&self.out_dir)
    }

    pub(super) fn out_dir(&self) -> &Path {
        &self.out_dir
    }

    /// Whether and why cargo would run it, with the state before the run.
    pub(super) fn look(
        &self,
        context: &Context,
        changed: &[PathBuf],
    ) -> Result<Option<(Cause, Look)>, Refusal> {
        let inputs =
            self.inputs.stamps().ok_or_else(|| Refusal::ScriptHasTooManyInputs(self.package.name.clone()))?;
        let differs =
            self.known.as_ref() != Some(&inputs) || changed.iter().any(|path| self.inputs.cover(path));
        if differs && !is_left_out!(context, ScriptInputs) {
            return Ok(Some((Cause::Change, Look { inputs, made: None })));
        }
        if self.feeds_itself || self.inputs.lack_one(&context.app) {
            return Ok(Some((Cause::Always, Look { inputs, made: contents_of(&self.out_dir) })));
        }
        Ok(None)
    }

    /// Ensures that cargo and the next replay rerun it, whatever becomes of this run.
    pub(super) fn begin(&mut self, context: &Context, profile_dirs: &[PathBuf]) {
        if !self.aged && !is_left_out!(context, ScriptAge) {
            stale::age_script(profile_dirs, &self.package);
        }
        self.aged = true;
        self.known = None;
        self.has_run = true;
    }

    /// Takes in its output and files, and returns whether its package has to be compiled. Refuses if only
    /// cargo knows what follows.
    pub(super) fn take(
        &mut self,
        context: &Context,
        units: &mut [Unit],
        (cause, look): (Cause, Look),
        output: &[u8],
        started: SystemTime,
    ) -> Result<bool, Refusal> {
        self.last_run = Some((started, SystemTime::now()));
        let said = Directives::read(output);
        let mut is_other = false;
        if !is_left_out!(context, ScriptOutput) {
            let changed = said.changed_variables(&self.said).map_err(|difference| {
                Refusal::ScriptDiffers { name: self.package.name.clone(), difference }
            })?;
            for (name, old, new) in changed {
                is_other = true;
                for index in &self.units {
                    // Only a value passed on verbatim shows what cargo makes of it.
                    let value = units[*index].recorded.set.get_mut(name).filter(|value| *value == old);
                    let value = value.ok_or_else(|| Refusal::ScriptVariable {
                        name: self.package.name.clone(),
                        variable: name.to_owned(),
                    })?;
                    new.clone_into(value);
                }
            }
        }
        if cause == Cause::Always && !is_left_out!(context, ScriptMade) {
            is_other |= look.made.is_none_or(|made| is_other_than(&self.out_dir, made));
        }
        let inputs = Inputs::of(&context.app, &self.package, &said);
        if inputs == self.inputs {
            let after = inputs.stamps();
            // By the script or somebody else meanwhile: cargo would rerun it for either.
            self.feeds_itself |= after.as_ref() != Some(&look.inputs);
            self.known = after;
        } else {
            self.known = inputs.stamps().filter(|stamps| is_settled(stamps, started));
            self.inputs = inputs;
        }
        self.said = said;
        Ok(is_other || cause == Cause::Change && !is_left_out!(context, ScriptUsers))
    }

    pub(super) fn warnings(&self) -> Vec<Diagnostic> {
        let of = self.name_and_version();
        self.said.warnings.iter().map(|text| script_warning(&format!("{of}: {text}"))).collect()
    }

    /// Whether a warning passed on by cargo is its own.
    pub(super) fn has_said(&self, warning: &Diagnostic) -> bool {
        warning.message.strip_prefix(&self.name_and_version()).is_some_and(|rest| rest.starts_with(": "))
    }

    fn name_and_version(&self) -> String {
        let version = self.recorded.set.get("CARGO_PKG_VERSION").map(String::as_str).unwrap_or_default();
        format!("{}@{version}", self.package.name)
    }
}

#[derive(Debug, Default)]
pub(super) struct Scripts {
    /// Those a replay can run.
    pub own: Vec<Script>,
    /// Files that are inputs of the others.
    pub files: Vec<PathBuf>,
    /// Directories that are inputs of the others.
    pub directories: Vec<PathBuf>,
    /// Path packages, by cargo's ids, with another script that names no inputs, or a missing one.
    pub without_inputs: Vec<String>,
}

impl Scripts {
    /// Sorts the scripts cargo last ran or found fresh.
    pub(super) fn read(
        context: &Context,
        sheet: &JobSheet,
        run: &Run,
        units: &[Unit],
        before: &Before,
    ) -> Self {
        let mut scripts = Self::default();
        for (package_id, out_dir) in &run.build_scripts {
            let package = context.app.path_packages.iter().find(|package| package.id == *package_id);
            let own =
                package.and_then(|package| Script::make(context, sheet, package, out_dir, units, before));
            match own {
                Some(script) => scripts.own.push(script),
                None => scripts.add_other(&context.app, package, out_dir),
            }
        }
        scripts
    }

    fn add_other(&mut self, app: &App, package: Option<&PathPackage>, out_dir: &Path) {
        let said = Directives::read(&std::fs::read(out_dir.with_file_name("output")).unwrap_or_default());
        let mut missing = false;
        for path in &said.inputs {
            let path = match package {
                Some(package) => package.root.join(path),
                // The relative inputs of a package nobody edits are its own files.
                None if Path::new(path).is_absolute() => path.into(),
                None => continue,
            };
            if path.starts_with(&app.target_dir) {
                continue;
            }
            if path.is_dir() {
                self.directories.push(path);
            } else if path.exists() {
                self.files.push(path);
            } else {
                // cargo runs the script every time.
                missing = true;
            }
        }
        if let Some(package) = package.filter(|_| missing || !said.names_inputs) {
            self.without_inputs.push(package.id.clone());
        }
    }
}

/// Whether nothing has changed since then, according to the stamps.
fn is_settled(stamps: &[Stamped], since: SystemTime) -> bool {
    let since = since.checked_sub(CLOCK_LAG_MAX);
    since.is_some_and(|since| {
        stamps.iter().all(|(path, content)| match content {
            Content::Absent => path.is_dir(),
            content => !content.is_newer_than(since),
        })
    })
}

/// Every file in a directory with its content. Returns `None` if there are too many.
fn contents_of(directory: &Path) -> Option<BTreeMap<PathBuf, Content>> {
    let stamps = Inputs::Named(vec![directory.to_owned()]).stamps()?;
    let look = |(path, _): Stamped| {
        let mut content = Content::Absent;
        content.refresh(&path);
        (path, content)
    };
    Some(stamps.into_iter().map(look).collect())
}

/// Whether anything in the directory has changed.
fn is_other_than(directory: &Path, mut before: BTreeMap<PathBuf, Content>) -> bool {
    let Some(now) = Inputs::Named(vec![directory.to_owned()]).stamps() else { return true };
    !now.iter().map(|(path, _)| path).eq(before.keys())
        || before.iter_mut().any(|(path, content)| content.refresh(path))
}
