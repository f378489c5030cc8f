//! Removes unused leftovers of earlier runs and builds.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::artifacts::{ArtifactDirectory, LOCK_NAME};
use crate::deps;
use crate::paths::{entries, temporary_directory};

/// How many libraries of dependencies are kept besides those in use: switching branches or toolchains back
/// and forth finds its own.
const LIBRARIES_KEPT_COUNT: usize = 3;

/// How long findings about a set of dependencies are kept, such as that it cannot be shared.
const MARKER_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Minimum age of a killed rustc's leftovers to be removed.
const LEFTOVER_AGE_MIN_SECS: u64 = 3_600;

/// Removes what nobody uses any more: artifacts of this run except `in_use`, those of ended runs, all but the
/// most recent libraries of dependencies, and leftovers of killed processes.
pub(crate) fn collect(target_dir: &Path, own: &ArtifactDirectory, in_use: &[PathBuf]) {
    for path in entries(&own.path) {
        let is_lock = path.file_name().is_some_and(|name| name == LOCK_NAME);
        if !is_lock && !in_use.contains(&path) {
            let _ = std::fs::remove_file(path);
        }
    }
    for directory in entries(&own.parent).filter(|path| *path != own.path) {
        let over = match File::options().write(true).open(directory.join(LOCK_NAME)) {
            Ok(lock) => lock.try_lock().is_ok(),
            // It is just being created, unless it is old.
            Err(_) => is_old(&directory),
        };
        if over {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
    collect_libraries(&deps::directory(target_dir), &in_use_by_all(&own.path, in_use));
    collect_markers(&deps::directory(target_dir));
    collect_leftovers(target_dir);
}

/// What each builder of this process uses, by its artifact directory: apps that are served together share the libraries.
static IN_USE: Mutex<BTreeMap<PathBuf, Vec<PathBuf>>> = Mutex::new(BTreeMap::new());

/// Notes what a builder uses. Returns what all of this process use.
fn in_use_by_all(own: &Path, in_use: &[PathBuf]) -> Vec<PathBuf> {
    let mut all = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    all.insert(own.to_owned(), in_use.to_vec());
    all.values().flatten().cloned().collect()
}

/// Forgets what a builder has used.
pub(super) fn forget(own: &Path) {
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner).remove(own);
}

/// Removes all libraries of dependencies except recently used ones and those in use.
fn collect_libraries(directory: &Path, in_use: &[PathBuf]) {
    let modified = |path: &PathBuf| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let mut completed: Vec<_> = entries(directory)
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .filter_map(|path| Some((modified(&path)?, path)))
        .collect();
    completed.sort();
    completed.reverse();
    for (_, path) in completed.into_iter().skip(LIBRARIES_KEPT_COUNT) {
        let library = path.with_extension("so");
        if !in_use.contains(&library) {
            // The description goes first: without it the library does not count.
            let _ = std::fs::remove_file(&path);
            let _ = std::fs::remove_file(&library);
        }
    }
}

/// Removes old findings about sets of dependencies, and placeholder crates. What is needed is made again.
fn collect_markers(directory: &Path) {
    let is_one = |path: &PathBuf| {
        let extension = path.extension().unwrap_or_default();
        ["static", "relink", "without", "rlib"].iter().any(|one| extension == *one)
    };
    for path in
        entries(directory).filter(is_one).filter(|path| age(path).is_some_and(|age| age > MARKER_AGE_MAX))
    {
        let _ = std::fs::remove_file(path);
    }
}

/// Removes what killed rustcs could not remove themselves.
fn collect_leftovers(target_dir: &Path) {
    let unfinished =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("making-"));
    let leftovers = entries(&temporary_directory(target_dir))
        .chain(entries(&deps::directory(target_dir)).filter(unfinished))
        .filter(|path| is_old(path));
    for path in leftovers {
        let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    }
}

fn is_old(path: &Path) -> bool {
    age(path).is_some_and(|age| age > Duration::from_secs(LEFTOVER_AGE_MIN_SECS))
}

/// Time since it was last written. Returns `None` if unknown.
fn age(path: &Path) -> Option<Duration> {
    path.metadata().ok()?.modified().ok()?.elapsed().ok()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_removed_directory_of_artifacts_is_made_again() {
        let target = tempfile::tempdir().unwrap();
        let mut own = ArtifactDirectory::make(target.path()).unwrap();
        let first = own.ensure().unwrap().to_owned();
        assert_eq!(own.ensure().unwrap(), first, "it is kept while it is there");
        std::fs::remove_dir_all(target.path()).unwrap();
        assert!(!own.is_there());
        let second = own.ensure().unwrap().to_owned();
        assert!(second.is_dir() && own.is_there());
        let other = ArtifactDirectory::make(target.path()).unwrap();
        collect(target.path(), &other, &[]);
        assert!(own.is_there(), "the run is alive");
        drop(own);
        collect(target.path(), &other, &[]);
        assert!(!second.exists(), "the run is over");
    }

    #[test]
    fn the_newest_libraries_and_those_in_use_are_kept() {
        let target = tempfile::tempdir().unwrap();
        let directory = deps::directory(target.path());
        std::fs::create_dir_all(&directory).unwrap();
        let make = |name: &str, age: Duration| {
            let path = directory.join(name);
            let file = File::create(&path).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
            path
        };
        let day = Duration::from_secs(24 * 3_600);
        let libraries: Vec<PathBuf> = (0..6)
            .map(|number| {
                make(&format!("libdevhost_deps-{number}.json"), day * number);
                make(&format!("libdevhost_deps-{number}.so"), day * number)
            })
            .collect();
        let markers = ["1.static", "2.relink", "3.without", "libdevhost_deps-4.rlib"];
        let young = markers.map(|name| make(name, day));
        let old = markers.map(|name| make(&format!("9{name}"), day * 31));
        let own = ArtifactDirectory::make(target.path()).unwrap();
        collect(target.path(), &own, std::slice::from_ref(&libraries[5]));
        let kept: Vec<bool> = libraries.iter().map(|path| path.exists()).collect();
        assert_eq!(kept, [true, true, true, false, false, true]);
        assert!(young.iter().all(|path| path.exists()) && !old.iter().any(|path| path.exists()));
        // Another app of this process has other ones.
        let other = ArtifactDirectory::make(target.path()).unwrap();
        collect(target.path(), &other, &[]);
        assert!(libraries[5].exists(), "the first app uses it");
        own.remove();
        collect(target.path(), &other, &[]);
        assert!(!libraries[5].exists(), "nobody uses it any more");
    }
}
