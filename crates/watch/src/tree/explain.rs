//! Explains what a change of a file would do. Takes the same judgement as a change does, and changes nothing.

use std::fs;
use std::path::{Path, PathBuf};

use devhost_model::Verdict;

use super::meaning::Meaning;
use super::observed::is_database;
use super::paths::{is_in_inner_package, place_of};
use super::state::{Extent, Own, Role, Tree};
use crate::classify::{Class, is_editor_file, is_left_alone, is_side_file};
use crate::explained::{Effect, Explained, Explanation, FILES_COUNT_MAX};

impl Tree {
    /// Explains the files and directories that the app uses.
    pub(crate) fn explain_uses(&mut self) -> Explained {
        let places = self.observer.used_places();
        let left_out = places.len().saturating_sub(FILES_COUNT_MAX);
        let files = places.iter().take(FILES_COUNT_MAX).map(|place| self.explain(place)).collect();
        Explained { files, left_out }
    }

    /// Explains a path, which need not exist.
    pub(crate) fn explain(&mut self, path: &Path) -> Explanation {
        let place = place_of(path);
        let mut explanation = self.explain_place(&place);
        for link in self.links.get(&place).cloned().unwrap_or_default() {
            let through = self.explain_place(&link);
            if through.effect < explanation.effect {
                let why = format!("{}; {} leads to it", through.why, through.path.display());
                explanation = Explanation { path: explanation.path, why, ..through };
            }
        }
        explanation
    }

    fn explain_place(&mut self, place: &Path) -> Explanation {
        let metadata = fs::symlink_metadata(place);
        let exists = metadata.is_ok();
        let mut notes = Vec::new();
        let (effect, why) = if metadata.is_ok_and(|metadata| metadata.is_dir()) {
            self.effect_of_directory(place)
        } else {
            let meaning = self.meaning_if(place, !exists);
            let explained = self.effect_of(place, meaning);
            if exists && explained.0 > Effect::Restart {
                let gone = self.meaning_if(place, true);
                let (effect, why) = self.effect_of(place, gone);
                if effect < explained.0 {
                    notes.push(format!("If it vanishes, {} ({why}).", effect.in_words()));
                }
            }
            if meaning.use_class.is_some() && exists && self.observer.is_left_by_app(place) {
                notes.push("The app wrote what is there now; what it writes itself does nothing.".into());
            }
            explained
        };
        Explanation { path: self.named(place), exists, effect, why, notes }
    }

    /// Finds what a change of the file means, or its coming and going.
    fn meaning_if(&mut self, place: &Path, appeared: bool) -> Meaning {
        let is_new = appeared && self.appeared.insert(place.to_owned());
        let meaning = self.meaning_of(place);
        if is_new {
            self.appeared.remove(place);
        }
        meaning
    }

    fn effect_of(&mut self, place: &Path, meaning: Meaning) -> (Effect, String) {
        if meaning.use_class.is_some() && !meaning.is_code() && is_database(place) {
            return (Effect::Nothing, "the app's database: it begins like one of SQLite".into());
        }
        if !meaning.is_any() {
            return (Effect::Nothing, self.why_nothing(place).into());
        }
        if !self.is_watched(place) {
            return (Effect::Nothing, "its directory is not watched".into());
        }
        let used = meaning.reason.filter(|_| meaning.use_class.is_some()).map(|reason| reason.to_string());
        if meaning.is_code() {
            let is_own = self.wanted.get(place).is_some_and(|wanted| wanted.own == Some(Own::Devhost));
            let effect = if is_own { Effect::Reread } else { Effect::Build };
            let built = self.why_built(place, meaning);
            return (effect, used.map_or_else(|| built.to_owned(), |used| format!("{built}; {used}")));
        }
        let effect = match meaning.use_class {
            Some(Class::Style) => Effect::Swap,
            Some(Class::Static) => Effect::Reload,
            _ => Effect::Restart,
        };
        (effect, used.unwrap_or_default())
    }

    fn effect_of_directory(&mut self, place: &Path) -> (Effect, String) {
        let meaning = self.meaning_if(place, true);
        if self.is_listed(place) {
            (Effect::Restart, "listed by the app: a name that comes or goes in it counts".into())
        } else if self.directories.get(place) == Some(&Extent::Input) || self.inputs.holds(place) {
            (Effect::Build, "every file in it may be part of the build".into())
        } else if meaning.use_class.is_some() {
            self.effect_of(place, meaning)
        } else {
            (Effect::Nothing, "a directory: ask about a file in it".into())
        }
    }

    fn why_built(&mut self, place: &Path, meaning: Meaning) -> &'static str {
        let (own, role) =
            self.wanted.get(place).map_or((None, Role::None), |wanted| (wanted.own, wanted.role));
        match (own, role) {
            _ if self.verdict_on(place) == Some(Verdict::Build) => "says devhost.toml",
            (Some(Own::Devhost), _) => "devhost itself reads it",
            (Some(Own::Manifest), _) => "cargo reads it",
            (_, Role::Source) => "the compiler read it",
            (_, Role::Named) => "the build reads it",
            _ if meaning.is_named_code => "Rust code of a package that the app uses",
            _ if self.is_new_to_macros(place) => "new beside files that a macro has read",
            _ if self.is_of_whole_package(place) => {
                "the package's build script names no inputs, so each file counts"
            }
            _ => "in a directory that may be part of the build",
        }
    }

    fn why_nothing(&mut self, place: &Path) -> &'static str {
        let name = place.file_name().unwrap_or_default();
        if self.verdict_on(place) == Some(Verdict::Ignore) {
            return "says devhost.toml";
        }
        if self.is_excluded(place) {
            return "in a target directory, and not used by the app";
        }
        if is_editor_file(name) {
            return "an editor's temporary file, by its name";
        }
        if is_left_alone(name) {
            return "a database, log, lock or other file that programs write, by its name";
        }
        if place.extension().is_some_and(|extension| extension == "rs") {
            self.why_foreign(place)
        } else if self.is_trusting {
            "the app has not used it"
        } else if self.is_ignored_by_rules(place, false) {
            "git ignores it, and the app has not used it as far as is known"
        } else {
            "the app has not used it as far as is known, and its name says nothing"
        }
    }

    /// Says why Rust code is not the app's.
    fn why_foreign(&mut self, place: &Path) -> &'static str {
        let Some(root) = self.root_of(place).map(|index| &self.roots[index]) else {
            return "not in a package that the app uses";
        };
        let inside: PathBuf = place.strip_prefix(&root.place).map(Path::to_owned).unwrap_or_default();
        if !root.is_package() || is_in_inner_package(place, &root.place) {
            "not in a package that the app uses"
        } else if is_side_file(&inside) {
            "tests, benchmarks and examples are not part of the app"
        } else {
            "git ignores it, and the build has not read it"
        }
    }

    /// Returns true if an event at the place would be seen, or its coming if it is away.
    fn is_watched(&self, place: &Path) -> bool {
        let directory = place.ancestors().skip(1).find(|directory| directory.is_dir());
        self.files.contains_key(place)
            || self.wanted.contains_key(place)
            || directory.is_some_and(|directory| self.is_searched(directory) || self.is_listed(directory))
    }
}
