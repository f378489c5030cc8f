//! Finds the units of a recording, from the app downwards.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use devhost_sys::content::Identity;

use super::before::Before;
use super::context::Context;
use super::ledger::{Ledger, lock};
use super::made::Made;
use super::unit::{Unit, outputs_of, sources_of};
use super::weakness::is_left_out;
use crate::app::PathPackage;
use crate::call::library_stem;
use crate::cargo::Run;
use crate::documents;
use crate::job_sheet::JobSheet;
use crate::record::{self, Recorded};
use crate::refusal::Refusal;

/// Finds the units of a recording, from the app downwards.
pub(super) struct UnitFinder<'a> {
    context: &'a Context,
    sheet: &'a JobSheet,
    before: &'a Before,
    ledger: &'a Ledger,
    pub(super) units: Vec<Unit>,
    known: HashMap<PathBuf, Option<usize>>,
}

impl<'a> UnitFinder<'a> {
    pub(super) fn new(context: &'a Context, sheet: &'a JobSheet, before: &'a Before) -> Self {
        Self { context, sheet, before, ledger: &context.ledger, units: Vec::new(), known: HashMap::new() }
    }

    /// Adds a recorded call's unit, unless it is known.
    pub(super) fn find(&mut self, path: &Path) -> Result<usize, Refusal> {
        if let Some(Some(index)) = self.known.get(path) {
            return Ok(*index);
        }
        let index = self.add(path)?;
        self.known.insert(path.to_owned(), Some(index));
        Ok(index)
    }

    /// Adds a recorded call's unit after its dependencies.
    fn add(&mut self, path: &Path) -> Result<usize, Refusal> {
        let recorded: Recorded = documents::read(path).ok_or(Refusal::NotRecorded)?;
        let call = recorded.call();
        let name = call.crate_name.clone();
        recorded.is_of(self.sheet, &name)?;
        let mut packages = self.context.app.path_packages.iter();
        let package = packages.find(|package| package.root == recorded.package_root);
        let package = package.ok_or_else(|| Refusal::PackageGone(name.clone()))?.clone();
        let mut needs = Vec::new();
        for library in &call.externs {
            let out_dir = library.path.parent().unwrap_or(Path::new(""));
            let Some(stem) = library_stem(&library.path) else { continue };
            let path = record::path(&self.sheet.target_dir, out_dir, stem);
            let index = match self.known.get(&path) {
                Some(index) => *index,
                // Without a record it is no workspace crate, and guarded.
                None if !path.is_file() => None,
                None => Some(self.add(&path)?),
            };
            self.known.insert(path, index);
            needs.extend(index);
        }
        let is_macro = call.crate_types.iter().any(|kind| kind == "proc-macro");
        let sources = sources_of(&recorded, &call, self.before);
        if sources.is_empty() {
            return Err(Refusal::SourcesUnknown(name));
        }
        let outputs = outputs_of(&recorded, &call);
        let of = |need: &usize| (self.units[*need].record.clone(), self.units[*need].seen);
        let mut found = Made {
            id: self.ledger.next_id(),
            recorded: recorded.clone(),
            against: needs.iter().map(of).collect(),
            started: Some(self.before.started).filter(|started| is_newer(&outputs, *started)),
            followed: sources.keys().cloned().collect(),
            sources,
            outputs,
            listings: BTreeMap::new(),
            due: false,
            aged: false,
            warnings: Vec::new(),
        };
        found.list_directories();
        let entry = self.ledger.enter(path, found);
        let seen = lock(&entry).id;
        self.units.push(Unit {
            record: path.to_owned(),
            needs,
            is_macro,
            only_cargo: self.reason_for_cargo(&package, &recorded),
            entry,
            seen,
            package,
            recorded,
            call,
        });
        Ok(self.units.len() - 1)
    }

    /// Why any change in a package is left to cargo.
    fn reason_for_cargo(&self, package: &PathPackage, recorded: &Recorded) -> Option<Refusal> {
        let name = &package.name;
        if !recorded.is_current(self.sheet) && !is_left_out!(self.context, Manifests) {
            return Some(Refusal::OlderManifest(name.clone()));
        }
        let used = self.context.app.used_by_scripts.contains(&package.id);
        used.then(|| Refusal::UsedByScript(name.clone()))
    }

    /// Leaves units to cargo if a package that is not replayed uses them.
    pub(super) fn look_for_other_users(&mut self, run: &Run) {
        let ours: BTreeSet<String> = self.units.iter().map(|unit| unit.package.id.clone()).collect();
        let is_other = |user: &str| run.packages.contains(user) && !ours.contains(user);
        for unit in &mut self.units {
            let mut users = self.context.app.uses.iter().filter(|(user, _)| is_other(user));
            if users.any(|(_, used)| used.contains(&unit.package.id)) {
                unit.only_cargo.get_or_insert_with(|| Refusal::UsedOutside(unit.package.name.clone()));
            }
        }
    }
}

/// Whether everything a call has made was made since then.
fn is_newer(outputs: &BTreeMap<PathBuf, Option<Identity>>, time: SystemTime) -> bool {
    let of_call = outputs.iter().filter(|(_, made)| made.is_some());
    of_call.into_iter().all(|(path, _)| {
        path.metadata().and_then(|metadata| metadata.modified()).is_ok_and(|modified| modified >= time)
    })
}
