//! Looks at places where something may have happened, or at everything.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::paths::{below, has_below};
use super::state::{FirstLook, Tree};
use crate::classify::is_left_alone;
use crate::ignores::is_ignore_file;
use crate::input_directories::Target;

impl Tree {
    /// Returns true if an event at the place can matter. Cheap, because it is called for each event.
    pub(crate) fn is_relevant(&mut self, place: &Path) -> bool {
        if self.files.contains_key(place)
            || self.directories.contains_key(place)
            || self.links.contains_key(place)
            || self.ignore_files.contains_key(place)
            || (place.parent().is_some_and(|parent| self.is_listed(parent)) && !is_left_alone_at(place))
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
        // What is unknown and gone already was a temporary file.
        let Ok(metadata) = fs::symlink_metadata(place) else { return false };
        if metadata.is_dir() {
            !self.is_ignored(place, true)
        } else {
            self.meaning_of(place).is_any() || metadata.is_symlink()
        }
    }

    /// Looks at places where something may have happened, and records what has changed. `began` is roughly when it began: if
    /// ignore files change as well, a file that they no longer hide is new if it is newer than that.
    pub(crate) fn inspect_all<'a>(
        &mut self,
        places: impl Iterator<Item = &'a PathBuf> + Clone,
        began: SystemTime,
    ) {
        self.pass += 1;
        // First the rules, which decide about everything else.
        for place in places.clone() {
            if self.ignore_files.contains_key(place) || place.file_name().is_some_and(is_ignore_file) {
                self.look_at_ignore_file(place, FirstLook::New);
            }
        }
        let rules_changed = self.refresh_rules();
        for place in places {
            self.inspect(place);
        }
        // Last, because what is new must be recorded as new before the rest is taken as known.
        if self.refresh_rules() || rules_changed {
            self.adopt(FirstLook::NewSince(began));
        }
        self.welcome_roots();
    }

    /// Looks at everything: after lost events, and when polling.
    pub(crate) fn inspect_everything(&mut self) {
        self.pass += 1;
        let ignore_files: Vec<PathBuf> = self.ignore_files.keys().cloned().collect();
        for place in ignore_files {
            self.look_at_ignore_file(&place, FirstLook::New);
        }
        self.refresh_rules();
        for index in 0..self.roots.len() {
            let place = self.roots[index].place.clone();
            self.scan(place, FirstLook::New);
        }
        self.look_at_inputs_below(Path::new("/"));
        for target in self.inputs.targets().map(Path::to_owned).collect::<Vec<_>>() {
            self.scan(target, FirstLook::New);
        }
        self.look_at_all_shapes();
        let rest: Vec<PathBuf> = self
            .files
            .iter()
            .filter(|(_, known)| known.pass != self.pass)
            .map(|(place, _)| place.clone())
            .collect();
        for place in rest {
            self.look_at_file(&place, FirstLook::New);
        }
        // After the files: the files of a directory that is no longer watched would be dropped unreported.
        let gone: Vec<PathBuf> =
            self.directories.keys().filter(|directory| !directory.is_dir()).cloned().collect();
        for directory in gone {
            self.forget_directory(&directory);
        }
        self.watch_named_directories();
        if self.refresh_rules() {
            self.adopt(FirstLook::New);
        }
        self.welcome_roots();
    }

    fn inspect(&mut self, place: &Path) {
        self.look_at_shapes(place);
        for link in self.links.get(place).cloned().unwrap_or_default() {
            self.look_at_file(&link, FirstLook::New);
        }
        self.look_at_inputs_below(place);
        match fs::symlink_metadata(place) {
            Ok(metadata) if metadata.is_dir() => {
                // `notify` ends watches by their names. When it learns of the end of a directory, it may end the watch of the
                // one that has taken its name; but not after its report of that.
                if let Some(extent) = self.directories.get(place).copied() {
                    self.watch(place, extent);
                }
                if self.is_in_whole_directory(place) && !self.is_ignored(place, true) {
                    self.scan(place.to_owned(), FirstLook::New);
                }
                self.watch_named_directories();
                // One that came before what is above it was watched has caused no event.
                self.look_at_inputs_below(place);
                // Another directory may have taken the place of the known one.
                self.look_at_known_below(place);
            }
            Ok(metadata) if metadata.is_symlink() && place.is_dir() => {
                self.follow_link(place, FirstLook::New);
            }
            Ok(_) => self.look_at_file(place, FirstLook::New),
            Err(_) => {
                self.look_at_known_below(place);
                self.forget_directory(place);
            }
        }
    }

    /// Checks whether input directories at the place or below have appeared, vanished or been replaced.
    fn look_at_inputs_below(&mut self, place: &Path) {
        let places: Vec<PathBuf> =
            self.inputs.places().filter(|input| input.starts_with(place)).map(Path::to_owned).collect();
        for place in places {
            let target = self.inputs.look_again(&place);
            if target == Target::Same {
                continue;
            }
            // Whatever was in the directory before is gone.
            self.changed.insert(place);
            self.leave_inputs();
            if let Target::Other(target) = target {
                self.scan(target, FirstLook::New);
            }
        }
    }

    /// Looks at the known and wanted files at the place or below that this pass has not looked at yet.
    fn look_at_known_below(&mut self, place: &Path) {
        let places: BTreeSet<PathBuf> =
            below(&self.files, place).chain(below(&self.wanted, place)).cloned().collect();
        for place in places {
            if self.files.get(&place).is_none_or(|known| known.pass != self.pass) {
                self.look_at_file(&place, FirstLook::New);
            }
        }
    }

    /// Scans roots that were missing and are back; everything in them counts as changed.
    fn welcome_roots(&mut self) {
        for index in 0..self.roots.len() {
            let root = &mut self.roots[index];
            if !root.present && root.place.is_dir() {
                root.present = true;
                let place = root.place.clone();
                self.scan(place, FirstLook::New);
                self.watch_named_directories();
            }
        }
    }
}

fn is_left_alone_at(place: &Path) -> bool {
    place.file_name().is_some_and(is_left_alone)
}
