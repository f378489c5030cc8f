//! What the builder in the front and the rustc wrapper tell each other: the job sheet on the way down, a report on
//! the way up, and what each path crate was compiled against. All are [`documents`](crate::documents).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::extern_kind::ExternKind;
use crate::settings::{DebugInfo, Deps};
use devhost_model::AppKind;

/// The environment variable that holds the path of the [`JobSheet`].
pub(crate) const JOB_SHEET_VARIABLE: &str = "DEVHOST_JOB_SHEET";

/// What the wrapper's lines about its progress start with: the builder shows them and keeps them out of errors.
pub(crate) const PROGRESS_MARK: &str = "devhost-progress: ";

/// What the front wants of the wrapper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobSheet {
    /// Settings, devhost and cargo's arguments as one hash: a report with another key is of another build.
    pub key: String,
    /// Stands for the devhost executable: a new one may make the library of dependencies in another way.
    pub tool: String,
    /// devhost's own target directory.
    pub target_dir: PathBuf,
    /// Where rustc keeps temporary files: it cannot remove them when a build is cancelled.
    pub temporary: PathBuf,
    /// The directory of the app's workspace.
    pub workspace_root: PathBuf,
    /// The app's package directory.
    pub app_root: PathBuf,
    /// The app's crate name.
    pub app_crate: String,
    /// What the app is.
    pub kind: AppKind,
    /// How the app is linked to its dependencies.
    pub deps: Deps,
    /// How much debug information workspace crates get.
    pub debug_info: DebugInfo,
    /// What each extern of each path package is, by the package's directory.
    pub externs: BTreeMap<PathBuf, BTreeMap<String, ExternKind>>,
    /// Where the report goes.
    pub report: PathBuf,
    /// `devhost-linker`.
    pub linker: PathBuf,
    /// `devhost-script`.
    pub script: PathBuf,
    /// The variables that cargo is given, with hashes of their values.
    pub environment: BTreeMap<String, String>,
    /// For each path package, by its directory, a hash of the files from which cargo takes the variables that it sets.
    pub manifests: BTreeMap<PathBuf, String>,
}

impl JobSheet {
    /// A job sheet with nothing on it.
    #[cfg(test)]
    pub(crate) fn stub() -> Self {
        Self {
            key: String::new(),
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

/// What the wrapper has made of the app's rustc call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The job sheet's key.
    pub key: String,
    /// The libraries to preload, in order; empty where everything is static.
    pub preload: Vec<PathBuf>,
    /// The file that makes later builds link everything statically, once it exists.
    pub static_marker: PathBuf,
    /// The file that makes later builds link the app by devhost's linker, once it exists; not there if it does already, or
    /// nothing is shared.
    #[serde(default)]
    pub relink_marker: Option<PathBuf>,
    /// The file that lists what later builds keep out of the shared library; missing if something is kept out already.
    pub exclusion: Option<PathBuf>,
    /// What a user should know: what is static, and why.
    pub notes: Vec<String>,
    /// Where the app's rustc call is recorded.
    pub call: Option<PathBuf>,
}

/// What is kept out of the shared library of dependencies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exclusion {
    /// The rlib files.
    pub libraries: Vec<PathBuf>,
    /// Why, for the user.
    pub reason: String,
}

/// What a path crate was compiled against.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Externs {
    /// Path crates, as the files that rustc was given.
    pub path: Vec<PathBuf>,
    /// Dependencies, as rlib files.
    pub libraries: Vec<PathBuf>,
}
