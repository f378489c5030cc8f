//! Looks at directories and files: watches directories, compares contents, follows links.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use devhost_sys::content::Content;

use super::state::{Extent, FirstLook, Known, Tree};
use crate::classify::is_asset_directory;
use crate::ignores::{is_cache, is_ignore_file};

/// The result of [`Tree::read_one`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadOne {
    /// Every file has been read.
    NoneLeft,
    /// The file has not changed since it was noticed.
    Unchanged,
    /// The file has changed since it was noticed.
    Changed(PathBuf),
}

impl Tree {
    /// Watches a directory and everything below it, and looks at every file there.
    pub(super) fn scan(&mut self, directory: PathBuf, first_look: FirstLook) {
        // Breadth first, because the number of directories is bounded.
        let mut queue = VecDeque::from([directory]);
        while let Some(directory) = queue.pop_front() {
            let is_root = self.roots.iter().any(|root| root.place == directory)
                || self.inputs.targets().any(|target| target == directory);
            if self.is_excluded(&directory) || (!is_root && is_cache(&directory)) {
                continue;
            }
            // Watch before listing, so that what is created in between is seen twice rather than never.
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
                    self.follow_link(&place, first_look);
                } else if is_ignore_file(&entry.file_name()) {
                    self.look_at_ignore_file(&place, first_look);
                } else {
                    self.look_at_file(&place, first_look);
                }
            }
        }
    }

    fn follow_file_link(&mut self, place: &Path) {
        if fs::symlink_metadata(place).is_ok_and(|metadata| metadata.is_symlink())
            && let Ok(target) = fs::canonicalize(place)
            && self.links.entry(target.clone()).or_default().insert(place.to_owned())
        {
            self.watch_directory_of(&target);
        }
    }

    /// Adds the target of a symbolic link to a directory as a root, unless it is inside one already.
    pub(super) fn follow_link(&mut self, link: &Path, first_look: FirstLook) {
        if let Some(target) = self.inputs.add_link(link) {
            self.scan(target, first_look);
        }
        let Ok(target) = fs::canonicalize(link) else { return };
        let is_covered =
            self.roots.iter().any(|root| target.starts_with(&root.place) || root.place.starts_with(&target));
        if is_covered || self.is_excluded(&target) || self.is_ignored(link, true) {
            return;
        }
        let Some(root) = self.root_of(link) else { return };
        let inside = self.roots[root].inside.join(link.strip_prefix(&self.roots[root].place).unwrap_or(link));
        // Other links may lead to a build tool's output or a package store. The build names the sources behind them.
        if !is_asset_directory(&inside) {
            return;
        }
        let named = self.named(link);
        let depth_max = self.roots[root].depth_max;
        self.add_root(target.clone(), named, inside);
        self.roots.last_mut().expect("just added").depth_max = depth_max;
        self.scan(target, first_look);
    }

    pub(super) fn look_at_file(&mut self, place: &Path, first_look: FirstLook) {
        if !self.meaning_of(place).is_any() || !self.is_followed(place) {
            self.files.remove(place);
            return;
        }
        let mut known = match (self.files.remove(place), first_look) {
            (Some(known), _) => known,
            (None, FirstLook::Old) => Known { content: Content::notice(place), pass: self.pass },
            (None, FirstLook::New) => Known { content: Content::Absent, pass: 0 },
            (None, FirstLook::NewSince(time)) => match Content::notice(place) {
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
        // A missing file is remembered only if it was named.
        if known.content != Content::Absent || self.wanted.contains_key(place) {
            self.files.insert(place.to_owned(), known);
        }
        self.follow_file_link(place);
    }

    /// Returns true for named files anywhere, and for all files in directories that are watched as a whole.
    fn is_followed(&self, place: &Path) -> bool {
        self.wanted.contains_key(place) || self.is_in_whole_directory(place)
    }

    /// Reads one of the files that were noticed and not read yet.
    pub(crate) fn read_one(&mut self) -> ReadOne {
        while let Some(place) = self.unread.pop_front() {
            if let Some(known) = self.files.get_mut(&place)
                && known.content.is_unread()
            {
                if !known.content.refresh(&place) {
                    return ReadOne::Unchanged;
                }
                self.changed.insert(place.clone());
                return ReadOne::Changed(place);
            }
        }
        ReadOne::NoneLeft
    }
}
