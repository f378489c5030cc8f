//! Which directories are watched, and how many may be.

use std::path::{Path, PathBuf};

use super::paths::below;
use super::state::{Extent, FirstLook, Tree};
use crate::error::WatchError;
use crate::input_directories::INPUT_DIRECTORIES_COUNT_MAX;

/// How many directories outside the packages are watched, the outermost first.
const SURROUNDING_DIRECTORIES_COUNT_MAX: usize = 2_000;

impl Tree {
    /// Watches the directories of named files, ignore files and missing roots.
    pub(super) fn watch_named_directories(&mut self) {
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
                // Changes before the directory was watched caused no events.
                if let Some(known) = self.files.get_mut(&place) {
                    known.pass = 0;
                }
                self.look_at_file(&place, FirstLook::Old);
            }
        }
    }

    /// Watches the directory of a place, or the nearest existing one above it, so that its return is seen. Returns true if that
    /// was not watched before.
    pub(super) fn watch_directory_of(&mut self, place: &Path) -> bool {
        let mut is_new = false;
        // A nearer one may have come right before this one was watched, and caused no event.
        while self.watch_nearest(place) {
            is_new = true;
        }
        is_new
    }

    fn watch_nearest(&mut self, place: &Path) -> bool {
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

    pub(super) fn watch(&mut self, directory: &Path, extent: Extent) -> bool {
        if !directory.is_dir() {
            return false;
        }
        let known = self.directories.get(directory).copied();
        // Even if it is known: another directory may have taken its name, and watching the same one twice has no effect.
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

    /// Stops watching a directory and those below it.
    pub(super) fn forget_directory(&mut self, place: &Path) {
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

    /// Returns true if the directory is watched only for inputs.
    pub(super) fn is_left_to_inputs(&mut self, directory: &Path) -> bool {
        self.inputs.holds(directory)
            && (self.root_of(directory).is_none() || self.is_ignored_by_rules(directory, true))
    }

    /// Returns false for a directory outside the packages that is too deep, or one too many.
    pub(super) fn is_within_surroundings(&mut self, directory: &Path) -> bool {
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

    pub(super) fn has_room_for_inputs(&mut self, directory: &Path) -> bool {
        if self.inputs_count < INPUT_DIRECTORIES_COUNT_MAX || self.directories.contains_key(directory) {
            return true;
        }
        let problem = WatchError::TooManyInputs { path: directory.to_owned() };
        if !self.problems.iter().any(|other| is_alike(other, &problem)) {
            self.problems.push(problem);
        }
        false
    }
}

/// Returns true if the two are of one kind: a limit is reported once, not for each directory.
fn is_alike(one: &WatchError, other: &WatchError) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}
