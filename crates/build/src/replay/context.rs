//! What a replay needs beside the recording.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

#[cfg(any(test, feature = "testing"))]
use super::weakness::Weakness;
use crate::app::App;

/// What the builder has beside the recording.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) app: App,
    /// The devhost executable, which is the guard too.
    pub(crate) devhost: PathBuf,
    /// The rustc wrapper.
    pub(crate) wrapper: PathBuf,
    pub(crate) sheet_path: PathBuf,
    /// The environment that cargo is given.
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) temporary: PathBuf,
    /// How many rustcs may run at once.
    pub(crate) jobs: usize,
    /// What a test leaves out of the rule.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) weakness: Option<Weakness>,
}

impl Context {
    /// A path as messages show it.
    pub(super) fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.app.workspace_root).unwrap_or(path).display().to_string()
    }
}
