//! Whether the last build has read a file's present content, and whether a build script has written it: the
//! build's own writes are no edits. Relies on cargo's timestamps of rustc calls and build script runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::base::Builder;
use crate::app::{App, Target};
use crate::file_times::{CLOCK_LAG_MAX, last_change};
use crate::paths::entries;
use crate::replay::Recording;
use crate::{dep_info, stale};

/// What is known of a file that changed during a build.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trace {
    /// Every part of the build that reads it has read its present content.
    pub is_read: bool,
    /// It was last written while a build script ran.
    pub is_written: bool,
}

struct Times {
    /// When rustc was last called, by the crate's dep-info file.
    called: Vec<(PathBuf, SystemTime)>,
    /// Start and end of each build script's last run, by cargo's directory for it.
    scripts: BTreeMap<PathBuf, (SystemTime, SystemTime)>,
}

impl Builder {
    /// What is known of the files after a build.
    pub fn traces(&self, files: &[PathBuf]) -> BTreeMap<PathBuf, Trace> {
        let Target::App(app) = &self.target else { return BTreeMap::new() };
        if files.is_empty() {
            return BTreeMap::new();
        }
        let mut times = Times::read(app, &self.profile_dirs(app));
        let replayed = self.recording.iter().flat_map(Recording::script_runs);
        times.scripts.extend(replayed.map(|(directory, run)| (directory.to_owned(), run)));
        let lag = CLOCK_LAG_MAX;
        let trace = |file: &PathBuf| {
            let Some(written) = last_change(file) else { return Trace::default() };
            let by_content = self.recording.as_ref().ok().and_then(|recording| recording.has_read(file));
            let is_compiled = || by_content.unwrap_or_else(|| times.is_compiled(app, file, written + lag));
            let scripts = &self.memory.scripts;
            let is_of_scripts =
                scripts.named.iter().chain(&scripts.packages).any(|input| file.starts_with(input));
            Trace {
                is_read: (!is_of_scripts || times.is_read_by_scripts(written + lag)) && is_compiled(),
                is_written: times
                    .scripts
                    .values()
                    .any(|(begun, ended)| *begun <= written + lag && written <= *ended + lag),
            }
        };
        files.iter().map(|file| (file.clone(), trace(file))).collect()
    }

    /// Whether the file has certainly not changed since the last build ended.
    pub fn may_have_met(&self, file: &Path) -> bool {
        let lag = CLOCK_LAG_MAX;
        last_change(file).is_some_and(|written| self.last_built.is_some_and(|built| written <= built + lag))
    }

    /// Files known to be written by build scripts.
    pub fn written(&self) -> &[PathBuf] {
        &self.memory.written
    }

    /// Remembers for the next run of devhost which files build scripts write.
    pub fn remember_written(&mut self, written: Vec<PathBuf>) {
        if self.memory.written != written {
            self.memory.written = written;
            if let Target::App(app) = &self.target {
                self.remember(app);
            }
        }
    }
}

impl Times {
    fn read(app: &App, profile_dirs: &[PathBuf]) -> Self {
        let mut times = Self { called: Vec::new(), scripts: BTreeMap::new() };
        let modified = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
        let mut calls = BTreeMap::new();
        for package in &app.path_packages {
            for directory in stale::directories_of(profile_dirs, package, ".fingerprint") {
                if let (Some(hash), Some(time)) =
                    (hash_of(&directory), modified(&directory.join("invoked.timestamp")))
                {
                    calls.insert(hash, time);
                }
            }
            for directory in stale::directories_of(profile_dirs, package, "build") {
                let Some(begun) = modified(&directory.join("invoked.timestamp")) else {
                    times.add_lists(&directory, &calls);
                    continue;
                };
                // A failed script leaves no output, or that of the run before.
                let ended = modified(&directory.join("output")).filter(|ended| *ended >= begun);
                times.scripts.insert(directory, (begun, ended.unwrap_or_else(SystemTime::now)));
            }
        }
        for directory in profile_dirs {
            for place in ["deps", "examples"] {
                times.add_lists(&directory.join(place), &calls);
            }
        }
        times
    }

    fn add_lists(&mut self, directory: &Path, calls: &BTreeMap<String, SystemTime>) {
        let lists =
            entries(directory).filter(|path| path.extension().is_some_and(|extension| extension == "d"));
        let known = lists.filter_map(|path| {
            let time = *calls.get(&hash_of(&path.with_extension(""))?)?;
            Some((path, time))
        });
        self.called.extend(known);
    }

    /// Whether any crate has read the file, and all that did were compiled after `time`.
    fn is_compiled(&self, app: &App, file: &Path, time: SystemTime) -> bool {
        let mut readers = self
            .called
            .iter()
            .filter(|(list, _)| {
                dep_info::read_sources(list, &app.workspace_root).iter().any(|path| path == file)
            })
            .peekable();
        readers.peek().is_some() && readers.all(|(_, called)| *called > time)
    }
}

impl Times {
    fn is_read_by_scripts(&self, time: SystemTime) -> bool {
        self.scripts.values().all(|(begun, _)| *begun > time)
    }
}

/// The hash cargo appends to a crate's name.
fn hash_of(path: &Path) -> Option<String> {
    let (_, hash) = path.file_name()?.to_str()?.rsplit_once('-')?;
    Some(hash.to_owned())
}
