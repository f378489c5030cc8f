//! What a change of a file means.

use std::path::Path;

use super::paths::is_in_inner_package;
use super::state::{Role, Tree};
use crate::changes::Changes;
use crate::classify::{Class, classify, classify_around, is_left_alone};

/// What a change of a file means.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Meaning {
    /// The build read it.
    pub(super) is_read: bool,
    /// The build may have read it.
    pub(super) is_input: bool,
    /// What its path says.
    pub(super) own_class: Option<Class>,
}

impl Meaning {
    /// Returns true if the change means anything.
    pub(super) fn is_any(self) -> bool {
        self.is_read || self.is_input || self.own_class.is_some()
    }

    /// Returns true if the change asks for a build.
    pub(super) fn is_code(self) -> bool {
        self.is_read || self.is_input || self.own_class == Some(Class::Code)
    }
}

impl Tree {
    /// Takes what has changed since the last call. `at` returns the time of the event at a place.
    pub(crate) fn take_changes(
        &mut self,
        mut at: impl FnMut(&Path) -> std::time::Instant,
    ) -> Option<Changes> {
        if self.changed.is_empty() && self.problems.is_empty() {
            return None;
        }
        let mut changes = Changes::empty(std::time::Instant::now());
        changes.problems = std::mem::take(&mut self.problems);
        for place in std::mem::take(&mut self.changed) {
            let meaning = self.meaning_of(&place);
            if !meaning.is_any() {
                continue;
            }
            changes.at = changes.at.min(at(&place));
            let named = self.named(&place);
            let files = &mut changes.files;
            if meaning.is_read {
                files.code.push(named.clone());
            } else if meaning.is_input && meaning.own_class != Some(Class::Code) {
                files.inputs.push(named.clone());
            }
            match meaning.own_class {
                Some(Class::Code) => files.code.push(named),
                Some(Class::Startup) => files.startup.push(named),
                Some(Class::Style) => files.styles.push(named),
                Some(Class::Static) => files.statics.push(named),
                None => {}
            }
        }
        changes.files.sort();
        (!changes.is_empty()).then_some(changes)
    }

    /// Finds what a change of the file means.
    pub(super) fn meaning_of(&mut self, place: &Path) -> Meaning {
        let (role, named_class) =
            self.wanted.get(place).map_or((Role::None, None), |wanted| (wanted.role, wanted.own_class));
        if role == Role::Source || named_class.is_some() {
            let is_read = role != Role::None;
            return Meaning { is_read, is_input: false, own_class: named_class };
        }
        if self.is_excluded(place) {
            return Meaning { is_read: role != Role::None, ..Meaning::default() };
        }
        let is_input = self.inputs.hold_file(place) || self.is_of_whole_package(place);
        Meaning { is_read: role != Role::None, is_input, own_class: self.class_by_path(place) }
    }

    fn class_by_path(&mut self, place: &Path) -> Option<Class> {
        let root = &self.roots[self.root_of(place)?];
        let relative = root.inside.join(place.strip_prefix(&root.place).ok()?);
        let is_package = root.is_package();
        let is_foreign = || is_package && is_in_inner_package(place, &root.place);
        let class = if root.depth_max.is_some() {
            let is_foreign = || is_in_inner_package(place, &root.place);
            classify_around(&relative, is_foreign)?
        } else {
            classify(&relative, is_foreign)?
        };
        (!self.is_ignored_by_rules(place, false)).then_some(class)
    }

    /// Returns true if cargo would run a build script because of the file: one that names no inputs runs again for any file of
    /// its package.
    fn is_of_whole_package(&mut self, place: &Path) -> bool {
        let Some(root) = self.root_of(place).map(|index| &self.roots[index]) else { return false };
        let is_of_package = root.is_input
            && !place.file_name().is_none_or(is_left_alone)
            && !is_in_inner_package(place, &root.place);
        is_of_package && !self.is_ignored_by_rules(place, false)
    }
}
