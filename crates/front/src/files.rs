//! The document at `/__devhost/files`: which files the app uses, and what a change of each does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use devhost_watch::{FileUse, Observer, Reaction, is_stylesheet};
use serde::{Deserialize, Serialize};

/// How many files are listed.
const FILES_COUNT_MAX: usize = 2_000;

/// What the app uses, and where its paths begin.
pub(crate) struct Files {
    pub(crate) observer: Arc<Observer>,
    pub(crate) root: PathBuf,
}

/// The query: a single path, absolute or below the workspace.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Wanted {
    path: Option<PathBuf>,
}

/// The document.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Document {
    /// What is not listed was not used. Otherwise names of files count, too.
    pub(crate) trusted: bool,
    /// The app uses more files than can be followed.
    pub(crate) full: bool,
    pub(crate) files: Vec<Entry>,
}

/// A file, and what a change of it does.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    pub(crate) path: String,
    /// `build`, `restart`, `reload`, `swap` or `nothing`.
    pub(crate) does: &'static str,
    pub(crate) why: String,
}

impl Files {
    /// Lists what the app uses, or tells of one path.
    pub(crate) fn document(&self, wanted: &Wanted) -> Document {
        let files = match &wanted.path {
            Some(path) => vec![self.explain(path)],
            None => self.observer.list().iter().take(FILES_COUNT_MAX).map(|one| self.entry(one)).collect(),
        };
        Document { trusted: self.observer.is_trusted(), full: self.observer.is_full(), files }
    }

    fn explain(&self, path: &Path) -> Entry {
        let path = self.root.join(path);
        if self.observer.is_source(&path) {
            return Entry { path: self.shown(&path), does: "build", why: "part of the build".into() };
        }
        match self.observer.reaction(&path) {
            Some(reaction) => self.entry(&FileUse { path, reaction }),
            None => Entry { path: self.shown(&path), does: "nothing", why: "never used by the app".into() },
        }
    }

    fn entry(&self, one: &FileUse) -> Entry {
        let does = match one.reaction {
            Reaction::Restart(_) => "restart",
            Reaction::Reload(_) if is_stylesheet(&one.path) => "swap",
            Reaction::Reload(_) => "reload",
        };
        Entry { path: self.shown(&one.path), does, why: one.reaction.why().to_string() }
    }

    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().into_owned()
    }
}
