//! New files where a macro may look for them: `sqlx::migrate!`, `include_dir!` and their like read a whole directory, and name
//! to the compiler only the files that they found. So a new file beside one that the compiler has read and that is not Rust asks
//! for a build if it has the same extension. If that build does not read it, it is left alone from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use devhost_sys::content::Content;

use super::state::{Role, Tree};
use crate::classify::is_left_alone;

/// How many directories are compared.
const DIRECTORIES_COUNT_MAX: usize = 1_000;

/// What is known of a directory from which macros have read files.
#[derive(Debug, Default)]
pub(super) struct Siblings {
    extensions: BTreeSet<OsString>,
    /// What the last build has seen there, whether or not it read it.
    names: BTreeSet<OsString>,
}

impl Tree {
    /// Notes what is in the directories from which macros have read files. What has come there since `since`, when the build
    /// started, may not have been seen by it, and counts as changed.
    pub(super) fn note_siblings(&mut self, since: SystemTime) {
        let mut all: BTreeMap<PathBuf, Siblings> = BTreeMap::new();
        for (place, wanted) in &self.wanted {
            let (Some(directory), Some(extension)) = (place.parent(), place.extension()) else { continue };
            let is_read = wanted.role == Role::Source && wanted.own.is_none() && extension != "rs";
            if is_read && (all.len() < DIRECTORIES_COUNT_MAX || all.contains_key(directory)) {
                all.entry(directory.to_owned()).or_default().extensions.insert(extension.to_owned());
            }
        }
        let mut late = Vec::new();
        for (directory, siblings) in &mut all {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let (place, name) = (entry.path(), entry.file_name());
                let is_known = self.siblings.get(directory).is_some_and(|known| known.names.contains(&name));
                let is_source = self.wanted.get(&place).is_some_and(|wanted| wanted.role == Role::Source);
                let is_alike =
                    place.extension().is_some_and(|extension| siblings.extensions.contains(extension));
                let is_late =
                    is_alike && !is_known && !is_source && Content::notice(&place).is_newer_than(since);
                if is_late && place.is_file() {
                    late.push(place);
                } else {
                    siblings.names.insert(name);
                }
            }
        }
        self.siblings = all;
        self.changed.extend(late);
    }

    /// Returns true for a file that the last build has not seen, in a directory from which macros have read files, or in one that
    /// is new there.
    pub(super) fn is_new_to_macros(&self, place: &Path) -> bool {
        let Some(extension) = place.extension().filter(|_| !place.file_name().is_none_or(is_left_alone))
        else {
            return false;
        };
        let is_new = |step: &Path| {
            let around = step.parent().and_then(|directory| self.siblings.get(directory));
            let name = step.file_name().unwrap_or(OsStr::new(""));
            around.map(|around| !around.names.contains(name) && around.extensions.contains(extension))
        };
        place.ancestors().find_map(is_new).unwrap_or(false) && place.is_file()
    }
}
