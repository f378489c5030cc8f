//! The tree's state: its roots, the files that were named, the directories that are watched, and what was last seen in files.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use devhost_model::Rules;
use devhost_sys::content::Content;

use super::observed::Shape;
use super::paths::{canonical, existing_directory, place_of};
use super::siblings::Siblings;
use crate::backend::Backend;
use crate::error::WatchError;
use crate::ignores::{Ignores, ignore_files_above};
use crate::input_directories::InputDirectories;
use crate::observed::Observer;
use crate::scope::{Scope, Surroundings};

/// Files next to the manifest of a package or the workspace that builds depend on.
const MANIFESTS: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "build.rs",
    "rust-toolchain",
    "rust-toolchain.toml",
    ".cargo/config",
    ".cargo/config.toml",
];

/// Files with environment variables for the app.
const ENV_FILES: &[&str] = &[".env", ".env.local", ".env.development", ".env.development.local"];

/// A directory tree that is watched as a whole: a package, or the target of a symbolic link inside one.
pub(super) struct Root {
    /// The canonical path.
    pub(super) place: PathBuf,
    /// The path in the caller's spelling.
    pub(super) named: PathBuf,
    /// Its path inside its package, empty for the package itself.
    pub(super) inside: PathBuf,
    pub(super) ignores: Ignores,
    /// False while it is missing.
    pub(super) present: bool,
    /// Its build script names no inputs, so every file that is not ignored counts.
    pub(super) is_input: bool,
    /// Set outside the packages, where only files that may be served or read count: how many levels of subdirectories are
    /// watched.
    pub(super) depth_max: Option<usize>,
}

impl Root {
    pub(super) fn is_package(&self) -> bool {
        self.inside.as_os_str().is_empty() && self.depth_max.is_none()
    }
}

/// A file that counts because it was named, wherever it is and even if it is ignored.
pub(super) struct Wanted {
    pub(super) named: PathBuf,
    /// What it is by itself.
    pub(super) own: Option<Own>,
    /// What it was to the last build.
    pub(super) role: Role,
    /// The app has used it.
    pub(super) is_observed: bool,
}

impl Wanted {
    /// Returns true if only the app names it.
    pub(super) fn is_only_observed(&self) -> bool {
        self.own.is_none() && self.role == Role::None && self.is_observed
    }

    /// Returns true if nobody names it any more.
    pub(super) fn is_over(&self) -> bool {
        self.own.is_none() && self.role == Role::None && !self.is_observed
    }
}

/// What a file is by its place, whatever the build and the app do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    /// Cargo reads it: a manifest, a lock file, a build script.
    Manifest,
    /// It holds environment variables for the app.
    Environment,
    /// devhost itself reads it.
    Devhost,
}

/// What a file was to the last build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    None,
    /// The compiler read it.
    Source,
    /// A build script named it, and the app may read it, too.
    Named,
}

/// Which files of a watched directory count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Every file that is not ignored.
    Whole,
    /// Every file, as an input of the build.
    Input,
    /// Only files that were named.
    Named,
}

/// How to take a file that is seen for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstLook {
    /// As new: a change.
    New,
    /// As one that was there all the time.
    Old,
    /// As new if it is newer than this.
    NewSince(SystemTime),
}

pub(super) struct Known {
    pub(super) content: Content,
    /// The last pass that looked at it.
    pub(super) pass: u64,
}

/// The files that matter.
pub(crate) struct Tree {
    pub(super) backend: Backend,
    pub(super) exclude: Vec<PathBuf>,
    pub(super) roots: Vec<Root>,
    pub(super) wanted: BTreeMap<PathBuf, Wanted>,
    pub(super) directories: BTreeMap<PathBuf, Extent>,
    pub(super) inputs: InputDirectories,
    /// How many directories outside the packages are watched.
    pub(super) surroundings_count: usize,
    /// True if some are not, because there are too many.
    pub(super) surroundings_left: bool,
    /// How many directories are watched only for inputs.
    pub(super) inputs_count: usize,
    pub(super) files: BTreeMap<PathBuf, Known>,
    /// The targets of symbolic links to files, with the places of the links.
    pub(super) links: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    pub(super) ignore_files: BTreeMap<PathBuf, Content>,
    pub(super) ignores_stale: bool,
    /// Files that were noticed but not read yet, the most important first.
    pub(super) unread: VecDeque<PathBuf>,
    /// The number of the current pass, so that no pass reads a file twice.
    pub(super) pass: u64,
    pub(super) changed: BTreeSet<PathBuf>,
    /// Those of the changed places that are new or gone.
    pub(super) appeared: BTreeSet<PathBuf>,
    pub(super) rules: Rules,
    pub(super) observer: Arc<Observer>,
    /// What was last seen at the places that the app has used.
    pub(super) shapes: BTreeMap<PathBuf, Shape>,
    /// The directories from which macros have read files.
    pub(super) siblings: BTreeMap<PathBuf, Siblings>,
    /// Only what was observed counts, not names.
    pub(super) is_trusting: bool,
    pub(super) problems: Vec<WatchError>,
}

