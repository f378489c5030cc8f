//! What is ignored, and what follows from a change of the ignore files.

use std::path::Path;

use devhost_sys::content::Content;

use super::state::{Extent, Tree, Unknown};
use crate::ignores::Ignores;

impl Tree {
    pub(super) fn look_at_ignore_file(&mut self, place: &Path, unknown: Unknown) {
        match self.ignore_files.get_mut(place) {
            Some(content) => self.ignores_stale |= content.refresh(place),
            None => {
                self.ignore_files.insert(place.to_owned(), Content::notice(place));
                self.ignores_stale |= unknown == Unknown::New;
            }
        }
    }

    /// Reads the ignore files again if one has changed, and leaves what is now ignored.
    pub(super) fn refresh_rules(&mut self) -> bool {
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
    pub(super) fn adopt(&mut self, unknown: Unknown) {
        for index in 0..self.roots.len() {
            let place = self.roots[index].place.clone();
            self.scan(place, unknown);
        }
        self.ignores_stale = false;
        self.watch_named_directories();
    }

    pub(super) fn is_ignored(&mut self, place: &Path, is_directory: bool) -> bool {
        if self.inputs.holds(place) {
            return false;
        }
        self.is_ignored_by_rules(place, is_directory)
    }

    pub(super) fn is_ignored_by_rules(&mut self, place: &Path, is_directory: bool) -> bool {
        let Some(root) = self.root_of(place) else { return false };
        let root = &mut self.roots[root];
        match place.strip_prefix(&root.place) {
            Ok(relative) => root.ignores.ignores(relative, is_directory),
            Err(_) => false,
        }
    }
}
