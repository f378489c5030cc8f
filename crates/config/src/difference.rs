//! What a change of the files comes to while devhost runs.

use std::collections::{BTreeMap, BTreeSet};

use crate::given::Given;
use crate::settings::Settings;

/// The options that are applied while devhost runs.
const APPLIED_OPTIONS: [&str; 1] = ["env-file"];

/// The keys that have changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Those that can be applied while devhost runs.
    pub applied: Vec<String>,
    /// Those that take effect at the next start.
    pub later: Vec<String>,
}

impl Difference {
    /// Compares what held for an app with what holds now.
    pub fn between(old: &Settings, new: &Settings) -> Self {
        let mut difference = Self::default();
        let arguments = |settings: &Settings, key: &str| {
            settings.options.get(key).map(|given| given.arguments.clone()).unwrap_or_default()
        };
        // By the new path, where there is one.
        let options: BTreeMap<&String, &Given> = old.options.iter().chain(&new.options).collect();
        for (key, given) in options {
            if arguments(old, key) == arguments(new, key) {
                continue;
            }
            if APPLIED_OPTIONS.contains(&key.as_str()) {
                difference.applied.push(key.clone());
            } else {
                difference.later.push(given.path.clone());
            }
        }
        for (key, differs) in [
            ("env", old.env != new.env),
            ("watch", old.watch != new.watch),
            ("ignore", old.ignore != new.ignore),
        ] {
            difference.applied.extend(differs.then(|| key.to_owned()));
        }
        let names: BTreeSet<&String> =
            old.processes.iter().chain(&new.processes).map(|process| &process.name).collect();
        for name in names {
            let find = |settings: &'_ Settings| {
                settings.processes.iter().find(|process| process.name == *name).cloned()
            };
            if find(old) != find(new) {
                difference.applied.push(format!("processes.{name}"));
            }
        }
        difference
    }

    /// Returns true if nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.later.is_empty()
    }
}
