//! The files of a change, sorted by what they lead to: found by the watcher, acted on by the supervisor.

use std::path::PathBuf;

/// The files of a change, by what they lead to. A file may be in several lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangedFiles {
    /// Files that the build depends on.
    pub code: Vec<PathBuf>,
    /// Files that the build may depend on, because of the directory that they are in.
    pub inputs: Vec<PathBuf>,
    /// Files that the app reads when it starts, or may have read once.
    pub startup: Vec<PathBuf>,
    /// Stylesheets, which open pages can swap in place.
    pub styles: Vec<PathBuf>,
    /// Other files that are served as they are.
    pub statics: Vec<PathBuf>,
}

impl ChangedFiles {
    /// True if no file has changed.
    pub fn is_empty(&self) -> bool {
        let Self { code, inputs, startup, styles, statics } = self;
        [code, inputs, startup, styles, statics].iter().all(|list| list.is_empty())
    }

    /// Adds the files of a later change, leaving each list sorted and without duplicates.
    pub fn merge(&mut self, later: Self) {
        self.code.extend(later.code);
        self.inputs.extend(later.inputs);
        self.startup.extend(later.startup);
        self.styles.extend(later.styles);
        self.statics.extend(later.statics);
        self.sort();
    }

    /// Sorts each list and drops its duplicates.
    pub fn sort(&mut self) {
        let Self { code, inputs, startup, styles, statics } = self;
        for list in [code, inputs, startup, styles, statics] {
            list.sort();
            list.dedup();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_lists_are_sorted_and_have_no_duplicates() {
        let files = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let mut changed = ChangedFiles { code: files(&["b.rs", "a.rs"]), ..ChangedFiles::default() };
        assert!(!changed.is_empty());
        changed.merge(ChangedFiles {
            code: files(&["a.rs", "c.rs"]),
            styles: files(&["x.css"]),
            ..ChangedFiles::default()
        });
        assert_eq!(changed.code, files(&["a.rs", "b.rs", "c.rs"]));
        assert_eq!(changed.styles, files(&["x.css"]));
    }
}
