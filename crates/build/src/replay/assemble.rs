//! Puts a recording together from what a good run of cargo has left.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use devhost_model::Diagnostic;
use devhost_sys::content::Identity;

use super::before::Before;
use super::context::Context;
use super::inputs::Inputs;
use super::manifests::manifests;
use super::recording::Recording;
use super::scripts::{Script, Scripts};
use super::unit::{Unit, source_paths_of};
use super::unit_finder::UnitFinder;
use crate::app::PathPackage;
use crate::call::Call;
use crate::cargo::Run;
use crate::job_sheet::{JobSheet, Report};
use crate::paths::entries;
use crate::record::Recorded;
use crate::refusal::Refusal;
use crate::{documents, stale};

impl Recording {
    /// Builds a recording from what a successful run of cargo left. Refuses if a replay could never be right.
    pub(crate) fn make(
        context: &Context,
        run: &Run,
        report: &Report,
        sources: &[PathBuf],
        profile_dirs: Vec<PathBuf>,
        before: &Before,
    ) -> Result<Self, Refusal> {
        let sheet: JobSheet = documents::read(&context.sheet_path).ok_or(Refusal::JobSheetGone)?;
        let mut finder = UnitFinder::new(context, &sheet, before);
        let root = report.call.as_ref().ok_or(Refusal::NotRecorded)?;
        finder.find(root)?;
        finder.look_for_other_users(run);
        let mut units = finder.units;
        let scripts = Scripts::read(context, &sheet, run, &units, before);
        for unit in units.iter_mut().filter(|unit| scripts.without_inputs.contains(&unit.package.id)) {
            unit.only_cargo.get_or_insert_with(|| Refusal::ScriptNamesNothing(unit.package.name.clone()));
        }
        let mut recording = Self {
            key: sheet.common_key.clone(),
            guards: BTreeMap::new(),
            trees: BTreeMap::new(),
            fixed: BTreeMap::new(),
            other_warnings: Vec::new(),
            scripts: Vec::new(),
            profile_dirs,
            units: Vec::new(),
        };
        recording.other_warnings = give_warnings(&units, run);
        recording.other_warnings.extend(run.script_warnings.iter().cloned());
        recording.other_warnings.retain(|warning| !scripts.own.iter().any(|script| script.has_said(warning)));
        recording.units = units;
        recording.guard(context, run, report, sources, &scripts, before);
        recording.scripts = scripts.own;
        Ok(recording)
    }

    /// Takes in what a failed run of cargo has compiled or found fresh all the same. Other apps may use it.
    pub(crate) fn note(context: &Context, run: &Run, before: &Before) {
        let Some(sheet) = documents::read::<JobSheet>(&context.sheet_path) else { return };
        let mut finder = UnitFinder::new(context, &sheet, before);
        for record in entries(&context.app.target_dir.join("calls")) {
            let Some(recorded) = documents::read::<Recorded>(&record) else { continue };
            let call = recorded.call();
            let library = recorded.directory.join(&call.out_dir).join(format!("lib{}.rlib", call.stem()));
            if recorded.key == sheet.common_key && run.made.iter().any(|(_, file)| *file == library) {
                // What is not known is compiled again.
                let _ = finder.find(&record);
            }
        }
        give_warnings(&finder.units, run);
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
        // If a file of a recorded call is also a build script's, it is cargo's business.
        guards.extend(self.sources_of_others(context, run));
        let sources_of = |unit: &Unit| unit.made().sources.keys().cloned().collect::<Vec<_>>();
        let own: BTreeSet<PathBuf> = self.units.iter().flat_map(sources_of).collect();
        let of_others = self.readers_outside(context, run);
        // cargo also lists what scripts have named.
        let is_input = |path: &PathBuf| {
            scripts.own.iter().any(|script| script.names(path))
                && !of_others
                    .iter()
                    .any(|package| stale::dep_info_names(&context.app, &self.profile_dirs, package, path))
        };
        guards.extend(sources.iter().filter(|path| !own.contains(*path) && !is_input(path)).cloned());
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
        let outputs_of = |unit: &Unit| unit.made().outputs.keys().cloned().collect::<Vec<_>>();
        let made: BTreeSet<PathBuf> = self.units.iter().flat_map(outputs_of).collect();
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

    /// The build's path packages that only cargo compiles.
    fn readers_outside<'a>(&self, context: &'a Context, run: &Run) -> Vec<&'a PathPackage> {
        let packages = context.app.path_packages.iter().filter(|package| run.packages.contains(&package.id));
        packages.filter(|package| !self.units.iter().any(|unit| unit.package.id == package.id)).collect()
    }

    /// The sources of recorded crates the app is not linked from: build scripts, and their dependencies.
    fn sources_of_others(&self, context: &Context, run: &Run) -> Vec<PathBuf> {
        let calls = entries(&context.app.target_dir.join("calls"));
        calls
            .filter_map(|path| documents::read::<Recorded>(&path))
            .filter(|recorded| recorded.key == self.key)
            .filter(|recorded| {
                context.app.path_packages.iter().any(|package| package.root == recorded.package_root)
            })
            .map(|recorded| (recorded.call(), recorded))
            .filter(|(call, recorded)| self.is_of_others(call, &recorded.directory, run))
            .flat_map(|(call, recorded)| source_paths_of(&recorded, &call))
            .collect()
    }

    /// Whether a crate is not among the units, but was built or found fresh by the last run of cargo. Other
    /// records were left by an earlier state of the manifests.
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
        // A build script has a directory of its own, where cargo renames it.
        let is_alone = !out_dir.ends_with("deps");
        run.made.iter().any(|(_, file)| match file.parent() {
            Some(parent) if parent == out_dir => is_alone || is_of(file, &stem),
            // A program or a shared library is placed above that, without the hash in its name.
            Some(parent) => {
                Some(parent) == out_dir.parent() && !has_namesake && is_of(file, &call.crate_name)
            }
            None => false,
        })
    }
}

/// Attributes the warnings of a run of cargo. Returns those of crates without a record.
fn give_warnings(units: &[Unit], run: &Run) -> Vec<Diagnostic> {
    let mut others = Vec::new();
    for (source, diagnostic) in &run.diagnostics_by_source {
        let mut users = units.iter().filter(|unit| unit.root_source() == *source).peekable();
        if users.peek().is_none() {
            others.push(diagnostic.clone());
        }
        users.for_each(|unit| unit.made().warnings.push(diagnostic.clone()));
    }
    others
}
