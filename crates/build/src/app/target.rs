//! The target that devhost serves, as cargo describes it. Plain data.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use devhost_model::AppKind;

use super::packages::parent;
use crate::extern_kind::ExternKind;
use crate::settings::Choice;

/// What devhost serves.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
pub enum Target {
    /// A package that devhost builds.
    App(App),
    /// A shared library built by something else; devhost loads a copy whenever it changes.
    Prebuilt(Prebuilt),
}

impl Target {
    /// The display name: the package's, or the library's file name without extension.
    pub fn name(&self) -> &str {
        match self {
            Self::App(app) => &app.package,
            Self::Prebuilt(prebuilt) => &prebuilt.name,
        }
    }

    /// How it is started, as far as known before it is built.
    pub fn kind(&self) -> AppKind {
        match self {
            Self::App(app) => app.kind,
            Self::Prebuilt(prebuilt) => prebuilt.kind,
        }
    }

    /// The environment variables that `cargo run` would set.
    pub fn variables(&self) -> &[(String, String)] {
        match self {
            Self::App(app) => &app.variables,
            Self::Prebuilt(_) => &[],
        }
    }

    /// devhost's own directory.
    pub fn target_dir(&self) -> &Path {
        match self {
            Self::App(app) => &app.target_dir,
            Self::Prebuilt(prebuilt) => &prebuilt.target_dir,
        }
    }
}

/// A shared library built by something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prebuilt {
    /// Its file name without `lib` and `.so`.
    pub name: String,
    /// The library.
    pub path: PathBuf,
    /// Where copies of it go.
    pub target_dir: PathBuf,
    /// How it is started at present.
    pub kind: AppKind,
}

/// An app that cargo builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// The environment variables `cargo run` would set.
    pub variables: Vec<(String, String)>,
    /// The package's name.
    pub package: String,
    /// cargo's id of the package.
    pub package_id: String,
    /// How it is started.
    pub kind: AppKind,
    /// Which target of the package it is.
    pub choice: Choice,
    /// rustc's name for its library or binary.
    pub crate_name: String,
    /// Its root source file.
    pub source: PathBuf,
    /// Its `Cargo.toml`.
    pub manifest_path: PathBuf,
    /// The directory of its workspace's `Cargo.toml`.
    pub workspace_root: PathBuf,
    /// devhost's own target directory; cargo's is never written to.
    pub target_dir: PathBuf,
    /// cargo's build directory for the user, whether it exists or not.
    pub user_build_dir: PathBuf,
    /// The app and its path dependencies, direct or not: what a developer may edit.
    pub path_packages: Vec<PathPackage>,
    /// Configuration files passed to cargo by name, and what they include.
    pub(crate) config_files: Vec<PathBuf>,
    /// The estimated number of cargo's messages in a full build, for the progress bar.
    pub units_expected: u32,
    /// The kind of each `--extern` of each path package, by package directory.
    pub(crate) externs: BTreeMap<PathBuf, BTreeMap<String, ExternKind>>,
    /// Packages from elsewhere, and rustc's names for their libraries.
    pub(crate) dependencies: BTreeMap<String, String>,
    /// Each package's dependencies, by cargo's ids.
    pub(crate) uses: BTreeMap<String, Vec<String>>,
    /// Packages used by build scripts, directly or not.
    pub(crate) used_by_scripts: BTreeSet<String>,
}

impl App {
    /// The app's package directory.
    pub fn root(&self) -> &Path {
        parent(&self.manifest_path)
    }

    /// Returns true if a package from elsewhere of this name is among its dependencies, direct or not.
    pub fn depends_on(&self, package: &str) -> bool {
        self.dependencies.contains_key(package)
    }

    /// Whether a package is one of `others` or depends on one, directly or not.
    pub(crate) fn reaches(&self, package: &str, others: &[&str]) -> bool {
        let mut seen = HashSet::new();
        let mut queue = vec![package];
        while let Some(id) = queue.pop() {
            if others.contains(&id) {
                return true;
            }
            if seen.insert(id) {
                queue.extend(self.uses.get(id).into_iter().flatten().map(String::as_str));
            }
        }
        false
    }

    #[cfg(test)]
    pub(crate) fn stub() -> Self {
        Self {
            variables: Vec::new(),
            package: "app".into(),
            package_id: "id".into(),
            kind: AppKind::Plugin,
            choice: Choice::Lib,
            crate_name: "app".into(),
            source: PathBuf::new(),
            manifest_path: PathBuf::new(),
            workspace_root: PathBuf::new(),
            target_dir: PathBuf::new(),
            user_build_dir: PathBuf::new(),
            path_packages: Vec::new(),
            config_files: Vec::new(),
            units_expected: 1,
            externs: BTreeMap::new(),
            dependencies: BTreeMap::new(),
            uses: BTreeMap::new(),
            used_by_scripts: BTreeSet::new(),
        }
    }
}

/// A package from a directory, not from a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPackage {
    /// The package's name.
    pub name: String,
    /// cargo's id of the package.
    pub(crate) id: String,
    /// The directory of its `Cargo.toml`.
    pub root: PathBuf,
    /// The root source file of its library, if it has one.
    pub lib_source: Option<PathBuf>,
    /// rustc's name for its library.
    pub(crate) crate_name: Option<String>,
}
