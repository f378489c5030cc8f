//! What the tree knows: its roots, the files that somebody named, the directories that are watched, and what was last seen
//! in each file.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use devhost_sys::content::Content;

use super::paths::{canonical, existing_directory, place_of};
use crate::backend::Backend;
use crate::classify::Class;
use crate::error::WatchError;
use crate::ignores::{Ignores, ignore_files_above};
use crate::input_directories::InputDirectories;
use crate::scope::{Scope, Surroundings};

/// Files beside a package's or the workspace's manifest that a build depends on.
const MANIFESTS: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "build.rs",
    "rust-toolchain",
    "rust-toolchain.toml",
    ".cargo/config",
    ".cargo/config.toml",
];

/// Files with the app's environment.
const ENV_FILES: &[&str] = &[".env", ".env.local", ".env.development", ".env.development.local"];

/// A directory tree that is watched as a whole: a package, or what a symbolic link inside of one points to.
pub(super) struct Root {
    /// The canonical path.
    pub(super) place: PathBuf,
    /// The path as the caller knows it.
    pub(super) named: PathBuf,
    /// Where it is inside its package: empty for the package itself.
    pub(super) inside: PathBuf,
    pub(super) ignores: Ignores,
    /// False from its removal until it is back.
    pub(super) present: bool,
    /// Its build script names no inputs: every file that is not ignored counts.
    pub(super) is_input: bool,
    /// It is around packages, or a link there leads to it: only what may be served or read counts, and this many levels of
    /// directories are looked at.
    pub(super) depth_max: Option<usize>,
}

impl Root {
    pub(super) fn is_package(&self) -> bool {
        self.inside.as_os_str().is_empty() && self.depth_max.is_none()
    }
}

/// A file that counts because somebody named it, wherever it lies and whatever ignores it.
pub(super) struct Wanted {
    pub(super) named: PathBuf,
    /// What it means by itself, for a manifest or the environment's file.
    pub(super) own_class: Option<Class>,
    /// Read by the last build: code, whatever its path says.
    pub(super) role: Role,
}

/// What a file was to the last build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    None,
    /// The compiler has read it.
    Source,
    /// A build script has named it: the app may read it as well.
    Named,
}

/// How much of a watched directory counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Every file that is not ignored.
    Whole,
    /// Every file: it is, or may be, an input of the build.
    Input,
    /// Only files that somebody named.
    Named,
}

/// What a look at a file that was not known before means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// It is new: a change.
    New,
    /// It was there all the time.
    Old,
    /// It was there all the time, unless it is newer than this.
    NewSince(SystemTime),
}

pub(super) struct Known {
    pub(super) content: Content,
    /// The pass that looked at it last.
    pub(super) pass: u64,
}

/// The files that matter. See the module's documentation.
pub(crate) struct Tree {
    pub(super) backend: Backend,
    pub(super) exclude: Vec<PathBuf>,
    pub(super) roots: Vec<Root>,
    pub(super) wanted: BTreeMap<PathBuf, Wanted>,
    pub(super) directories: BTreeMap<PathBuf, Extent>,
    pub(super) inputs: InputDirectories,
    /// How many directories around the packages are watched.
    pub(super) surroundings_count: usize,
    /// Some are not, because there are too many.
    pub(super) surroundings_left: bool,
    /// How many directories are watched only for the inputs in them.
    pub(super) inputs_count: usize,
    pub(super) files: BTreeMap<PathBuf, Known>,
    /// Files at the end of symbolic links, and the links' places.
    pub(super) links: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    pub(super) ignore_files: BTreeMap<PathBuf, Content>,
    pub(super) ignores_stale: bool,
    /// Files that were noticed and not read yet, those that matter most first.
    pub(super) unread: VecDeque<PathBuf>,
    /// Counts the looks at many files, so that one look does not read a file twice.
    pub(super) pass: u64,
    pub(super) changed: BTreeSet<PathBuf>,
    pub(super) problems: Vec<WatchError>,
}

impl Tree {
    /// Notices every file of the scope and watches its directories.
    pub(crate) fn new(scope: &Scope, backend: Backend) -> Result<Self, WatchError> {
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
                tree.want(base.join(manifest), Class::Code);
            }
        }
        let surroundings = scope.surroundings.iter().map(|surroundings| &surroundings.path);
        for base in scope.roots.iter().chain([&scope.workspace_root]).chain(surroundings) {
            for file in ENV_FILES {
                tree.want(base.join(file), Class::Startup);
            }
        }
        for Surroundings { path, depth_max } in &scope.surroundings {
            let is_known = |place: &PathBuf| tree.roots.iter().any(|root| root.place == *place);
            if let Some(place) = existing_directory(path).ok().filter(|place| !is_known(place)) {
                tree.add_root(place, path.clone(), PathBuf::new());
                tree.roots.last_mut().expect("just added").depth_max = Some(*depth_max);
            }
        }
        for file in &scope.extra_files {
            tree.want(file.clone(), Class::Code);
        }
        tree.pass += 1;
        for index in 0..tree.roots.len() {
            let place = tree.roots[index].place.clone();
            tree.scan(place, Unknown::Old);
        }
        let wanted: Vec<PathBuf> = tree.wanted.keys().cloned().collect();
        for place in wanted {
            tree.look_at_file(&place, Unknown::Old);
        }
        tree.watch_named_directories();
        // A limit that is reached at once is told at once: nothing would be seen from here on.
        match tree.problems.pop() {
            Some(problem) => Err(problem),
            None => Ok(tree),
        }
    }

    fn want(&mut self, named: PathBuf, class: Class) {
        let wanted = Wanted { named, own_class: Some(class), role: Role::None };
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

    /// The innermost root that holds the place.
    pub(super) fn root_of(&self, place: &Path) -> Option<usize> {
        let holds = |(_, root): &(usize, &Root)| place.starts_with(&root.place);
        let depth = |(_, root): &(usize, &Root)| root.place.components().count();
        self.roots.iter().enumerate().filter(holds).max_by_key(depth).map(|(index, _)| index)
    }

    pub(super) fn is_excluded(&self, place: &Path) -> bool {
        self.exclude.iter().any(|excluded| place.starts_with(excluded))
    }

    /// Files of this directory count although nobody has named them.
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

    /// The packages whose directories are away.
    pub(crate) fn packages_away(&self) -> impl Iterator<Item = &Path> {
        self.roots.iter().filter(|root| !root.present && root.is_package()).map(|root| root.named.as_path())
    }
}