impl Tree {
    /// Notices every file of the scope, and watches its directories.
    ///
    /// # Errors
    /// Returns an error if a root is missing or unreadable, or if a limit on watches is reached.
    pub(crate) fn new(scope: &Scope, backend: Backend, observer: Arc<Observer>) -> Result<Self, WatchError> {
        let mut tree = Self {
            backend,
            exclude: scope.exclude.iter().map(|path| canonical(path)).collect(),
            roots: Vec::new(),
            wanted: BTreeMap::new(),
            directories: BTreeMap::new(),
            inputs: InputDirectories::default(),
            surroundings_count: 0,
            surroundings_left: false,
            inputs_count: 0,
            files: BTreeMap::new(),
            links: BTreeMap::new(),
            ignore_files: BTreeMap::new(),
            ignores_stale: false,
            unread: VecDeque::new(),
            pass: 0,
            changed: BTreeSet::new(),
            appeared: BTreeSet::new(),
            rules: scope.rules.clone(),
            observer,
            shapes: BTreeMap::new(),
            siblings: BTreeMap::new(),
            is_trusting: false,
            problems: Vec::new(),
        };
        for named in &scope.roots {
            let place = existing_directory(named)?;
            if tree.roots.iter().all(|root| root.place != place) {
                tree.add_root(place, named.clone(), PathBuf::new());
            }
        }
        existing_directory(&scope.workspace_root)?;
        for base in scope.roots.iter().chain([&scope.workspace_root]) {
            for manifest in MANIFESTS {
                tree.want(base.join(manifest), Own::Manifest);
            }
        }
        let surroundings = scope.surroundings.iter().map(|surroundings| &surroundings.path);
        for base in scope.roots.iter().chain([&scope.workspace_root]).chain(surroundings) {
            for file in ENV_FILES {
                tree.want(base.join(file), Own::Environment);
            }
        }
        for file in &scope.env_files {
            tree.want(file.clone(), Own::Environment);
        }
        for Surroundings { path, depth_max } in &scope.surroundings {
            let is_known = |place: &PathBuf| tree.roots.iter().any(|root| root.place == *place);
            if let Some(place) = existing_directory(path).ok().filter(|place| !is_known(place)) {
                tree.add_root(place, path.clone(), PathBuf::new());
                tree.roots.last_mut().expect("just added").depth_max = Some(*depth_max);
            }
        }
        for file in &scope.own_files {
            tree.want(file.clone(), Own::Devhost);
        }
        tree.follow_rules(FirstLook::Old);
        tree.pass += 1;
        for index in 0..tree.roots.len() {
            let place = tree.roots[index].place.clone();
            tree.scan(place, FirstLook::Old);
        }
        let wanted: Vec<PathBuf> = tree.wanted.keys().cloned().collect();
        for place in wanted {
            tree.look_at_file(&place, FirstLook::Old);
        }
        tree.watch_named_directories();
        // Fail if a limit is reached already: changes would be missed from the start.
        match tree.problems.pop() {
            Some(problem) => Err(problem),
            None => Ok(tree),
        }
    }

    fn want(&mut self, named: PathBuf, own: Own) {
        let wanted = Wanted { named, own: Some(own), role: Role::None, is_observed: false };
        self.wanted.entry(place_of(&wanted.named)).or_insert(wanted);
    }

    pub(super) fn add_root(&mut self, place: PathBuf, named: PathBuf, inside: PathBuf) {
        for file in ignore_files_above(&place) {
            let content = Content::notice(&file);
            self.ignore_files.entry(file).or_insert(content);
        }
        let ignores = Ignores::of(&place);
        self.roots.push(Root {
            place,
            named,
            inside,
            ignores,
            present: true,
            is_input: false,
            depth_max: None,
        });
    }

    /// Finds the innermost root that contains the place.
    pub(super) fn root_of(&self, place: &Path) -> Option<usize> {
        let holds = |(_, root): &(usize, &Root)| place.starts_with(&root.place);
        let depth = |(_, root): &(usize, &Root)| root.place.components().count();
        self.roots.iter().enumerate().filter(holds).max_by_key(depth).map(|(index, _)| index)
    }

    pub(super) fn is_excluded(&self, place: &Path) -> bool {
        self.exclude.iter().any(|excluded| place.starts_with(excluded))
    }

    /// Returns true if files of the directory count without being named.
    pub(super) fn is_searched(&self, directory: &Path) -> bool {
        matches!(self.directories.get(directory), Some(Extent::Whole | Extent::Input))
    }

    pub(super) fn is_in_whole_directory(&self, place: &Path) -> bool {
        self.roots.iter().any(|root| root.place == place)
            || place.parent().is_some_and(|parent| self.is_searched(parent))
            || self.inputs.targets().any(|target| target == place)
    }

    pub(super) fn is_around(&self, directory: &Path) -> bool {
        self.root_of(directory).is_some_and(|root| self.roots[root].depth_max.is_some())
    }

    pub(super) fn named(&self, place: &Path) -> PathBuf {
        if let Some(wanted) = self.wanted.get(place) {
            return wanted.named.clone();
        }
        if self.root_of(place).is_none()
            && let Some(named) = self.inputs.named(place)
        {
            return named;
        }
        match self.root_of(place).map(|index| &self.roots[index]) {
            Some(root) => {
                place.strip_prefix(&root.place).map_or_else(|_| place.to_owned(), |r| root.named.join(r))
            }
            None => place.to_owned(),
        }
    }

    /// Lists the packages whose directories are missing.
    pub(crate) fn missing_packages(&self) -> impl Iterator<Item = &Path> {
        self.roots.iter().filter(|root| !root.present && root.is_package()).map(|root| root.named.as_path())
    }
}
