//! What is known of the files before rustc reads them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use devhost_sys::content::Content;

use super::manifests::manifests;
use crate::app::App;
use crate::file_times::CLOCK_LAG_MAX;

/// What the builder knows of the files before it starts cargo.
#[derive(Debug)]
pub(crate) struct Before {
    pub(super) started: SystemTime,
    /// Only build scripts write here, before anyone reads their output.
    target_dir: PathBuf,
    contents: HashMap<PathBuf, Content>,
}

impl Before {
    /// Looks at the files the next build will probably read. `known` has the results of earlier looks.
    pub(crate) fn look<'f>(
        app: &App,
        sheet: &Path,
        files: impl Iterator<Item = &'f PathBuf>,
        known: impl Iterator<Item = (PathBuf, Content)>,
    ) -> Self {
        let started = SystemTime::now();
        let mut contents: HashMap<PathBuf, Content> = known.collect();
        for path in files.cloned().chain(manifests(app)) {
            contents.entry(path).or_insert(Content::Absent);
        }
        // What a script writes while cargo runs is there before anybody reads it.
        contents.retain(|path, _| !path.starts_with(&app.target_dir));
        contents.entry(sheet.to_owned()).or_insert(Content::Absent);
        for (path, content) in &mut contents {
            content.refresh(path);
        }
        Self { started, target_dir: app.target_dir.clone(), contents }
    }

    /// Takes contents looked at earlier.
    pub(super) fn of(
        target_dir: &Path,
        started: SystemTime,
        contents: impl Iterator<Item = (PathBuf, Content)>,
    ) -> Self {
        Self { started, target_dir: target_dir.to_owned(), contents: contents.collect() }
    }

    /// The content a build started then has read in the file. Returns `None` if that is uncertain.
    pub(super) fn content(&self, path: &Path) -> Option<Content> {
        match self.contents.get(path) {
            Some(content) => {
                let mut now = *content;
                (!now.refresh(path)).then_some(now)
            }
            None => {
                let mut now = Content::notice(path);
                // A file written while it is read has a stamp older than its bytes.
                let is_written = now.refresh(path);
                let is_old =
                    self.started.checked_sub(CLOCK_LAG_MAX).is_some_and(|time| !now.is_newer_than(time));
                let settled = path.starts_with(&self.target_dir) || (is_old && !is_written);
                settled.then_some(now)
            }
        }
    }
}
