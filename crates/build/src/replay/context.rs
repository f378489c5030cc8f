//! What a replay needs beside the recording.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::ledger::Ledger;
#[cfg(any(test, feature = "testing"))]
use super::weakness::Weakness;
use crate::app::App;

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) app: App,
    /// The devhost executable, which is also the guard.
    pub(crate) devhost: PathBuf,
    pub(crate) wrapper: PathBuf,
    pub(crate) sheet_path: PathBuf,
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) temporary: PathBuf,
    pub(crate) jobs: usize,
    pub(crate) ledger: Ledger,
    #[cfg(any(test, feature = "testing"))]
    pub(crate) weakness: Option<Weakness>,
}

impl Context {
    pub(super) fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.app.workspace_root).unwrap_or(path).display().to_string()
    }
}
