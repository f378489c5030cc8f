//! What cargo has built for devhost, crate by crate, and what of it is no longer needed. cargo never removes
//! anything: output for other versions, features and toolchains stays forever.
//!
//! A *unit* is one crate compiled in one way, or one run of a build script. Its files are known by the hash
//! in their names: `.fingerprint/NAME-HASH`, `build/NAME-HASH`, `deps/libNAME-HASH.rlib` and the like. No
//! file says whether a unit is in use: cargo touches nothing fresh. But each run of cargo lists everything
//! the app is made of, fresh or not. Such a list is a *set*; the most recently used sets of each app and
//! profile are kept. What no kept set names is removed under cargo's lock, the fingerprint first, so that
//! cargo misses it and rebuilds it if it is needed again. A mistake here can thus cost time, but never yield
//! old code.
//!
//! Incremental directories have names of their own. Each belongs to the set it was compiled for.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::app::App;
use crate::cargo::Run;
use crate::paths::entries;
use crate::{build_lock, documents};

/// How many sets of an app and a profile are kept: switching branches or toolchains back and forth finds its
/// own.
const SETS_KEPT_COUNT: usize = 4;

/// How long the sets of an app are kept after its last build, and rustc's output that belongs to no set.
const AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

const HASH_LEN: usize = 16;

/// The directory of the sets, in devhost's target directory.
pub(crate) const DIRECTORY: &str = "uses";

#[derive(Debug, Default, Serialize, Deserialize)]
struct Uses {
    /// Most recently used first.
    sets: Vec<Set>,
    /// Incremental directories of sets no longer kept.
    left: BTreeSet<String>,
}

/// What an app is made of under certain manifests, settings and toolchain.
#[derive(Debug, Serialize, Deserialize)]
struct Set {
    used: SystemTime,
    /// Unit hashes of packages nobody edits.
    dependencies: BTreeSet<String>,
    /// The other units' hashes.
    own: BTreeSet<String>,
    /// Packages and targets with a file without a hash, whose hashes are unknown.
    nameless: BTreeSet<String>,
    incremental: BTreeSet<String>,
}

impl Set {
    fn hashes(&self) -> impl Iterator<Item = &String> {
        self.dependencies.iter().chain(&self.own)
    }

    /// Whether it is the same set or an earlier stage of it: a dependency was added since, or its build was
    /// not finished.
    fn is_stage_of(&self, later: &Self) -> bool {
        self.dependencies.is_subset(&later.dependencies)
            && (self.dependencies != later.dependencies || self.own.is_subset(&later.own))
    }

    fn has_units_of(&self, other: &Self) -> bool {
        self.dependencies == other.dependencies && self.own == other.own
    }

    /// Takes over another set's incremental directories. Returns those of crates that were also compiled for
    /// this set.
    fn inherit(&mut self, incremental: BTreeSet<String>) -> Vec<String> {
        let crate_of = |name: &str| name.rsplit_once('-').map(|(name, _)| name.to_owned());
        let compiled: BTreeSet<_> = self.incremental.iter().map(|name| crate_of(name)).collect();
        let (superseded, inherited): (Vec<_>, Vec<_>) =
            incremental.into_iter().partition(|name| compiled.contains(&crate_of(name)));
        self.incremental.extend(inherited);
        superseded.into_iter().filter(|name| !self.incremental.contains(name)).collect()
    }
}

impl Uses {
    /// Adds the list of a cargo run. Returns whether it is new or replaces another one.
    fn add(&mut self, mut set: Set, is_whole: bool) -> bool {
        let mut is_new = true;
        if let Some(index) = self.sets.iter().position(|known| !is_whole && set.is_stage_of(known)) {
            // The failed run would have continued like that one.
            let known = self.sets.remove(index);
            set = Set { used: set.used, incremental: set.incremental, ..known };
            self.left.extend(set.inherit(known.incremental));
            is_new = false;
        }
        let (stages, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.sets).into_iter().partition(|known| known.is_stage_of(&set));
        for stage in stages {
            is_new &= !stage.has_units_of(&set);
            self.left.extend(set.inherit(stage.incremental));
        }
        self.sets.push(set);
        self.sets.extend(others);
        for dropped in self.sets.drain(SETS_KEPT_COUNT.min(self.sets.len())..) {
            self.left.extend(dropped.incremental);
        }
        is_new
    }
}

