//! Directories in which every file counts: those that build scripts name and, after a failed build, the packages themselves.
//! Knows only paths; the tree watches them.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::classify::{is_editor_file, is_scratch_file};

/// How many directories are watched only because they may contain inputs of the build. Beyond that, a problem is reported.
pub(crate) const INPUT_DIRECTORIES_COUNT_MAX: usize = 4_096;

/// Subdirectories that contain no inputs: a build script that runs a package manager names the directory around them, and
/// nobody edits what is in them.
const SKIPPED_DIRECTORIES: &[&str] = &[".git", "node_modules"];

/// Why every file in a directory counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A build script names it, or a link in such a directory leads to it.
    Named,
    /// The last build failed, and what it would have read is unknown.
    Doubt,
    /// The user's configuration names it. What its files mean is said there.
    Configured,
}

/// Where a place leads, compared with before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// To the same directory as before, or the place is not known.
    Same,
    /// To no directory any more.
    Gone,
    /// To another directory.
    Other(PathBuf),
}

/// A directory in which every file counts.
#[derive(Debug)]
struct InputDirectory {
    /// The path by which it is reached, which may be a symbolic link.
    place: PathBuf,
    /// The canonical path, `None` while there is no such directory.
    target: Option<PathBuf>,
    /// The path as it was named.
    named: PathBuf,
    reason: Reason,
}

/// The directories in which every file counts.
#[derive(Debug, Default)]
pub(crate) struct InputDirectories(Vec<InputDirectory>);

impl InputDirectories {
    /// Adds a directory. Returns false if its place is known already.
    pub(crate) fn add(&mut self, place: PathBuf, named: PathBuf, reason: Reason) -> bool {
        if self.0.iter().any(|known| known.place == place) {
            return false;
        }
        let target = target_of(&place);
        self.0.push(InputDirectory { place, target, named, reason });
        true
    }

    /// Adds the target of a link inside one of the directories, unless it is inside one already or the link leads upwards.
    pub(crate) fn add_link(&mut self, link: &Path) -> Option<PathBuf> {
        let target = target_of(link)?;
        let around = self.directory_of(link)?;
        if self.holds(&target) || link.starts_with(&target) || self.0.len() > INPUT_DIRECTORIES_COUNT_MAX {
            return None;
        }
        let (named, reason) = (self.named(link)?, around.reason);
        self.0.push(InputDirectory { place: link.to_owned(), target: Some(target.clone()), named, reason });
        Some(target)
    }

    /// Removes the directories that `keep` rejects. Returns true if there were any.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Path, Reason) -> bool) -> bool {
        let before = self.0.len();
        self.0.retain(|directory| keep(&directory.place, directory.reason));
        before != self.0.len()
    }

    /// Checks again where the place leads.
    pub(crate) fn look_again(&mut self, place: &Path) -> Target {
        let Some(directory) = self.0.iter_mut().find(|directory| directory.place == place) else {
            return Target::Same;
        };
        let target = target_of(place);
        if directory.target == target {
            return Target::Same;
        }
        directory.target.clone_from(&target);
        target.map_or(Target::Gone, Target::Other)
    }

    /// Lists the directories that exist.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().filter_map(|directory| directory.target.as_deref())
    }

    /// Lists the paths by which the directories are reached.
    pub(crate) fn places(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|directory| directory.place.as_path())
    }

    /// Returns true if the place is one of the directories, or below one and not skipped.
    pub(crate) fn holds(&self, place: &Path) -> bool {
        self.directory_of(place).is_some()
    }

    /// Returns true if the file is an input because of the directory that it is in.
    pub(crate) fn hold_file(&self, place: &Path) -> bool {
        let Some(name) = place.file_name() else { return false };
        let is_input =
            self.directory_of(place).is_some_and(|directory| directory.reason != Reason::Configured);
        is_input && !is_editor_file(name) && !is_scratch_file(name)
    }

    /// Spells the place as the directory was named.
    pub(crate) fn named(&self, place: &Path) -> Option<PathBuf> {
        let directory = self.directory_of(place)?;
        let inside = place.strip_prefix(directory.target.as_deref()?).ok()?;
        Some(if inside.as_os_str().is_empty() {
            directory.named.clone()
        } else {
            directory.named.join(inside)
        })
    }

    fn directory_of(&self, place: &Path) -> Option<&InputDirectory> {
        let around = self.0.iter().filter(|directory| {
            directory
                .target
                .as_deref()
                .and_then(|target| place.strip_prefix(target).ok())
                .is_some_and(|inside| !inside.components().any(is_skipped))
        });
        // An input is one whatever else is said about the directory.
        around.min_by_key(|directory| directory.reason == Reason::Configured)
    }
}

fn target_of(place: &Path) -> Option<PathBuf> {
    fs::canonicalize(place).ok().filter(|target| target.is_dir())
}

fn is_skipped(component: Component<'_>) -> bool {
    component.as_os_str().to_str().is_some_and(|part| SKIPPED_DIRECTORIES.contains(&part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_below_counts_but_for_what_editors_and_package_managers_leave() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("data/deep/node_modules/x")).unwrap();
        let mut directories = InputDirectories::default();
        assert!(directories.add(root.join("data"), "named".into(), Reason::Named));
        assert!(!directories.add(root.join("data"), "named".into(), Reason::Named), "known");
        for file in ["data/a.sql", "data/deep/b", "data/.hidden", "data/app.db"] {
            assert!(directories.hold_file(&root.join(file)), "{file}");
        }
        for file in
            ["data/a.sql~", "data/deep/node_modules/x/i.js", "data/.git/HEAD", "other", "data/app.db-wal"]
        {
            assert!(!directories.hold_file(&root.join(file)), "{file}");
        }
        assert_eq!(directories.named(&root.join("data/deep/b")), Some("named/deep/b".into()));
    }

    #[test]
    fn a_link_is_followed_once_and_never_upwards() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("data")).unwrap();
        fs::create_dir_all(root.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(&root, root.join("data/up")).unwrap();
        std::os::unix::fs::symlink(root.join("elsewhere"), root.join("data/link")).unwrap();
        let mut directories = InputDirectories::default();
        directories.add(root.join("data"), root.join("data"), Reason::Named);
        assert_eq!(directories.add_link(&root.join("data/up")), None);
        assert_eq!(directories.add_link(&root.join("data/link")), Some(root.join("elsewhere")));
        assert_eq!(directories.add_link(&root.join("data/link")), None);
        assert_eq!(directories.named(&root.join("elsewhere/x")), Some(root.join("data/link/x")));
    }

    #[test]
    fn a_directory_that_comes_into_being_is_seen() {
        let outer = tempfile::tempdir().unwrap();
        let place = outer.path().canonicalize().unwrap().join("later");
        let mut directories = InputDirectories::default();
        directories.add(place.clone(), place.clone(), Reason::Named);
        assert!(!directories.holds(&place.join("x")));
        assert_eq!(directories.look_again(&place), Target::Same);
        fs::create_dir(&place).unwrap();
        assert_eq!(directories.look_again(&place), Target::Other(place.clone()));
        assert!(directories.holds(&place.join("x")));
        fs::remove_dir(&place).unwrap();
        assert_eq!(directories.look_again(&place), Target::Gone);
    }
}
