//! The files that matter, where they are and what was last seen in them. It looks at the file system when told where
//! to look, keeps the watches of the directories right, and says what has changed; it knows no events, no threads
//! and no time.
//!
//! A **place** is a file's path with its directory made canonical (the file's own name is not resolved), so that two
//! spellings of one file are one place. What is reported is the spelling that the caller uses: a source as the build
//! named it, any other file below its root as the root was given.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use notify::Watcher as _;

use super::classify::{Class, classify, classify_around, is_asset_directory, is_left_alone};
use super::error::WatchError;
use super::ignores::{Ignores, ignore_files_above, is_cache, is_ignore_file};
use super::inputs::{Directories, INPUT_DIRECTORIES_COUNT_MAX, Reason, without_trailing_slash};
use super::{Changes, Scope, Surroundings};
use devhost_model::BuildInputs;
use devhost_sys::content::Content;

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

/// How many directories around the packages are watched, those nearest to their top first.
const SURROUNDING_DIRECTORIES_COUNT_MAX: usize = 2_000;

/// Where events come from.
pub(super) enum Backend {
    /// The kernel tells.
    Native(notify::RecommendedWatcher),
    /// Nobody tells: everything is looked at, again and again.
    Poll,
}

impl Backend {
    fn watch(&mut self, directory: &Path) -> Result<(), WatchError> {
        match self {
            Self::Native(watcher) => watcher
                .watch(directory, notify::RecursiveMode::NonRecursive)
                .map_err(|error| WatchError::from_notify(&error, directory)),
            Self::Poll => Ok(()),
        }
    }

    fn unwatch(&mut self, directory: &Path) {
        if let Self::Native(watcher) = self {
            // A directory that is gone has lost its watch already.
            let _ = watcher.unwatch(directory);
        }
    }
}

/// A directory tree that is watched as a whole: a package, or what a symbolic link inside of one points to.
struct Root {
    /// The canonical path.
    place: PathBuf,
    /// The path as the caller knows it.
    named: PathBuf,
    /// Where it is inside its package: empty for the package itself.
    inside: PathBuf,
    ignores: Ignores,
    /// False from its removal until it is back.
    present: bool,
    /// Its build script names no inputs: every file that is not ignored counts.
    is_input: bool,
    /// It is around packages, or a link there leads to it: only what may be served or read counts, and this many levels of
    /// directories are looked at.
    depth_max: Option<usize>,
}

impl Root {
    fn is_package(&self) -> bool {
        self.inside.as_os_str().is_empty() && self.depth_max.is_none()
    }
}

/// A file that counts because somebody named it, wherever it lies and whatever ignores it.
struct Wanted {
    named: PathBuf,
    /// What it means by itself, for a manifest or the environment's file.
    own_class: Option<Class>,
    /// Read by the last build: code, whatever its path says.
    role: Role,
}

/// What a file was to the last build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    None,
    /// The compiler has read it.
    Source,
    /// A build script has named it: the app may read it as well.
    Named,
}

/// What a change of a file means.
#[derive(Debug, Clone, Copy, Default)]
struct Meaning {
    /// The build has read it.
    is_read: bool,
    /// The build may have read it.
    is_input: bool,
    /// What its path says.
    own_class: Option<Class>,
}

impl Meaning {
    /// Something.
    fn is_any(self) -> bool {
        self.is_read || self.is_input || self.own_class.is_some()
    }

    /// A build.
    fn is_code(self) -> bool {
        self.is_read || self.is_input || self.own_class == Some(Class::Code)
    }
}

/// How much of a watched directory counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// Every file that is not ignored.
    Whole,
    /// Every file: it is, or may be, an input of the build.
    Input,
    /// Only files that somebody named.
    Named,
}

/// What a look at a file that was not known before means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unknown {
    /// It is new: a change.
    New,
    /// It was there all the time.
    Old,
    /// It was there all the time, unless it is newer than this.
    NewSince(SystemTime),
}

struct Known {
    content: Content,
    /// The pass that looked at it last.
    pass: u64,
}

