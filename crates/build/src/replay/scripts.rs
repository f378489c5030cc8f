//! Build scripts in a replay: which of them cargo would run again, and what follows from what they then say and make.
//!
//! A script can be run without cargo if devhost has stood in its place when cargo ran it (see `script`), under the same
//! settings and manifests, if it gives nothing to other packages' scripts (`links`), and if its directory of output is that
//! of recorded calls and no other package's call reads there. It is run as cargo ran it: program, directory and environment.
//!
//! - It is run whenever cargo would run it: if something about one of its inputs has changed, touched included; every time, if
//!   an input that it names is missing, or if it writes to its own inputs. While it runs, the inputs may change; they are
//!   looked at before, and compared again after.
//! - cargo then compiles the whole package. So does a replay, for a macro may read what nobody follows. There is one
//!   exception: nothing has changed but that the script was run, and it has said and made the same as before.
//! - Values of variables (`rustc-env`) may be other ones: they go to the calls of the package and to no other. Whatever
//!   else it tells cargo must be the same. What it says about its inputs counts from then on.
//! - One that fails, or reports an error, is cargo's business.

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

/// A build script that can be run without cargo.
#[derive(Debug)]
pub(super) struct Script {
    pub package: PathPackage,
    pub recorded: Recorded,
    out_dir: PathBuf,
    /// The units that are given what it says.
    pub units: BTreeSet<usize>,
    said: Directives,
    inputs: Inputs,
    /// What its inputs were before it was last run; `None` if that is not known, or if that run did not come to its end.
    known: Option<Vec<Stamped>>,
    /// It writes to its own inputs.
    feeds_itself: bool,
    /// cargo knows that it must run it.
    pub aged: bool,
    /// A replay has run it.
    has_run: bool,
    /// From when until when the last replay ran it that came to its end.
    last_run: Option<(SystemTime, SystemTime)>,
}

/// Why a script is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// One of its inputs has changed, or nobody knows.
    Change,
    /// cargo runs it every time.
    Always,
}

/// What is looked at before a script is run.
#[derive(Debug)]
pub(super) struct Look {
    inputs: Vec<Stamped>,
    /// What it has made before; only if it matters.
    made: Option<BTreeMap<PathBuf, Content>>,
}

impl Script {
    /// The script that has written into `out_dir` in the last run of cargo; `None` if only cargo can run it.
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
        let reads_there = |unit: &Unit| unit.sources.keys().any(|path| path.starts_with(out_dir));
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

    /// The files that cargo and this process run for it.
    pub(super) fn programs(&self) -> impl Iterator<Item = PathBuf> + use<> {
        let place = self.recorded.rustc.clone();
        script::real_program(&place).into_iter().chain([place])
    }

    /// Whether a file is one of its inputs.
    pub(super) fn reads(&self, path: &Path) -> bool {
        self.inputs.cover(path)
    }

    /// Whether it has named a file as its input.
    pub(super) fn names(&self, path: &Path) -> bool {
        matches!(self.inputs, Inputs::Named(_)) && self.inputs.cover(path)
    }

    /// The inputs that it names.
    pub(super) fn named(&self) -> impl Iterator<Item = &PathBuf> {
        let paths = match &self.inputs {
            Inputs::Named(paths) => paths.as_slice(),
            Inputs::Package { .. } => &[],
        };
        paths.iter()
    }

    /// From when until when the last replay ran it that came to its end.
    pub(super) fn last_run(&self) -> Option<(SystemTime, SystemTime)> {
        self.last_run
    }

    /// Whether a file is one that a replay may have made by running it.
    pub(super) fn has_made(&self, path: &Path) -> bool {
        self.has_run && path.starts_with(&self.out_dir)
    }

    pub(super) fn out_dir(&self) -> &Path {
        &self.out_dir
    }

    /// Whether cargo would run it, and why; with what there is to know before it is run.
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

    /// Makes sure that whatever becomes of the run, cargo and the next replay run it again.
    pub(super) fn begin(&mut self, context: &Context, profile_dirs: &[PathBuf]) {
        if !self.aged && !is_left_out!(context, ScriptAge) {
            stale::age_script(profile_dirs, &self.package);
        }
        self.aged = true;
        self.known = None;
        self.has_run = true;
    }

    /// Takes in what it has said and made, and tells whether its package is to be compiled. Refuses if only cargo knows what
    /// follows.
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
                    // What cargo has made of it is known if it is there as it was said.
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
            // It, or somebody else meanwhile: cargo would run it again for either.
            self.feeds_itself |= after.as_ref() != Some(&look.inputs);
            self.known = after;
        } else {
            self.known = inputs.stamps().filter(|stamps| is_settled(stamps, started));
            self.inputs = inputs;
        }
        self.said = said;
        Ok(is_other || cause == Cause::Change && !is_left_out!(context, ScriptUsers))
    }

    /// Its warnings, as cargo says them.
    pub(super) fn warnings(&self) -> Vec<Diagnostic> {
        let of = self.name_and_version();
        self.said.warnings.iter().map(|text| script_warning(&format!("{of}: {text}"))).collect()
    }

    /// Whether a warning that cargo has passed on is one of it.
    pub(super) fn has_said(&self, warning: &Diagnostic) -> bool {
        warning.message.strip_prefix(&self.name_and_version()).is_some_and(|rest| rest.starts_with(": "))
    }

    fn name_and_version(&self) -> String {
        let version = self.recorded.set.get("CARGO_PKG_VERSION").map(String::as_str).unwrap_or_default();
        format!("{}@{version}", self.package.name)
    }
}

/// What the build scripts have told cargo.
#[derive(Debug, Default)]
pub(super) struct Scripts {
    /// Those that a replay can run.
    pub own: Vec<Script>,
    /// Inputs of the others: files.
    pub files: Vec<PathBuf>,
    /// Inputs of the others: directories.
    pub directories: Vec<PathBuf>,
    /// Path packages, by cargo's ids, with another script that names no inputs, or one that does not exist.
    pub without_inputs: Vec<String>,
}

impl Scripts {
    /// Sorts the scripts that the last run of cargo has run or found.
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
                // A package that nobody edits has its own files elsewhere than a developer's.
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

/// Nothing has changed since then, as far as stamps tell.
fn is_settled(stamps: &[Stamped], since: SystemTime) -> bool {
    let since = since.checked_sub(CLOCK_LAG_MAX);
    since.is_some_and(|since| {
        stamps.iter().all(|(path, content)| match content {
            Content::Absent => path.is_dir(),
            content => !content.is_newer_than(since),
        })
    })
}

/// Every file in a directory with its content; `None` if there are too many.
fn contents_of(directory: &Path) -> Option<BTreeMap<PathBuf, Content>> {
    let stamps = Inputs::Named(vec![directory.to_owned()]).stamps()?;
    let look = |(path, _): Stamped| {
        let mut content = Content::Absent;
        content.refresh(&path);
        (path, content)
    };
    Some(stamps.into_iter().map(look).collect())
}

/// Whether something in the directory is another than before.
fn is_other_than(directory: &Path, mut before: BTreeMap<PathBuf, Content>) -> bool {
    let Some(now) = Inputs::Named(vec![directory.to_owned()]).stamps() else { return true };
    !now.iter().map(|(path, _)| path).eq(before.keys())
        || before.iter_mut().any(|(path, content)| content.refresh(path))
}
