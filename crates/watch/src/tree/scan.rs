//! Looks at directories and files: sets watches, compares contents, follows links.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use devhost_sys::content::Content;

use super::state::{Extent, Known, Tree, Unknown};
use crate::classify::is_asset_directory;
use crate::ignores::{is_cache, is_ignore_file};

/// What [`Tree::read_one`] has found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadOne {
    /// Every file has been read.
    NoneLeft,
    /// The file is as it was when it was noticed.
    Unchanged,
    /// The file has changed since it was noticed.
    Changed(PathBuf),
}

impl Tree {
    /// Watches a directory and all below it, and looks at every file there.
    pub(super) fn scan(&mut self, directory: PathBuf, unknown: Unknown) {
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

    fn follow_file_link(&mut self, place: &Path) {
        if fs::symlink_metadata(place).is_ok_and(|metadata| metadata.is_symlink())
            && let Ok(target) = fs::canonicalize(place)
            && self.links.entry(target.clone()).or_default().insert(place.to_owned())
        {
            self.watch_directory_of(&target);
        }
    }

    /// Takes the directory at the end of a symbolic link as a root of its own, if it is not inside of one already.
    pub(super) fn follow_link(&mut self, link: &Path, unknown: Unknown) {
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

    pub(super) fn look_at_file(&mut self, place: &Path, unknown: Unknown) {
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