/// The files that matter. See the module's documentation.
pub(super) struct Tree {
    backend: Backend,
    exclude: Vec<PathBuf>,
    roots: Vec<Root>,
    wanted: BTreeMap<PathBuf, Wanted>,
    directories: BTreeMap<PathBuf, Extent>,
    inputs: Directories,
    /// How many directories around the packages are watched.
    surroundings_count: usize,
    /// Some are not, because there are too many.
    surroundings_left: bool,
    /// How many directories are watched only for the inputs in them.
    inputs_count: usize,
    files: BTreeMap<PathBuf, Known>,
    /// Files at the end of symbolic links, and the links' places.
    links: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    ignore_files: BTreeMap<PathBuf, Content>,
    ignores_stale: bool,
    /// Files that were noticed and not read yet, those that matter most first.
    unread: VecDeque<PathBuf>,
    /// Counts the looks at many files, so that one look does not read a file twice.
    pass: u64,
    changed: BTreeSet<PathBuf>,
    problems: Vec<WatchError>,
}

impl Tree {
    /// Notices every file of the scope and watches its directories.
    pub(super) fn new(scope: &Scope, backend: Backend) -> Result<Self, WatchError> {
        let mut tree = Self {
            backend,
            exclude: scope.exclude.iter().map(|path| canonical(path)).collect(),
            roots: Vec::new(),
            wanted: BTreeMap::new(),
            directories: BTreeMap::new(),
            inputs: Directories::default(),
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

    /// Whether an event at that place can matter. Cheap, for it is asked for each event.
    pub(super) fn is_relevant(&mut self, place: &Path) -> bool {
        if self.files.contains_key(place)
            || self.directories.contains_key(place)
            || self.links.contains_key(place)
            || self.ignore_files.contains_key(place)
            || has_below(&self.wanted, place)
            || has_below(&self.links, place)
            || self.roots.iter().any(|root| !root.present && root.place.starts_with(place))
        {
            return true;
        }
        if !place.parent().is_some_and(|parent| self.is_searched(parent)) || self.is_excluded(place) {
            return false;
        }
        if place.file_name().is_some_and(is_ignore_file) {
            return true;
        }
        // What is unknown and gone again was somebody's temporary file.
        let Ok(metadata) = fs::symlink_metadata(place) else { return false };
        if metadata.is_dir() {
            !self.is_ignored(place, true)
        } else {
            self.meaning_of(place).is_any() || metadata.is_symlink()
        }
    }

    /// Looks at places where something may have happened, and takes down what has changed. `began` is about when it
    /// began to happen: should the ignore files change as well, what they hid until now is new if it is newer.
    pub(super) fn inspect_all<'a>(
        &mut self,
        places: impl Iterator<Item = &'a PathBuf> + Clone,
        began: SystemTime,
    ) {
        self.pass += 1;
        // The rules come first: they decide about everything else.
        for place in places.clone() {
            if self.ignore_files.contains_key(place) || place.file_name().is_some_and(is_ignore_file) {
                self.look_at_ignore_file(place, Unknown::New);
            }
        }
        let rules_changed = self.refresh_rules();
        for place in places {
            self.inspect(place);
        }
        // Only now: what is new must be called new before the rest is taken as it is.
        if self.refresh_rules() || rules_changed {
            self.adopt(Unknown::NewSince(began));
        }
        self.welcome_roots();
    }

    /// Looks at everything: after lost events, and at each turn of polling.
    pub(super) fn inspect_everything(&mut self) {
        self.pass += 1;
        let ignore_files: Vec<PathBuf> = self.ignore_files.keys().cloned().collect();
        for place in ignore_files {
            self.look_at_ignore_file(&place, Unknown::New);
        }
        self.refresh_rules();
        for index in 0..self.roots.len() {
            let place = self.roots[index].place.clone();
            self.scan(place, Unknown::New);
        }
        self.look_at_inputs_below(Path::new("/"));
        for target in self.inputs.targets().map(Path::to_owned).collect::<Vec<_>>() {
            self.scan(target, Unknown::New);
        }
        let rest: Vec<PathBuf> = self
            .files
            .iter()
            .filter(|(_, known)| known.pass != self.pass)
            .map(|(place, _)| place.clone())
            .collect();
        for place in rest {
            self.look_at_file(&place, Unknown::New);
        }
        // After the files: those of a directory that is no longer watched would be left without a word.
        let gone: Vec<PathBuf> =
            self.directories.keys().filter(|directory| !directory.is_dir()).cloned().collect();
        for directory in gone {
            self.forget_directory(&directory);
        }
        self.watch_named_directories();
        if self.refresh_rules() {
            self.adopt(Unknown::New);
        }
        self.welcome_roots();
    }

    /// Takes what the last build depends on. A file that was not followed until now counts as changed if it is newer than
    /// `since`: the build may have read older content. A good build ends all doubt.
    pub(super) fn set_inputs(&mut self, inputs: &BuildInputs, since: SystemTime) {
        self.pass += 1;
        let named = inputs.named.iter().map(|named| (named, Role::Named));
        let roles: BTreeMap<PathBuf, (PathBuf, Role)> = named
            .chain(inputs.files.iter().map(|named| (named, Role::Source)))
            .map(|(named, role)| {
                let named = without_trailing_slash(named);
                (place_of(&named), (named, role))
            })
            // Generated by the build itself: its inputs are what is watched.
            .filter(|(place, _)| !self.is_excluded(place))
            .collect();
        for place in self.wanted.keys().cloned().collect::<Vec<_>>() {
            if !roles.contains_key(&place) {
                self.unwant_source(&place);
            }
        }
        let mut fresh = Vec::new();
        for (place, (named, role)) in &roles {
            let followed = self.files.contains_key(place);
            let was_code = self.meaning_of(place).is_code();
            let own_class = self.wanted.get(place).and_then(|wanted| wanted.own_class);
            self.wanted.insert(place.clone(), Wanted { named: named.clone(), own_class, role: *role });
            // A directory, or something that may come to be one.
            if !place.is_file() && self.inputs.add(place.clone(), named.clone(), Reason::Named) {
                fresh.push(place.clone());
            }
            if !followed {
                self.look_at_file(place, Unknown::Old);
            }
            let Some(known) = self.files.get_mut(place) else { continue };
            // What a script has named need not exist, and is noticed when it does.
            let is_away = known.content == Content::Absent && (*role == Role::Named || place.is_dir());
            let was_followed = followed && was_code;
            if !was_followed && !is_away && known.content.is_newer_than(since) {
                known.content.refresh(place);
                self.changed.insert(place.clone());
            } else if known.content.is_unread() {
                self.unread.push_front(place.clone());
            }
        }
        let left = self.inputs.retain(|place, reason| {
            // What a link in one leads to is known by the link.
            reason == Reason::Named && place.ancestors().any(|place| roles.contains_key(place))
        });
        for place in fresh {
            self.scan_inputs(&place, Unknown::NewSince(since));
        }
        self.set_packages(&inputs.packages, since);
        if left {
            self.leave_inputs();
        }
        self.watch_named_directories();
    }

    /// From now on every file of the packages counts, and what the last build depended on: another build has failed, and
    /// nobody knows what it would have read. A file that was not followed until now counts as changed if it is newer than
    /// `since`.
    pub(super) fn doubt(&mut self, known: &BuildInputs, since: SystemTime) {
        self.pass += 1;
        for named in known.files.iter().chain(&known.named) {
            let named = without_trailing_slash(named);
            let place = place_of(&named);
            if self.is_excluded(&place) || self.wanted.contains_key(&place) {
                continue;
            }
            if !place.is_file() && self.inputs.add(place.clone(), named.clone(), Reason::Named) {
                self.scan_inputs(&place, Unknown::NewSince(since));
            }
            self.wanted.insert(place.clone(), Wanted { named, own_class: None, role: Role::Named });
            self.look_at_file(&place, Unknown::Old);
        }
        let roots: Vec<(PathBuf, PathBuf)> = self
            .roots
            .iter()
            .filter(|root| root.is_package())
            .map(|root| (root.place.clone(), root.named.clone()))
            .collect();
        for (place, named) in roots {
            if self.inputs.add(place.clone(), named, Reason::Doubt) {
                self.scan(place, Unknown::NewSince(since));
            }
        }
        self.watch_named_directories();
    }

    fn set_packages(&mut self, packages: &[PathBuf], since: SystemTime) {
        let packages: BTreeSet<PathBuf> = packages.iter().map(|package| canonical(package)).collect();
        for index in 0..self.roots.len() {
            let root = &mut self.roots[index];
            let is_input = root.is_package() && packages.contains(&root.place);
            if std::mem::replace(&mut root.is_input, is_input) != is_input {
                let place = root.place.clone();
                if is_input {
                    self.scan(place, Unknown::NewSince(since));
                } else {
                    self.forget_meaningless_files();
                }
            }
        }
    }

    fn scan_inputs(&mut self, place: &Path, unknown: Unknown) {
        if let Ok(target) = fs::canonicalize(place) {
            self.scan(target, unknown);
        }
    }

    /// Leaves the directories that are watched for inputs only and have none any more.
    fn leave_inputs(&mut self) {
        self.forget_meaningless_files();
        let left: Vec<PathBuf> = self
            .directories
            .iter()
            .filter(|(place, extent)| **extent == Extent::Input && !self.inputs.holds(place))
            .map(|(place, _)| place.clone())
            .collect();
        for place in left {
            self.backend.unwatch(&place);
            self.directories.remove(&place);
            self.inputs_count = self.inputs_count.saturating_sub(1);
        }
    }

    fn forget_meaningless_files(&mut self) {
        for place in self.files.keys().cloned().collect::<Vec<_>>() {
            if !self.meaning_of(&place).is_any() {
                self.files.remove(&place);
            }
        }
    }

    fn unwant_source(&mut self, place: &Path) {
        let Some(wanted) = self.wanted.get_mut(place) else { return };
        if wanted.role == Role::None {
            return;
        }
        wanted.role = Role::None;
        if wanted.own_class.is_none() {
            self.wanted.remove(place);
        }
        if !self.meaning_of(place).is_any() {
            self.files.remove(place);
        }
    }

    /// Reads one of the files that were noticed and not read yet, `None` if there is none. Gives its place if it has
    /// changed since it was noticed.
    pub(super) fn read_one(&mut self) -> Option<Option<PathBuf>> {
        while let Some(place) = self.unread.pop_front() {
            if let Some(known) = self.files.get_mut(&place)
                && known.content.is_unread()
            {
                let changed = known.content.refresh(&place);
                if changed {
                    self.changed.insert(place.clone());
                }
                return Some(changed.then_some(place));
            }
        }
        None
    }

    /// Gives away what has changed since the last time, with `at` left to the caller.
    pub(super) fn take_changes(
        &mut self,
        mut at: impl FnMut(&Path) -> std::time::Instant,
    ) -> Option<Changes> {
        if self.changed.is_empty() && self.problems.is_empty() {
            return None;
        }
        let mut changes = Changes::empty(std::time::Instant::now());
        changes.problems = std::mem::take(&mut self.problems);
        for place in std::mem::take(&mut self.changed) {
            let meaning = self.meaning_of(&place);
            if !meaning.is_any() {
                continue;
            }
            changes.at = changes.at.min(at(&place));
            let named = self.named(&place);
            let files = &mut changes.files;
            if meaning.is_read {
                files.code.push(named.clone());
            } else if meaning.is_input && meaning.own_class != Some(Class::Code) {
                files.inputs.push(named.clone());
            }
            match meaning.own_class {
                Some(Class::Code) => files.code.push(named),
                Some(Class::Startup) => files.startup.push(named),
                Some(Class::Style) => files.styles.push(named),
                Some(Class::Static) => files.statics.push(named),
                None => {}
            }
        }
        changes.files.sort();
        (!changes.is_empty()).then_some(changes)
    }

    fn inspect(&mut self, place: &Path) {
        for link in self.links.get(place).cloned().unwrap_or_default() {
            self.look_at_file(&link, Unknown::New);
        }
        self.look_at_inputs_below(place);
        match fs::symlink_metadata(place) {
            Ok(metadata) if metadata.is_dir() => {
                if self.is_in_whole_directory(place) && !self.is_ignored(place, true) {
                    self.scan(place.to_owned(), Unknown::New);
                }
                self.watch_named_directories();
                // Another directory may stand where the known one stood.
                self.look_at_known_below(place);
            }
            Ok(metadata) if metadata.is_symlink() && place.is_dir() => self.follow_link(place, Unknown::New),
            Ok(_) => self.look_at_file(place, Unknown::New),
            Err(_) => {
                self.look_at_known_below(place);
                self.forget_directory(place);
            }
        }
    }

    /// Looks whether directories of inputs, at a place or below it, have come, gone, or become others.
    fn look_at_inputs_below(&mut self, place: &Path) {
        let places: Vec<PathBuf> =
            self.inputs.places().filter(|input| input.starts_with(place)).map(Path::to_owned).collect();
        for place in places {
            let Some(target) = self.inputs.look_again(&place) else { continue };
            // Whatever was in the one before is gone.
            self.changed.insert(place);
            self.leave_inputs();
            if let Some(target) = target {
                self.scan(target, Unknown::New);
            }
        }
    }

    fn is_in_whole_directory(&self, place: &Path) -> bool {
        self.roots.iter().any(|root| root.place == place)
            || place.parent().is_some_and(|parent| self.is_searched(parent))
            || self.inputs.targets().any(|target| target == place)
    }

    /// Files of this directory count although nobody has named them.
    fn is_searched(&self, directory: &Path) -> bool {
        matches!(self.directories.get(directory), Some(Extent::Whole | Extent::Input))
    }

    /// Looks at the known and the wanted files at a place or below it that this pass has not looked at.
    fn look_at_known_below(&mut self, place: &Path) {
        let places: BTreeSet<PathBuf> =
            below(&self.files, place).chain(below(&self.wanted, place)).cloned().collect();
        for place in places {
            if self.files.get(&place).is_none_or(|known| known.pass != self.pass) {
                self.look_at_file(&place, Unknown::New);
            }
        }
    }

    /// Watches a directory and all below it, and looks at every file there.
    fn scan(&mut self, directory: PathBuf, unknown: Unknown) {
        // The nearest come first: their number is bounded.
        let mut queue = VecDeque::from([directory]);
        while let Some(directory) = queue.pop_front() {
            let is_root = self.roots.iter().any(|root| root.place == directory)
                || self.inputs.targets().any(|target| target == directory);
            if self.is_excluded(&directory) || (!is_root && is_cache(&directory)) {
                continue;
            }
            // The watch comes before the list: what is made in between is then seen twice, not never.
            if !self.is_within_surroundings(&directory) {
                continue;
            }
            let extent = if self.is_left_to_inputs(&directory) { Extent::Input } else { Extent::Whole };
            if (extent == Extent::Input && !self.has_room_for_inputs(&directory))
                || !self.watch(&directory, extent)
            {
                continue;
            }
            let Ok(entries) = fs::read_dir(&directory) else { continue };
            for entry in entries.flatten() {
                let place = entry.path();
                let Ok(kind) = entry.file_type() else { continue };
                if kind.is_dir() {
                    if !self.is_ignored(&place, true) {
                        queue.push_back(place);
                    }
                } else if kind.is_symlink() && place.is_dir() {
                    self.follow_link(&place, unknown);
                } else if is_ignore_file(&entry.file_name()) {
                    self.look_at_ignore_file(&place, unknown);
                } else {
                    self.look_at_file(&place, unknown);
                }
            }
        }
    }

    /// Takes the directory at the end of a symbolic link as a root of its own, if it is not inside of one already.
    fn follow_link(&mut self, link: &Path, unknown: Unknown) {
        if let Some(target) = self.inputs.add_link(link) {
            self.scan(target, unknown);
        }
        let Ok(target) = fs::canonicalize(link) else { return };
        let is_covered =
            self.roots.iter().any(|root| target.starts_with(&root.place) || root.place.starts_with(&target));
        if is_covered || self.is_excluded(&target) || self.is_ignored(link, true) {
            return;
        }
        let Some(root) = self.root_of(link) else { return };
        let inside = self.roots[root].inside.join(link.strip_prefix(&self.roots[root].place).unwrap_or(link));
        // Other links lead anywhere (a build tool's output, a whole store of packages); the sources behind them are
        // named by the build.
        if !is_asset_directory(&inside) {
            return;
        }
        let named = self.named(link);
        let depth_max = self.roots[root].depth_max;
        self.add_root(target.clone(), named, inside);
        self.roots.last_mut().expect("just added").depth_max = depth_max;
        self.scan(target, unknown);
    }

    fn look_at_file(&mut self, place: &Path, unknown: Unknown) {
        if !self.meaning_of(place).is_any() || !self.is_followed(place) {
            self.files.remove(place);
            return;
        }
        let mut known = match (self.files.remove(place), unknown) {
            (Some(known), _) => known,
            (None, Unknown::Old) => Known { content: Content::notice(place), pass: self.pass },
            (None, Unknown::New) => Known { content: Content::Absent, pass: 0 },
            (None, Unknown::NewSince(time)) => match Content::notice(place) {
                content if content.is_newer_than(time) => Known { content: Content::Absent, pass: 0 },
                content => Known { content, pass: self.pass },
            },
        };
        if std::mem::replace(&mut known.pass, self.pass) != self.pass && known.content.refresh(place) {
            self.changed.insert(place.to_owned());
        }
        if known.content.is_unread() {
            self.unread.push_back(place.to_owned());
        }
        // A file that is gone is remembered only if somebody named it.
        if known.content != Content::Absent || self.wanted.contains_key(place) {
            self.files.insert(place.to_owned(), known);
        }
        self.follow_file_link(place);
    }

    /// A named file is followed anywhere, any other in directories that are watched as a whole.
    fn is_followed(&self, place: &Path) -> bool {
        self.wanted.contains_key(place) || self.is_in_whole_directory(place)
    }

    fn follow_file_link(&mut self, place: &Path) {
        if fs::symlink_metadata(place).is_ok_and(|metadata| metadata.is_symlink())
            && let Ok(target) = fs::canonicalize(place)
            && self.links.entry(target.clone()).or_default().insert(place.to_owned())
        {
            self.watch_directory_of(&target);
        }
    }

    fn look_at_ignore_file(&mut self, place: &Path, unknown: Unknown) {
        match self.ignore_files.get_mut(place) {
            Some(content) => self.ignores_stale |= content.refresh(place),
            None => {
                self.ignore_files.insert(place.to_owned(), Content::notice(place));
                self.ignores_stale |= unknown == Unknown::New;
            }
        }
    }

    /// Reads the ignore files again if one has changed, and leaves what is now ignored.
    fn refresh_rules(&mut self) -> bool {
        if !std::mem::take(&mut self.ignores_stale) {
            return false;
        }
        for root in &mut self.roots {
            root.ignores = Ignores::of(&root.place);
        }
        self.forget_meaningless_files();
        for directory in self.directories.keys().cloned().collect::<Vec<_>>() {
            if self.directories.get(&directory) == Some(&Extent::Whole) && self.is_ignored(&directory, true) {
                self.forget_directory(&directory);
            }
        }
        true
    }

    /// Follows what is no longer ignored.
    fn adopt(&mut self, unknown: Unknown) {
        for index in 0..self.roots.len() {
            let place = self.roots[index].place.clone();
            self.scan(place, unknown);
        }
        self.ignores_stale = false;
        self.watch_named_directories();
    }

    /// Takes back the roots that were away and are there again; all in them counts as changed.
    fn welcome_roots(&mut self) {
        for index in 0..self.roots.len() {
            let root = &mut self.roots[index];
            if !root.present && root.place.is_dir() {
                root.present = true;
                let place = root.place.clone();
                self.scan(place, Unknown::New);
                self.watch_named_directories();
            }
        }
    }

    /// The packages whose directories are away.
    pub(super) fn packages_away(&self) -> impl Iterator<Item = &Path> {
        self.roots.iter().filter(|root| !root.present && root.is_package()).map(|root| root.named.as_path())
    }

    fn add_root(&mut self, place: PathBuf, named: PathBuf, inside: PathBuf) {
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

    fn want(&mut self, named: PathBuf, class: Class) {
        let wanted = Wanted { named, own_class: Some(class), role: Role::None };
        self.wanted.entry(place_of(&wanted.named)).or_insert(wanted);
    }

    /// Watches the directories of every named file, of ignore files and of roots that are away.
    fn watch_named_directories(&mut self) {
        let places: Vec<PathBuf> = self
            .wanted
            .keys()
            .chain(self.links.keys())
            .chain(self.ignore_files.keys())
            .chain(self.roots.iter().filter(|root| !root.present).map(|root| &root.place))
            .map(PathBuf::as_path)
            .chain(self.inputs.places())
            .map(Path::to_owned)
            .collect();
        for place in places {
            if self.watch_directory_of(&place) && self.wanted.contains_key(&place) {
                // What happened there before the watch was set has told nobody.
                if let Some(known) = self.files.get_mut(&place) {
                    known.pass = 0;
                }
                self.look_at_file(&place, Unknown::Old);
            }
        }
    }

    /// Watches the directory of a place, or the nearest one above it that exists, where its return will show. True
    /// if it was not watched before.
    fn watch_directory_of(&mut self, place: &Path) -> bool {
        for directory in place.ancestors().skip(1) {
            if self.directories.contains_key(directory) {
                return false;
            }
            if self.watch(directory, Extent::Named) {
                return true;
            }
        }
        false
    }

    fn watch(&mut self, directory: &Path, extent: Extent) -> bool {
        if !directory.is_dir() {
            return false;
        }
        let known = self.directories.get(directory).copied();
        // Asked for again even if it is known: another directory may have taken its name, and a second watch of the
        // same one is none.
        match self.backend.watch(directory) {
            Ok(()) => {
                let extent = match (known, extent) {
                    (Some(Extent::Whole), _) | (_, Extent::Whole) => Extent::Whole,
                    (Some(Extent::Input), _) | (_, Extent::Input) => Extent::Input,
                    (_, Extent::Named) => Extent::Named,
                };
                if known.is_none() && self.is_around(directory) {
                    self.surroundings_count += 1;
                }
                match (known == Some(Extent::Input), extent == Extent::Input) {
                    (false, true) => self.inputs_count += 1,
                    (true, false) => self.inputs_count = self.inputs_count.saturating_sub(1),
                    _ => {}
                }
                self.directories.insert(directory.to_owned(), extent);
                true
            }
            Err(problem) => {
                let matters = matches!(problem, WatchError::NoWatchesLeft { .. } | WatchError::Failed { .. })
                    || self.roots.iter().any(|root| root.present && root.place == directory);
                if matters && !self.problems.iter().any(|other| is_alike(other, &problem)) {
                    self.problems.push(problem);
                }
                false
            }
        }
    }

    /// Drops the watches of a directory and of those below it.
    fn forget_directory(&mut self, place: &Path) {
        let directories: Vec<PathBuf> = below(&self.directories, place).cloned().collect();
        if directories.is_empty() {
            return;
        }
        for directory in directories {
            self.backend.unwatch(&directory);
            if self.directories.remove(&directory) == Some(Extent::Input) {
                self.inputs_count = self.inputs_count.saturating_sub(1);
            }
            if self.is_around(&directory) {
                self.surroundings_count = self.surroundings_count.saturating_sub(1);
            }
        }
        for root in &mut self.roots {
            if root.present && root.place.starts_with(place) && !root.place.is_dir() {
                root.present = false;
            }
        }
        self.watch_named_directories();
    }

    /// What a change of the file means.
    fn meaning_of(&mut self, place: &Path) -> Meaning {
        let (role, named_class) =
            self.wanted.get(place).map_or((Role::None, None), |wanted| (wanted.role, wanted.own_class));
        if role == Role::Source || named_class.is_some() {
            let is_read = role != Role::None;
            return Meaning { is_read, is_input: false, own_class: named_class };
        }
        if self.is_excluded(place) {
            return Meaning { is_read: role != Role::None, ..Meaning::default() };
        }
        let is_input = self.inputs.hold_file(place) || self.is_of_whole_package(place);
        Meaning { is_read: role != Role::None, is_input, own_class: self.class_by_path(place) }
    }

    fn class_by_path(&mut self, place: &Path) -> Option<Class> {
        let root = &self.roots[self.root_of(place)?];
        let relative = root.inside.join(place.strip_prefix(&root.place).ok()?);
        let is_package = root.is_package();
        let is_foreign = || is_package && is_in_inner_package(place, &root.place);
        let class = if root.depth_max.is_some() {
            let is_foreign = || is_in_inner_package(place, &root.place);
            classify_around(&relative, is_foreign)?
        } else {
            classify(&relative, is_foreign)?
        };
        (!self.is_ignored_by_rules(place, false)).then_some(class)
    }

    /// cargo runs a build script that names no inputs again for any file of its package.
    fn is_of_whole_package(&mut self, place: &Path) -> bool {
        let Some(root) = self.root_of(place).map(|index| &self.roots[index]) else { return false };
        let is_of_package = root.is_input
            && !place.file_name().is_none_or(is_left_alone)
            && !is_in_inner_package(place, &root.place);
        is_of_package && !self.is_ignored_by_rules(place, false)
    }

    fn is_ignored(&mut self, place: &Path, is_directory: bool) -> bool {
        if self.inputs.holds(place) {
            return false;
        }
        self.is_ignored_by_rules(place, is_directory)
    }

    fn is_ignored_by_rules(&mut self, place: &Path, is_directory: bool) -> bool {
        let Some(root) = self.root_of(place) else { return false };
        let root = &mut self.roots[root];
        match place.strip_prefix(&root.place) {
            Ok(relative) => root.ignores.ignores(relative, is_directory),
            Err(_) => false,
        }
    }

    /// The directory would not be watched if it were not for the build's inputs.
    fn is_left_to_inputs(&mut self, directory: &Path) -> bool {
        self.inputs.holds(directory)
            && (self.root_of(directory).is_none() || self.is_ignored_by_rules(directory, true))
    }

    fn is_around(&self, directory: &Path) -> bool {
        self.root_of(directory).is_some_and(|root| self.roots[root].depth_max.is_some())
    }

    /// Whether a directory is watched as far as it is around the packages: not too deep, and not too many.
    fn is_within_surroundings(&mut self, directory: &Path) -> bool {
        let Some(root) = self.root_of(directory).map(|index| &self.roots[index]) else { return true };
        let Some(depth_max) = root.depth_max else { return true };
        let depth = directory.strip_prefix(&root.place).map_or(0, |inside| inside.components().count());
        if depth > depth_max {
            return false;
        }
        if self.directories.contains_key(directory) || self.inputs.holds(directory) {
            return true;
        }
        if self.surroundings_count < SURROUNDING_DIRECTORIES_COUNT_MAX {
            return true;
        }
        if !std::mem::replace(&mut self.surroundings_left, true) {
            tracing::info!("not every directory in {} is watched for served files", root.named.display());
        }
        false
    }

    fn has_room_for_inputs(&mut self, directory: &Path) -> bool {
        if self.inputs_count < INPUT_DIRECTORIES_COUNT_MAX || self.directories.contains_key(directory) {
            return true;
        }
        let problem = WatchError::TooManyInputs { path: directory.to_owned() };
        if !self.problems.iter().any(|other| is_alike(other, &problem)) {
            self.problems.push(problem);
        }
        false
    }

    fn is_excluded(&self, place: &Path) -> bool {
        self.exclude.iter().any(|excluded| place.starts_with(excluded))
    }

    /// The innermost root that holds the place.
    fn root_of(&self, place: &Path) -> Option<usize> {
        let holds = |(_, root): &(usize, &Root)| place.starts_with(&root.place);
        let depth = |(_, root): &(usize, &Root)| root.place.components().count();
        self.roots.iter().enumerate().filter(holds).max_by_key(depth).map(|(index, _)| index)
    }

    fn named(&self, place: &Path) -> PathBuf {
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
}

/// Whether one of the two says what the other says: a limit is told once, not for each directory.
fn is_alike(one: &WatchError, other: &WatchError) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}

/// Whether a `Cargo.toml` between the file and the root makes it part of another package.
fn is_in_inner_package(place: &Path, root: &Path) -> bool {
    place
        .ancestors()
        .skip(1)
        .take_while(|directory| *directory != root)
        .any(|directory| directory.join("Cargo.toml").is_file())
}

/// The keys at a path or below it. Paths are ordered by their components, so these are neighbours.
fn below<'a, T>(map: &'a BTreeMap<PathBuf, T>, path: &'a Path) -> impl Iterator<Item = &'a PathBuf> {
    map.range::<Path, _>((Bound::Included(path), Bound::Unbounded))
        .map(|(key, _)| key)
        .take_while(move |key| key.starts_with(path))
}

fn has_below<T>(map: &BTreeMap<PathBuf, T>, path: &Path) -> bool {
    below(map, path).next().is_some()
}

fn existing_directory(named: &Path) -> Result<PathBuf, WatchError> {
    let place = fs::canonicalize(named).map_err(|error| WatchError::from_io(&error, named))?;
    fs::read_dir(&place).map_err(|error| WatchError::from_io(&error, named))?;
    Ok(place)
}

/// The path with its directory made canonical.
fn place_of(path: &Path) -> PathBuf {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => canonical(parent).join(name),
        _ => canonical(path),
    }
}

/// The canonical path, or as much of it as exists followed by the rest as it is.
fn canonical(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut rest: Vec<&OsStr> = Vec::new();
    for ancestor in path.ancestors() {
        if let Ok(mut found) = fs::canonicalize(ancestor) {
            found.extend(rest.iter().rev());
            return found;
        }
        rest.extend(ancestor.file_name());
    }
    path
}
