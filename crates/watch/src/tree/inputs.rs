//! Follows what builds depend on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use devhost_model::BuildInputs;
use devhost_sys::content::Content;

use super::paths::{canonical, place_of, without_trailing_slash};
use super::state::{Extent, FirstLook, Role, Tree, Wanted};
use crate::input_directories::Reason;

impl Tree {
    /// Sets what the last build depends on, and ends all doubt. A file that was not followed before counts as changed if it is
    /// newer than `since`: the build may have read older content.
    pub(crate) fn set_inputs(&mut self, inputs: &BuildInputs, since: SystemTime) {
        self.pass += 1;
        let named = inputs.named.iter().map(|named| (named, Role::Named));
        let roles: BTreeMap<PathBuf, (PathBuf, Role)> = named
            .chain(inputs.files.iter().map(|named| (named, Role::Source)))
            .map(|(named, role)| {
                let named = without_trailing_slash(named);
                (place_of(&named), (named, role))
            })
            // What the build generates itself does not count; its inputs do.
            .filter(|(place, _)| !self.is_excluded(place))
            .collect();
        for place in self.wanted.keys().cloned().collect::<Vec<_>>() {
            if !roles.contains_key(&place) {
                self.unwant_source(&place);
            }
        }
        let mut fresh = Vec::new();
        for (place, (named, role)) in &roles {
            let followed = self.files.contains_key(place);
            let was_code = self.meaning_of(place).is_code();
            let known = self.wanted.get(place);
            let own = known.and_then(|wanted| wanted.own);
            let is_observed = known.is_some_and(|wanted| wanted.is_observed);
            self.wanted.insert(place.clone(), Wanted { named: named.clone(), own, role: *role, is_observed });
            // A directory, or something that may become one.
            if !place.is_file() && self.inputs.add(place.clone(), named.clone(), Reason::Named) {
                fresh.push(place.clone());
            }
            if !followed {
                self.look_at_file(place, FirstLook::Old);
            }
            let Some(known) = self.files.get_mut(place) else { continue };
            // What a script named need not exist, and is noticed once it does.
            let is_away = known.content == Content::Absent && (*role == Role::Named || place.is_dir());
            let was_followed = followed && was_code;
            if !was_followed && !is_away && known.content.is_newer_than(since) {
                known.content.refresh(place);
                self.changed.insert(place.clone());
            } else if known.content.is_unread() {
                self.unread.push_front(place.clone());
            }
        }
        let left = self.inputs.retain(|place, reason| {
            // The target of a link is known by the place of the link.
            reason == Reason::Configured
                || reason == Reason::Named && place.ancestors().any(|place| roles.contains_key(place))
        });
        for place in fresh {
            self.scan_inputs(&place, FirstLook::NewSince(since));
        }
        self.set_packages(&inputs.packages, since);
        if left {
            self.leave_inputs();
        }
        self.watch_named_directories();
        self.note_siblings(since);
    }

    /// Makes every file of the packages count, and the known inputs, because a build has failed and what it would have read is
    /// unknown. A file that was not followed before counts as changed if it is newer than `since`.
    pub(crate) fn doubt(&mut self, known: &BuildInputs, since: SystemTime) {
        self.pass += 1;
        for named in known.files.iter().chain(&known.named) {
            let named = without_trailing_slash(named);
            let place = place_of(&named);
            if self.is_excluded(&place)
                || self.wanted.get(&place).is_some_and(|known| !known.is_only_observed())
            {
                continue;
            }
            let is_observed = self.wanted.contains_key(&place);
            if !place.is_file() && self.inputs.add(place.clone(), named.clone(), Reason::Named) {
                self.scan_inputs(&place, FirstLook::NewSince(since));
            }
            self.wanted.insert(place.clone(), Wanted { named, own: None, role: Role::Named, is_observed });
            self.look_at_file(&place, FirstLook::Old);
        }
        let roots: Vec<(PathBuf, PathBuf)> = self
            .roots
            .iter()
            .filter(|root| root.is_package())
            .map(|root| (root.place.clone(), root.named.clone()))
            .collect();
        for (place, named) in roots {
            if self.inputs.add(place.clone(), named, Reason::Doubt) {
                self.scan(place, FirstLook::NewSince(since));
            }
        }
        self.watch_named_directories();
    }

    fn set_packages(&mut self, packages: &[PathBuf], since: SystemTime) {
        let packages: BTreeSet<PathBuf> = packages.iter().map(|package| canonical(package)).collect();
        for index in 0..self.roots.len() {
            let root = &mut self.roots[index];
            let is_input = root.is_package() && packages.contains(&root.place);
            if std::mem::replace(&mut root.is_input, is_input) != is_input {
                let place = root.place.clone();
                if is_input {
                    self.scan(place, FirstLook::NewSince(since));
                } else {
                    self.forget_meaningless_files();
                }
            }
        }
    }

    fn scan_inputs(&mut self, place: &Path, first_look: FirstLook) {
        if let Ok(target) = fs::canonicalize(place) {
            self.scan(target, first_look);
        }
    }

    /// Stops watching directories that were watched only for inputs and contain none any more.
    pub(super) fn leave_inputs(&mut self) {
        self.forget_meaningless_files();
        let left: Vec<PathBuf> = self
            .directories
            .iter()
            .filter(|(place, extent)| **extent == Extent::Input && !self.inputs.holds(place))
            .map(|(place, _)| place.clone())
            .collect();
        for place in left {
            self.backend.unwatch(&place);
            self.directories.remove(&place);
            self.inputs_count = self.inputs_count.saturating_sub(1);
        }
    }

    pub(super) fn forget_meaningless_files(&mut self) {
        for place in self.files.keys().cloned().collect::<Vec<_>>() {
            if !self.meaning_of(&place).is_any() {
                self.files.remove(&place);
            }
        }
    }

    fn unwant_source(&mut self, place: &Path) {
        let Some(wanted) = self.wanted.get_mut(place) else { return };
        if wanted.role == Role::None {
            return;
        }
        wanted.role = Role::None;
        if wanted.is_over() {
            self.wanted.remove(place);
        }
        if !self.meaning_of(place).is_any() {
            self.files.remove(place);
        }
    }
}
