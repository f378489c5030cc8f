//! What the builder in the front and the rustc wrapper tell each other: the job sheet on the way down, a
//! report on the way up, and what each path crate was compiled against. All are
//! [`documents`](crate::documents).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::extern_kind::ExternKind;
use crate::settings::{DebugInfo, Deps};
use devhost_model::AppKind;

/// The environment variable with the path of the [`JobSheet`].
pub(crate) const JOB_SHEET_VARIABLE: &str = "DEVHOST_JOB_SHEET";

/// Prefix of the wrapper's progress lines, which the builder shows and keeps out of errors.
pub(crate) const PROGRESS_MARK: &str = "devhost-progress: ";

/// The front's instructions to the wrapper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobSheet {
    /// Hash of settings, devhost and cargo's arguments: a report with another key is of another build.
    pub key: String,
    /// As much of it as concerns every crate of the workspace: a recorded call with another key was made differently.
    pub common_key: String,
    /// Identifies the devhost executable: another one may make the library of dependencies differently.
    pub tool: String,
    pub target_dir: PathBuf,
    /// rustc's temporary directory: rustc cannot clean up when a build is cancelled.
    pub temporary: PathBuf,
    pub workspace_root: PathBuf,
    pub app_root: PathBuf,
    pub app_crate: String,
    pub kind: AppKind,
    pub deps: Deps,
    pub debug_info: DebugInfo,
    /// The kind of each extern of each path package, by package directory.
    pub externs: BTreeMap<PathBuf, BTreeMap<String, ExternKind>>,
    pub report: PathBuf,
    pub linker: PathBuf,
    pub script: PathBuf,
    /// cargo's environment, with hashed values.
    pub environment: BTreeMap<String, String>,
    /// For each path package, by directory, a hash of the files from which cargo takes the variables it sets.
    pub manifests: BTreeMap<PathBuf, String>,
}

impl JobSheet {
    #[cfg(test)]
    pub(crate) fn stub() -> Self {
        Self {
            key: String::new(),
            common_key: String::new(),
            tool: String::new(),
            target_dir: PathBuf::new(),
            temporary: PathBuf::new(),
            workspace_root: PathBuf::new(),
            app_root: PathBuf::new(),
            app_crate: String::new(),
            kind: AppKind::Plain,
            deps: Deps::Auto,
            debug_info: DebugInfo::LineTables,
            externs: BTreeMap::new(),
            report: PathBuf::new(),
            linker: PathBuf::new(),
            script: PathBuf::new(),
            environment: BTreeMap::new(),
            manifests: BTreeMap::new(),
        }
    }
}

/// What the wrapper made of the app's rustc call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub key: String,
    /// The libraries to preload, in order; empty if everything is static.
    pub preload: Vec<PathBuf>,
    /// Once this file exists, later builds link everything statically.
    pub static_marker: PathBuf,
    /// Once this file exists, later builds link the app by devhost's linker. `None` if it exists already, or
    /// nothing is shared.
    #[serde(default)]
    pub relink_marker: Option<PathBuf>,
    /// The file that lists what later builds keep out of the shared library. `None` if something is kept out
    /// already.
    pub exclusion: Option<PathBuf>,
    /// Notes for the user: what is static, and why.
    pub notes: Vec<String>,
    pub call: Option<PathBuf>,
    /// The directory in which the next link can be prepared. `None` if the app is not linked quickly.
    #[serde(default)]
    pub link: Option<PathBuf>,
}

/// What is kept out of the shared library of dependencies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exclusion {
    pub libraries: Vec<PathBuf>,
    pub reason: String,
}

/// What a path crate was compiled against.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Externs {
    /// Path crates, as the files rustc was given.
    pub path: Vec<PathBuf>,
    /// Dependencies, as rlib files.
    pub libraries: Vec<PathBuf>,
}