/// Records what runs of cargo use, and removes what none of the last ones used.
#[derive(Debug, Clone)]
pub(crate) struct Keeper {
    /// There may be something no kept set names. Shared with the removing thread.
    due: Arc<AtomicBool>,
    last_run: SystemTime,
    /// Held by the removing thread.
    removing: Arc<Mutex<()>>,
    /// A build waits for that thread to stop.
    wanted: Arc<AtomicBool>,
}

impl Default for Keeper {
    fn default() -> Self {
        // Earlier runs may have left something.
        Self {
            due: Arc::new(AtomicBool::new(true)),
            last_run: SystemTime::UNIX_EPOCH,
            removing: Arc::default(),
            wanted: Arc::default(),
        }
    }
}

impl Keeper {
    /// Records what a cargo run has used. A failed run has not reported everything.
    pub(crate) fn note(
        &mut self,
        document: &Path,
        app: &App,
        profile_dirs: &[PathBuf],
        run: &Run,
        started: SystemTime,
    ) {
        let Some(mut set) = list(app, profile_dirs, run) else { return };
        let mut uses: Uses = documents::read(document).unwrap_or_default();
        let compiled = incremental(profile_dirs);
        if let Some(last) = uses.sets.first_mut() {
            // Between the two runs, replays have compiled for the last set.
            let since = last.used;
            let of_replays = compiled.iter().filter(|(_, at)| (since..started).contains(at));
            last.incremental.extend(of_replays.map(|(name, _)| name.clone()));
        }
        let compiled = compiled.into_iter().filter(|(_, at)| *at >= started);
        set.incremental = compiled.map(|(name, _)| name).collect();
        let is_new = uses.add(set, run.success);
        if documents::write(document, &uses).is_ok() && is_new {
            self.due.store(true, Ordering::Relaxed);
        }
        if run.success {
            self.last_run = started;
        }
    }

    /// Stops the removing thread and waits for it, at most for a few files. It holds cargo's lock, and a
    /// replay that finds it taken leaves the build to cargo.
    pub(crate) async fn stop_removing(&self) {
        self.wanted.store(true, Ordering::Relaxed);
        drop(self.removing.lock().await);
        self.wanted.store(false, Ordering::Relaxed);
    }

    /// Removes what no kept set names, in the background. Spares what was made since the last successful run
    /// of cargo began: its set may not be written yet. Postponed if another build runs.
    pub(crate) fn collect(&self, target_dir: &Path, profile_dirs: Vec<PathBuf>) {
        if self.last_run == SystemTime::UNIX_EPOCH || !self.due.load(Ordering::Relaxed) {
            return;
        }
        let (due, target_dir, before) = (Arc::clone(&self.due), target_dir.to_owned(), self.last_run);
        // Locked here, so that no build slips in before the thread runs.
        let Ok(removing) = Arc::clone(&self.removing).try_lock_owned() else { return };
        self.due.store(false, Ordering::Relaxed);
        let wanted = Arc::clone(&self.wanted);
        let remove = move || {
            let _removing = removing;
            let lock = build_lock::lock(&profile_dirs);
            let is_done = lock.is_some() && remove_unused(&target_dir, &profile_dirs, before, &wanted);
            if !is_done {
                due.store(true, Ordering::Relaxed);
            }
        };
        if std::thread::Builder::new().name("devhost-disk".into()).spawn(remove).is_err() {
            self.due.store(true, Ordering::Relaxed);
        }
    }
}

/// The set reported by a run of cargo. Returns `None` if a file cannot be attributed.
fn list(app: &App, profile_dirs: &[PathBuf], run: &Run) -> Option<Set> {
    let mut set = Set {
        used: SystemTime::now(),
        dependencies: BTreeSet::new(),
        own: BTreeSet::new(),
        nameless: BTreeSet::new(),
        incremental: BTreeSet::new(),
    };
    let mut links = None;
    let scripts = run.build_scripts.iter();
    for (id, path) in run.made.iter().chain(scripts) {
        let package = app.path_packages.iter().find(|package| package.id == *id);
        let hash = profile_dirs
            .iter()
            .find_map(|directory| path.strip_prefix(directory).ok())
            .and_then(|inside| inside.iter().find_map(|name| hash_in(name.to_str()?)))
            .map(str::to_owned)
            // A file meant for people has a second name, without the hash.
            .or_else(|| links.get_or_insert_with(|| linked(profile_dirs)).get(&inode(path)?).cloned());
        match (hash, package) {
            (Some(hash), Some(_)) => drop(set.own.insert(hash)),
            (Some(hash), None) => drop(set.dependencies.insert(hash)),
            (None, Some(package)) => {
                let file = path.file_stem().and_then(|stem| stem.to_str());
                set.nameless.extend(file.into_iter().chain([package.name.as_str()]).map(plain_name));
            }
            (None, None) => return None,
        }
    }
    Some(set)
}

