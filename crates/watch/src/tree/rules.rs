//! What is ignored, and what happens when ignore files change.

use std::path::Path;

use devhost_sys::content::Content;

use super::paths::place_of;
use super::state::{Extent, FirstLook, Tree};
use crate::ignores::Ignores;
use crate::input_directories::Reason;

impl Tree {
    /// Watches what the user's rules name, wherever it is and even if git ignores it.
    pub(super) fn follow_rules(&mut self, first_look: FirstLook) {
        for root in self.rules.roots().map(Path::to_owned).collect::<Vec<_>>() {
            let place = place_of(&root);
            if !place.is_dir() {
                self.want_observed(&place);
            }
            if self.inputs.add(place.clone(), root, Reason::Configured)
                && let Ok(target) = std::fs::canonicalize(&place)
                && target.is_dir()
            {
                self.scan(target, first_look);
            }
        }
        self.watch_named_directories();
    }

    pub(super) fn look_at_ignore_file(&mut self, place: &Path, first_look: FirstLook) {
        match self.ignore_files.get_mut(place) {
            Some(content) => self.ignores_stale |= content.refresh(place),
            None => {
                self.ignore_files.insert(place.to_owned(), Content::notice(place));
                self.ignores_stale |= first_look == FirstLook::New;
            }
        }
    }

    /// Reads the ignore files again if one has changed, and drops what is ignored now. Returns true if one has.
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

    /// Scans for what is no longer ignored.
    pub(super) fn adopt(&mut self, first_look: FirstLook) {
        for index in 0..self.roots.len() {
            let place = self.roots[index].place.clone();
            self.scan(place, first_look);
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
