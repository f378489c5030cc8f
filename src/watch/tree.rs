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

use super::classify::{Class, classify, is_asset_directory};
use super::error::WatchError;
use super::ignores::{Ignores, ignore_files_above, is_cache, is_ignore_file};
use super::{Changes, Scope};
use crate::content::Content;

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

/// The file with the app's environment.
const ENV_FILE: &str = ".env";

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
}

/// A file that counts because somebody named it, wherever it lies and whatever ignores it.
struct Wanted {
    named: PathBuf,
    /// What it means by itself, for a manifest or the environment's file.
    own_class: Option<Class>,
    /// Named by the last build: code, whatever it is by itself.
    is_source: bool,
}

impl Wanted {
    fn class(&self) -> Option<Class> {
        if self.is_source { Some(Class::Code) } else { self.own_class }
    }
}

/// How much of a watched directory counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// Every file that is not ignored.
    Whole,
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
            tree.want(base.join(ENV_FILE), Class::Env);
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
        let in_whole_directory =
            place.parent().is_some_and(|parent| self.directories.get(parent) == Some(&Extent::Whole));
        if !in_whole_directory || self.is_excluded(place) {
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
            self.class_of(place).is_some() || metadata.is_symlink()
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

    /// Takes the files that the last build read. A file that was not followed until now counts as changed if it is
    /// newer than `since`: the build may have read older content.
    pub(super) fn set_sources(&mut self, sources: &[PathBuf], since: SystemTime) {
        self.pass += 1;
        let sources: BTreeMap<PathBuf, &PathBuf> = sources
            .iter()
            .map(|named| (place_of(named), named))
            // Generated by the build itself: its inputs are what is watched.
            .filter(|(place, _)| !self.is_excluded(place))
            .collect();
        for place in self.wanted.keys().cloned().collect::<Vec<_>>() {
            if !sources.contains_key(&place) {
                self.unwant_source(&place);
            }
        }
        for (place, named) in sources {
            let followed = self.files.contains_key(&place);
            let was_code = self.class_of(&place) == Some(Class::Code);
            let own_class = self.wanted.get(&place).and_then(|wanted| wanted.own_class);
            self.wanted.insert(place.clone(), Wanted { named: named.clone(), own_class, is_source: true });
            if !followed {
                self.look_at_file(&place, Unknown::Old);
            }
            let Some(known) = self.files.get_mut(&place) else { continue };
            if !(followed && was_code) && known.content.is_newer_than(since) {
                known.content.refresh(&place);
                self.changed.insert(place);
            } else if known.content.is_unread() {
                self.unread.push_front(place);
            }
        }
        self.watch_named_directories();
    }

    fn unwant_source(&mut self, place: &Path) {
        let Some(wanted) = self.wanted.get_mut(place) else { return };
        wanted.is_source = false;
        if wanted.own_class.is_none() {
            self.wanted.remove(place);
        }
        if self.class_of(place).is_none() {
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
            let Some(class) = self.class_of(&place) else { continue };
            let list = match class {
                Class::Code => &mut changes.code,
                Class::Env => &mut changes.env,
                Class::Style => &mut changes.styles,
                Class::Static => &mut changes.statics,
            };
            list.push(self.named(&place));
            changes.at = changes.at.min(at(&place));
        }
        changes.sort();
        (!changes.is_empty()).then_some(changes)
    }

    fn inspect(&mut self, place: &Path) {
        for link in self.links.get(place).cloned().unwrap_or_default() {
            self.look_at_file(&link, Unknown::New);
        }
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

    fn is_in_whole_directory(&self, place: &Path) -> bool {
        self.roots.iter().any(|root| root.place == place)
            || place.parent().is_some_and(|parent| self.directories.get(parent) == Some(&Extent::Whole))
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
        let mut stack = vec![directory];
        while let Some(directory) = stack.pop() {
            let is_root = self.roots.iter().any(|root| root.place == directory);
            if self.is_excluded(&directory) || (!is_root && is_cache(&directory)) {
                continue;
            }
            // The watch comes before the list: what is made in between is then seen twice, not never.
            if !self.watch(&directory, Extent::Whole) {
                continue;
            }
            let Ok(entries) = fs::read_dir(&directory) else { continue };
            for entry in entries.flatten() {
                let place = entry.path();
                let Ok(kind) = entry.file_type() else { continue };
                if kind.is_dir() {
                    if !self.is_ignored(&place, true) {
                        stack.push(place);
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
        self.add_root(target.clone(), named, inside);
        self.scan(target, unknown);
    }

    fn look_at_file(&mut self, place: &Path, unknown: Unknown) {
        if self.class_of(place).is_none() || !self.is_followed(place) {
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
        for place in self.files.keys().cloned().collect::<Vec<_>>() {
            if self.class_of(&place).is_none() {
                self.files.remove(&place);
            }
        }
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

    fn add_root(&mut self, place: PathBuf, named: PathBuf, inside: PathBuf) {
        for file in ignore_files_above(&place) {
            let content = Content::notice(&file);
            self.ignore_files.entry(file).or_insert(content);
        }
        let ignores = Ignores::of(&place);
        self.roots.push(Root { place, named, inside, ignores, present: true });
    }

    fn want(&mut self, named: PathBuf, class: Class) {
        let wanted = Wanted { named, own_class: Some(class), is_source: false };
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
            .cloned()
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
                let extent = if known == Some(Extent::Whole) { Extent::Whole } else { extent };
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
            self.directories.remove(&directory);
        }
        for root in &mut self.roots {
            if root.present && root.place.starts_with(place) && !root.place.is_dir() {
                root.present = false;
                if root.inside.as_os_str().is_empty() {
                    self.problems.push(WatchError::RootMissing { path: root.named.clone() });
                }
            }
        }
        self.watch_named_directories();
    }

    /// What a change of the file means, `None` if nothing.
    fn class_of(&mut self, place: &Path) -> Option<Class> {
        if let Some(class) = self.wanted.get(place).and_then(Wanted::class) {
            return Some(class);
        }
        if self.is_excluded(place) {
            return None;
        }
        let root = &self.roots[self.root_of(place)?];
        let relative = root.inside.join(place.strip_prefix(&root.place).ok()?);
        let is_package = root.inside.as_os_str().is_empty();
        let class = classify(&relative, || is_package && is_in_inner_package(place, &root.place))?;
        (!self.is_ignored(place, false)).then_some(class)
    }

    fn is_ignored(&mut self, place: &Path, is_directory: bool) -> bool {
        let Some(root) = self.root_of(place) else { return false };
        let root = &mut self.roots[root];
        match place.strip_prefix(&root.place) {
            Ok(relative) => root.ignores.ignores(relative, is_directory),
            Err(_) => false,
        }
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
