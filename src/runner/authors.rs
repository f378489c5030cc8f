//! Tells who wrote a file that changed around a build. What the build writes is no edit; otherwise a build
//! script writing a timestamp into the sources would start builds for ever.
//!
//! The system does not say who wrote a file. But a file that the compiler has read as it is now needs no
//! build, whoever wrote it. And one that changes while a build script runs, in two consecutive completed
//! builds, is the script's work. Anything else is an edit, even of a file that scripts are known to write.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use devhost_build::Trace;

/// How many files are remembered as written by builds; changes to others count as edits.
const FILES_COUNT_MAX: usize = 1_000;

/// What is known about the files that builds write.
#[derive(Debug, Default)]
pub(super) struct Authors {
    /// Files that build scripts are known to write. A change to these does not end a build.
    own: BTreeSet<PathBuf>,
    /// Files last written while a script of the last build ran.
    suspects: BTreeSet<PathBuf>,
    /// Files in `own` that have changed since the running build began, and when.
    withheld: BTreeMap<PathBuf, Instant>,
}

impl Authors {
    /// Starts with what an earlier run has learned.
    pub(super) fn new(own: &[PathBuf]) -> Self {
        Self { own: own.iter().cloned().collect(), ..Self::default() }
    }

    /// Withholds changed files that scripts are known to write, until the build has ended. Returns the
    /// others.
    pub(super) fn withhold(&mut self, files: Vec<PathBuf>, at: Instant) -> Vec<PathBuf> {
        let (own, others): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| self.own.contains(file));
        for file in own {
            self.withheld.entry(file).or_insert(at);
        }
        others
    }

    pub(super) fn take_withheld(&mut self) -> BTreeMap<PathBuf, Instant> {
        std::mem::take(&mut self.withheld)
    }

    /// Learns from files that changed during a build that has ended. Returns those that are no edits.
    pub(super) fn learn_from_build(&mut self, traces: &BTreeMap<PathBuf, Trace>) -> Vec<PathBuf> {
        let before = std::mem::take(&mut self.suspects);
        self.learn(traces, &before)
    }

    /// Learns from files whose change was reported after the build that may have made it. Returns those that
    /// are no edits.
    pub(super) fn learn_after_build(&mut self, traces: &BTreeMap<PathBuf, Trace>) -> Vec<PathBuf> {
        let before = self.suspects.clone();
        self.learn(traces, &before)
    }

    fn learn(&mut self, traces: &BTreeMap<PathBuf, Trace>, before: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
        let mut settled = Vec::new();
        for (file, Trace { is_read, is_written }) in traces {
            let is_own = *is_written && (self.own.contains(file) || before.contains(file));
            if is_own || *is_read {
                settled.push(file.clone());
            }
            if is_own || (*is_read && *is_written) {
                if self.own.len() < FILES_COUNT_MAX {
                    self.own.insert(file.clone());
                }
            } else if *is_written {
                self.suspects.insert(file.clone());
            } else if !is_read {
                self.own.remove(file);
            }
        }
        settled
    }

    /// Forgets files that were edited while no build ran.
    pub(super) fn forget<'a>(&mut self, files: impl Iterator<Item = &'a PathBuf>) {
        for file in files {
            self.own.remove(file);
        }
    }

    /// Returns the files that scripts are known to write.
    pub(super) fn own(&self) -> Vec<PathBuf> {
        self.own.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Trace = Trace { is_read: true, is_written: false };
    const WRITTEN: Trace = Trace { is_read: false, is_written: true };
    const EDITED: Trace = Trace { is_read: false, is_written: false };

    fn traces(file: &str, trace: Trace) -> BTreeMap<PathBuf, Trace> {
        BTreeMap::from([(file.into(), trace)])
    }

    #[test]
    fn what_was_read_as_it_is_needs_no_build_but_is_not_thought_to_be_the_scripts() {
        let mut authors = Authors::default();
        assert_eq!(authors.learn_from_build(&traces("a.rs", READ)), [PathBuf::from("a.rs")]);
        assert!(authors.own().is_empty());
    }

    #[test]
    fn what_two_builds_in_a_row_have_written_is_theirs() {
        let mut authors = Authors::default();
        assert!(authors.learn_from_build(&traces("data/x", WRITTEN)).is_empty());
        assert!(authors.learn_from_build(&BTreeMap::new()).is_empty());
        assert!(authors.learn_from_build(&traces("data/x", WRITTEN)).is_empty(), "not in a row");
        assert_eq!(authors.learn_after_build(&traces("data/x", WRITTEN)), [PathBuf::from("data/x")]);
        let rest = authors.withhold(vec!["data/x".into(), "main.rs".into()], Instant::now());
        assert_eq!(rest, [PathBuf::from("main.rs")]);
        assert_eq!(authors.take_withheld().len(), 1);
        assert_eq!(
            Authors::new(&authors.own()).withhold(vec!["data/x".into()], Instant::now()),
            Vec::<PathBuf>::new()
        );
    }

    #[test]
    fn an_edit_of_what_scripts_write_counts() {
        let mut authors = Authors::new(&["stamp.rs".into()]);
        assert!(authors.learn_from_build(&traces("stamp.rs", EDITED)).is_empty());
        assert_eq!(authors.withhold(vec!["stamp.rs".into()], Instant::now()), [PathBuf::from("stamp.rs")]);
    }
}
