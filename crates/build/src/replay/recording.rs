//! The basis of a replay: what the last successful run of cargo left, and what replays have made of it since.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use devhost_model::Diagnostic;
use devhost_sys::content::{Content, Identity};

use super::inputs::Stamped;
use super::scripts::Script;
use super::unit::Unit;

#[derive(Debug)]
pub(crate) struct Recording {
    pub(super) key: String,
    /// In dependency order.
    pub(super) units: Vec<Unit>,
    /// Files whose change is cargo's business, even if they are only touched, which may be meant to run a
    /// build script. `None` if one may have changed while cargo ran.
    pub(super) guards: BTreeMap<PathBuf, Option<(Option<Identity>, Content)>>,
    /// Trees whose change is cargo's business.
    pub(super) trees: BTreeMap<PathBuf, Option<Vec<Stamped>>>,
    /// Large files nobody edits.
    pub(super) fixed: BTreeMap<PathBuf, Option<Identity>>,
    /// Warnings of crates without a record.
    pub(super) other_warnings: Vec<Diagnostic>,
    pub(super) scripts: Vec<Script>,
    /// The profile's directories, whose fingerprints are aged.
    pub(super) profile_dirs: Vec<PathBuf>,
}

impl Recording {
    /// What earlier looks found in files a build may read.
    pub(crate) fn known_contents(&self) -> Vec<(PathBuf, Content)> {
        let mut known = Vec::new();
        for made in self.units.iter().map(Unit::made) {
            known.extend(made.sources.iter().filter_map(|(path, content)| Some((path.clone(), (*content)?))));
        }
        known.extend(self.guards.iter().filter_map(|(path, known)| Some((path.clone(), (*known)?.1))));
        known
    }

    /// Whether the crates that read a file were compiled with its present content. Returns `None` if unknown.
    pub(crate) fn has_read(&self, file: &Path) -> Option<bool> {
        let mut known = None;
        for unit in &self.units {
            let content = unit.made().sources.get(file).copied();
            let Some(content) = content else { continue };
            let mut now = content?;
            // What was compiled for another app since then is not in this one.
            known = Some(known.unwrap_or(true) && !unit.is_made_elsewhere() && !now.refresh(file));
        }
        // A build script may have read another content.
        known.filter(|_| !self.guards.contains_key(file))
    }

    /// Start and end of build script runs by replays, by cargo's directory for the script.
    pub(crate) fn script_runs(&self) -> impl Iterator<Item = (&Path, (SystemTime, SystemTime))> {
        self.scripts.iter().filter_map(|script| Some((script.out_dir().parent()?, script.last_run()?)))
    }

    /// The inputs named by build scripts that replays can run.
    pub(crate) fn named(&self) -> impl Iterator<Item = &PathBuf> {
        self.scripts.iter().flat_map(Script::named)
    }

    /// Every file the app is made of: those of recorded calls as they are now, and `others`, which no
    /// recorded call reads.
    pub(crate) fn sources(&self, others: &[PathBuf]) -> Vec<PathBuf> {
        let is_known = |path: &PathBuf| {
            self.guards.contains_key(path) || self.scripts.iter().any(|script| script.names(path))
        };
        let mut sources: BTreeSet<PathBuf> = others.iter().filter(|path| is_known(path)).cloned().collect();
        sources.extend(self.scripts.iter().flat_map(Script::named).cloned());
        for made in self.units.iter().map(Unit::made) {
            sources.extend(made.sources.keys().cloned());
        }
        sources.into_iter().collect()
    }
}

/// The names in a directory by which rustc could find a module.
pub(super) fn listing(directory: &Path) -> BTreeSet<OsString> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            Path::new(&entry.file_name()).extension() == Some(OsStr::new("rs"))
                || entry.file_type().is_ok_and(|kind| kind.is_dir())
        })
        .map(|entry| entry.file_name())
        .collect()
}
