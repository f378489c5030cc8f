//! What is known of a crate's last compilation. Builders that share a [`Ledger`](super::Ledger) share it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use devhost_model::Diagnostic;
use devhost_sys::content::{Content, Identity};

use super::recording::listing;
use crate::record::Recorded;

#[derive(Debug)]
pub(super) struct Made {
    /// Another compilation has another one.
    pub(super) id: u64,
    /// The call that was made.
    pub(super) recorded: Recorded,
    /// The compilations that it used, by their records.
    pub(super) against: BTreeMap<PathBuf, u64>,
    /// No rustc had read anything then. `None` if that is unknown.
    pub(super) started: Option<SystemTime>,
    /// The contents its files had; `None` if unknown.
    pub(super) sources: BTreeMap<PathBuf, Option<Content>>,
    /// The files that cargo follows: those of the last compilation that it knows of.
    pub(super) followed: BTreeSet<PathBuf>,
    pub(super) outputs: BTreeMap<PathBuf, Option<Identity>>,
    /// The directories in which its modules could be found, and their entries.
    pub(super) listings: BTreeMap<PathBuf, BTreeSet<OsString>>,
    /// It has to be compiled whatever its files contain: the last compilation did not finish.
    pub(super) due: bool,
    /// cargo has been made to recompile it.
    pub(super) aged: bool,
    pub(super) warnings: Vec<Diagnostic>,
}

impl Made {
    /// Whether the files, and the modules that could be found, are those that it was compiled from, and the result is still there.
    pub(super) fn is_current(&self) -> bool {
        let is_same = |(path, content): (&PathBuf, &Option<Content>)| {
            content.is_some_and(|mut content| !content.refresh(path))
        };
        !self.due
            && self.outputs.iter().all(|(path, made)| Identity::of(path) == *made)
            && self.sources.iter().all(is_same)
            && self.listings.iter().all(|(directory, names)| listing(directory) == *names)
    }

    /// Whether cargo would judge and show this compilation rightly, if it took it for its own: it follows the same files, and there is
    /// nothing to show, as it shows what it was told itself.
    pub(super) fn is_as_cargo_knows_it(&self) -> bool {
        self.warnings.is_empty() && self.sources.keys().eq(&self.followed)
    }

    /// Whether cargo has found this compilation again: nothing else was compiled since.
    pub(super) fn is_same_as(&self, found: &Self) -> bool {
        !self.due
            && self.recorded == found.recorded
            && self.outputs == found.outputs
            && self.sources.keys().eq(found.sources.keys())
            && self.sources.values().all(Option::is_some)
    }

    /// Lists the directories of its sources that are not listed yet.
    pub(super) fn list_directories(&mut self) {
        let directories: BTreeSet<PathBuf> =
            self.sources.keys().filter_map(|path| path.parent().map(Path::to_owned)).collect();
        self.listings.retain(|path, _| directories.contains(path));
        for directory in directories {
            self.listings.entry(directory.clone()).or_insert_with(|| listing(&directory));
        }
    }
}
