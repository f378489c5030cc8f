//! What a change of a file means.

use std::path::Path;
use std::time::{Duration, Instant};

use devhost_model::Verdict;

use super::observed::is_database;
use super::paths::is_in_inner_package;
use super::state::{Own, Role, Tree};
use crate::changes::Changes;
use crate::classify::{Class, classify, classify_around, is_left_alone, is_stylesheet};
use crate::observed::{Line, Reaction, Why, is_left_out};

/// How long to wait for calls of the app that may have caused what has changed.
const OWN_WORK_TIME_MAX: Duration = Duration::from_millis(100);

/// Why a change of a file that is not part of the build means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Use(Why),
    Configured,
    Environment,
    /// What the app does is not known in full.
    Name,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Use(why) => why.fmt(f),
            Self::Configured => f.write_str("says devhost.toml"),
            Self::Environment => f.write_str("the app's environment"),
            Self::Name => f.write_str("by its name"),
        }
    }
}

/// What a change of a file means.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Meaning {
    /// The build read it.
    pub(super) is_read: bool,
    /// The build may have read it.
    pub(super) is_input: bool,
    /// Its path says that it is code.
    pub(super) is_named_code: bool,
    /// What it is to the app at run time; never [`Class::Code`].
    pub(super) use_class: Option<Class>,
    /// Why it is that.
    pub(super) reason: Option<Reason>,
    /// The app has nothing of it in memory, as far as is known.
    pub(super) is_served: bool,
}

impl Meaning {
    fn used(self, class: Class, reason: Reason) -> Self {
        Self { use_class: Some(class), reason: Some(reason), ..self }
    }

    /// Returns true if the change means anything.
    pub(super) fn is_any(self) -> bool {
        self.is_code() || self.use_class.is_some()
    }

    /// Returns true if the change asks for a build.
    pub(super) fn is_code(self) -> bool {
        self.is_read || self.is_input || self.is_named_code
    }
}

impl Tree {
    /// Takes what has changed since the last call. `at` returns the time of the event at a place.
    pub(crate) fn take_changes(&mut self, mut at: impl FnMut(&Path) -> Instant) -> Option<Changes> {
        if self.changed.is_empty() && self.problems.is_empty() {
            return None;
        }
        let mut changes = Changes::empty(Instant::now());
        changes.problems = std::mem::take(&mut self.problems);
        let patience = Instant::now() + OWN_WORK_TIME_MAX;
        for place in std::mem::take(&mut self.changed) {
            let mut meaning = self.meaning_of(&place);
            if is_left_out(Line::Built) {
                meaning = Meaning { is_read: false, is_input: false, is_named_code: false, ..meaning };
            }
            let is_database = || is_database(&place) && !is_left_out(Line::Database);
            if meaning.use_class.is_some() && (self.observer.is_own_work(&place, patience) || is_database()) {
                meaning.use_class = None;
            }
            if !meaning.is_any() {
                continue;
            }
            if meaning.is_served {
                self.observer.promise(&place);
            }
            changes.at = changes.at.min(at(&place));
            let named = self.named(&place);
            if let Some(reason) = meaning.reason.filter(|_| meaning.use_class.is_some()) {
                changes.reasons.insert(named.clone(), reason.to_string());
            }
            let files = &mut changes.files;
            if meaning.is_read || meaning.is_named_code {
                files.code.push(named.clone());
            } else if meaning.is_input {
                files.inputs.push(named.clone());
            }
            match meaning.use_class {
                Some(Class::Startup) => files.startup.push(named),
                Some(Class::Style) => files.styles.push(named),
                Some(Class::Static) => files.statics.push(named),
                Some(Class::Code) | None => {}
            }
        }
        self.appeared.clear();
        changes.files.sort();
        (!changes.is_empty()).then_some(changes)
    }

    /// Finds what a change of the file means.
    pub(super) fn meaning_of(&mut self, place: &Path) -> Meaning {
        let (role, own) =
            self.wanted.get(place).map_or((Role::None, None), |wanted| (wanted.role, wanted.own));
        let base = Meaning { is_read: role != Role::None, ..Meaning::default() };
        match self.verdict_on(place) {
            Some(Verdict::Ignore) => return Meaning::default(),
            Some(Verdict::Build) => return Meaning { is_named_code: true, ..base },
            Some(Verdict::Restart) => return base.used(Class::Startup, Reason::Configured),
            Some(Verdict::Reload) => return base.used(served_class(place), Reason::Configured),
            None => {}
        }
        match own {
            Some(Own::Manifest | Own::Devhost) => return Meaning { is_named_code: true, ..base },
            Some(Own::Environment) => return base.used(Class::Startup, Reason::Environment),
            None => {}
        }
        let reaction = self.observer.reaction_at(place, self.appeared.contains(place));
        let observed = match reaction {
            Some(Reaction::Restart(why)) => base.used(Class::Startup, Reason::Use(why)),
            Some(Reaction::Reload(why)) => {
                Meaning { is_served: true, ..base.used(served_class(place), Reason::Use(why)) }
            }
            None => base,
        };
        if role == Role::Source || self.is_excluded(place) {
            return observed;
        }
        let is_input =
            self.inputs.hold_file(place) || self.is_of_whole_package(place) || self.is_new_to_macros(place);
        let by_path = self.class_by_path(place);
        let guess = by_path.filter(|class| *class != Class::Code && !self.is_trusting);
        let used = match guess {
            // The app may have read the file in a way that was not seen.
            Some(Class::Startup) if observed.use_class != guess => base.used(Class::Startup, Reason::Name),
            Some(class) if observed.use_class.is_none() => base.used(class, Reason::Name),
            _ => observed,
        };
        Meaning { is_input, is_named_code: by_path == Some(Class::Code), ..used }
    }

    /// Returns what the user says of the file.
    pub(super) fn verdict_on(&self, place: &Path) -> Option<Verdict> {
        let says_nothing = self.rules.is_empty() || is_left_out(Line::Configured);
        if says_nothing { None } else { self.rules.of(&self.named(place)) }
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
    pub(super) fn is_of_whole_package(&mut self, place: &Path) -> bool {
        let Some(root) = self.root_of(place).map(|index| &self.roots[index]) else { return false };
        let is_of_package = root.is_input
            && !place.file_name().is_none_or(is_left_alone)
            && !is_in_inner_package(place, &root.place);
        is_of_package && !self.is_ignored_by_rules(place, false)
    }
}

fn served_class(place: &Path) -> Class {
    if is_stylesheet(place) { Class::Style } else { Class::Static }
}