/// The hash in the name of a unit's file or directory: `libserde-0123456789abcdef.rlib`.
fn hash_in(name: &str) -> Option<&str> {
    let (_, hash) = name.split('.').next()?.rsplit_once('-')?;
    let is_hash =
        hash.len() == HASH_LEN && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_hash.then_some(hash)
}

/// The form of a name shared by packages, targets and files.
fn plain_name(name: &str) -> String {
    name.strip_prefix("lib").unwrap_or(name).replace('-', "_")
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

fn linked(profile_dirs: &[PathBuf]) -> HashMap<(u64, u64), String> {
    let directories =
        profile_dirs.iter().flat_map(|directory| ["deps", "examples"].map(|part| directory.join(part)));
    let files = directories.flat_map(|directory| entries(&directory));
    files.filter_map(|path| Some((inode(&path)?, hash_in(path.file_name()?.to_str()?)?.to_owned()))).collect()
}

/// Incremental directories, and when they were last used.
fn incremental(profile_dirs: &[PathBuf]) -> Vec<(String, SystemTime)> {
    let paths = profile_dirs.iter().flat_map(|directory| entries(&directory.join("incremental")));
    paths.filter_map(|path| Some((name_of(&path)?.to_owned(), modified(&path)?))).collect()
}

fn name_of(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::symlink_metadata(path).ok()?.modified().ok()
}

/// Removes what no kept set of any app names and was made before `before`. The caller must keep other builds
/// from running. Returns false if a build wanted it to stop first; a unit that has lost some of its files
/// counts as not built.
fn remove_unused(
    target_dir: &Path,
    profile_dirs: &[PathBuf],
    before: SystemTime,
    wanted: &AtomicBool,
) -> bool {
    let mut kept = Vec::new();
    let mut left = BTreeSet::new();
    let mut documents = Vec::new();
    for path in entries(&target_dir.join(DIRECTORY)) {
        let Some(uses) = documents::read::<Uses>(&path) else { continue };
        let is_old = |set: &Set| set.used.elapsed().is_ok_and(|age| age > AGE_MAX);
        left.extend(uses.left);
        if uses.sets.iter().all(is_old) {
            left.extend(uses.sets.into_iter().flat_map(|set| set.incremental));
            let _ = std::fs::remove_file(path);
            continue;
        }
        documents.push(path);
        kept.extend(uses.sets);
    }
    let hashes: BTreeSet<&str> = kept.iter().flat_map(Set::hashes).map(String::as_str).collect();
    let nameless: BTreeSet<&String> = kept.iter().flat_map(|set| &set.nameless).collect();
    let is_old = |path: &Path| modified(path).is_some_and(|at| at < before);
    let mut removed = BTreeSet::new();
    for directory in profile_dirs {
        // Fingerprints first: if this ends halfway, a unit without its fingerprint counts as not built.
        for part in [".fingerprint", "build", "deps", "examples"] {
            for path in entries(&directory.join(part)) {
                let Some(name) = name_of(&path) else { continue };
                let Some(hash) = hash_in(name) else { continue };
                let unit = name.split_once(hash).map_or(name, |(unit, _)| unit.trim_end_matches('-'));
                let is_known = hashes.contains(hash) || nameless.contains(&plain_name(unit));
                if !is_known && is_old(&path) {
                    if wanted.load(Ordering::Relaxed) {
                        return false;
                    }
                    remove(&path);
                    removed.insert(hash.to_owned());
                }
            }
        }
        for path in entries(&directory.join("incremental")) {
            let is_kept = |name: &str| kept.iter().any(|set| set.incremental.contains(name));
            let Some(name) = name_of(&path).filter(|name| !is_kept(name)) else { continue };
            let is_forgotten =
                modified(&path).and_then(|at| at.elapsed().ok()).is_some_and(|age| age > AGE_MAX);
            if (left.contains(name) && is_old(&path)) || is_forgotten {
                if wanted.load(Ordering::Relaxed) {
                    return false;
                }
                remove(&path);
            }
        }
    }
    // How they were compiled, and against what.
    for path in ["calls", "externs", "link"].into_iter().flat_map(|part| entries(&target_dir.join(part))) {
        if name_of(&path).and_then(hash_in).is_some_and(|hash| removed.contains(hash)) {
            remove(&path);
        }
    }
    for path in documents {
        if let Some(mut uses) = documents::read::<Uses>(&path)
            && !std::mem::take(&mut uses.left).is_empty()
        {
            let _ = documents::write(&path, &uses);
        }
    }
    tracing::debug!("{} units that no build uses any more are removed", removed.len());
    true
}

fn remove(path: &Path) {
    let is_dir = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let _ = if is_dir { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(dependencies: &[&str], own: &[&str], incremental: &[&str]) -> Set {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Set {
            used: SystemTime::now(),
            dependencies: names(dependencies),
            own: names(own),
            nameless: BTreeSet::new(),
            incremental: names(incremental),
        }
    }

    fn shown(uses: &Uses) -> Vec<(Vec<&str>, Vec<&str>)> {
        uses.sets
            .iter()
            .map(|set| {
                (
                    set.hashes().map(String::as_str).collect(),
                    set.incremental.iter().map(String::as_str).collect(),
                )
            })
            .collect()
    }

    #[test]
    fn the_sets_that_were_used_last_are_kept_and_a_stage_of_another_is_none() {
        let mut uses = Uses::default();
        assert!(uses.add(set(&["serde"], &["app", "util"], &["app-1", "util-1"]), true));
        assert!(!uses.add(set(&["serde"], &["app", "util"], &[]), true), "it is the same");
        assert!(!uses.add(set(&["serde"], &["util"], &["util-1"]), false), "it has failed early");
        assert_eq!(shown(&uses), [(vec!["serde", "app", "util"], vec!["app-1", "util-1"])]);
        // A dependency is added: units that do not use it stay the same.
        assert!(uses.add(set(&["serde", "time"], &["app2", "util"], &["app-2"]), true));
        assert_eq!(shown(&uses), [(vec!["serde", "time", "app2", "util"], vec!["app-2", "util-1"])]);
        assert_eq!(uses.left.iter().collect::<Vec<_>>(), ["app-1"]);
        // Other branches: none is a stage of another.
        for (number, name) in ["a", "b", "c"].iter().enumerate() {
            assert!(uses.add(set(&["serde", name], &[&format!("app{name}")], &[name]), true));
            assert_eq!(uses.sets.len(), 2 + number);
        }
        assert!(!uses.add(set(&["serde", "time"], &["app2", "util"], &[]), true), "it was kept");
        assert!(uses.add(set(&["serde", "d"], &["appd"], &["d"]), true));
        let first: Vec<&str> = uses.sets.iter().map(|set| set.own.first().unwrap().as_str()).collect();
        assert_eq!(first, ["appd", "app2", "appc", "appb"]);
        assert_eq!(uses.left.iter().collect::<Vec<_>>(), ["a", "app-1"]);
        // Same dependencies, own crates compiled differently: both are kept.
        assert!(uses.add(set(&["serde", "d"], &["appe"], &["e"]), true));
        assert_eq!(uses.sets.len(), SETS_KEPT_COUNT);
        assert!(uses.sets[1].own.contains("appd"));
    }

    #[test]
    fn a_units_files_are_known_by_the_hash_in_their_names() {
        let hash = "0123456789abcdef";
        for name in ["libserde-H.rlib", "serde-H.d", "my-app-H", "app-H.0a1b.rcgu.o", "app-H"] {
            assert_eq!(hash_in(&name.replace('H', hash)), Some(hash), "{name}");
        }
        for name in
            ["libapp.so", "app-1", "app-0123456789ABCDEF", "app-37mt3xg9uyfi8", hash, "x86_64-unknown"]
        {
            assert_eq!(hash_in(name), None, "{name}");
        }
    }
}
