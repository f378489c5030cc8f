//! A workspace crate, as one recorded rustc call.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;
use std::time::SystemTime;

use devhost_model::Diagnostic;
use devhost_sys::content::{Content, Identity};

use super::before::Before;
use super::context::Context;
use super::ledger::{Entry, Ledger, lock};
use super::made::Made;
use crate::app::PathPackage;
use crate::call::Call;
use crate::dep_info;
use crate::record::Recorded;
use crate::refusal::Refusal;

#[derive(Debug)]
pub(super) struct Unit {
    /// The path of the call's record.
    pub(super) record: PathBuf,
    pub(super) recorded: Recorded,
    pub(super) call: Call,
    pub(super) package: PathPackage,
    pub(super) needs: Vec<usize>,
    pub(super) is_macro: bool,
    /// Why any change in its package is left to cargo.
    pub(super) only_cargo: Option<Refusal>,
    /// Its last compilation, possibly for another app.
    pub(super) entry: Entry,
    /// The compilation that this app was last built with.
    pub(super) seen: u64,
}

impl Unit {
    pub(super) fn made(&self) -> MutexGuard<'_, Made> {
        lock(&self.entry)
    }

    /// Whether it was compiled for another app since this one was built.
    pub(super) fn is_made_elsewhere(&self) -> bool {
        self.made().id != self.seen
    }

    /// Whether it was compiled against this one's last compilation.
    pub(super) fn uses_latest_of(&self, needed: &Self) -> bool {
        let latest = needed.made().id;
        self.made().against.get(&needed.record) == Some(&latest)
    }

    /// The root source file, as cargo names it.
    pub(super) fn root_source(&self) -> PathBuf {
        self.recorded.directory.join(&self.call.input)
    }

    /// Whether it can start with its dependencies' metadata.
    pub(super) fn is_pipelined(&self) -> bool {
        self.call.crate_types.iter().all(|kind| kind == "lib" || kind == "rlib")
    }

    /// The library a worker loads, for the app's own unit.
    pub(super) fn library(&self) -> PathBuf {
        let directory = self.recorded.directory.join(&self.call.out_dir);
        match self.call.crate_types.first().map(String::as_str) {
            Some("bin") => directory.join(self.call.stem()),
            _ => directory.join(format!("lib{}.so", self.call.stem())),
        }
    }

    /// Whether a source differs from when it was last compiled, considering `only` these if given. Refuses if
    /// cargo has to decide. `has_script_made` tells whether a replay may have made a file by running a build
    /// script.
    pub(super) fn is_changed(
        &self,
        context: &Context,
        has_script_made: &dyn Fn(&Path) -> bool,
        only: Option<&[PathBuf]>,
    ) -> Result<bool, Refusal> {
        let made = self.made();
        let mut changed = made.recorded != self.recorded;
        for (path, content) in &made.sources {
            if only.is_some_and(|only| !only.contains(path)) {
                continue;
            }
            let differs = match content {
                Some(content) => {
                    let mut now = *content;
                    now.refresh(path)
                }
                None => true,
            };
            if differs && !path.is_file() {
                return Err(Refusal::Gone(context.shown(path)));
            }
            let is_made = path.starts_with(&context.app.target_dir) && !has_script_made(path);
            if differs && is_made {
                return Err(Refusal::MadeByScript(context.shown(path)));
            }
            changed |= differs;
        }
        Ok(changed)
    }

    pub(super) fn look(&self, target_dir: &Path, started: SystemTime) -> Before {
        let made = self.made();
        let contents = made.sources.iter().map(|(path, content)| {
            let mut now = content.unwrap_or(Content::Absent);
            now.refresh(path);
            (path.clone(), now)
        });
        Before::of(target_dir, started, contents)
    }

    /// Notes that it has been compiled, against these compilations.
    pub(super) fn settle(
        &mut self,
        ledger: &Ledger,
        before: &Before,
        against: BTreeMap<PathBuf, u64>,
        warnings: Vec<Diagnostic>,
    ) {
        let mut made = lock(&self.entry);
        made.id = ledger.next_id();
        made.recorded = self.recorded.clone();
        made.against = against;
        made.started = Some(before.started);
        made.sources = sources_of(&self.recorded, &self.call, before);
        made.outputs = outputs_of(&self.recorded, &self.call);
        made.due = false;
        made.warnings = warnings;
        made.list_directories();
        self.seen = made.id;
    }
}

/// The present compilation's files, with the contents that it has read.
pub(super) fn sources_of(
    recorded: &Recorded,
    call: &Call,
    before: &Before,
) -> BTreeMap<PathBuf, Option<Content>> {
    let paths = source_paths_of(recorded, call);
    paths.into_iter().map(|path| (path.clone(), before.content(&path))).collect()
}

pub(super) fn source_paths_of(recorded: &Recorded, call: &Call) -> Vec<PathBuf> {
    let dep_info = recorded.directory.join(&call.out_dir).join(format!("{}.d", call.stem()));
    dep_info::read_sources(&dep_info, &recorded.directory)
}

pub(super) fn outputs_of(recorded: &Recorded, call: &Call) -> BTreeMap<PathBuf, Option<Identity>> {
    let directory = recorded.directory.join(&call.out_dir);
    let stem = call.stem();
    let names = [
        format!("lib{stem}.rlib"),
        format!("lib{stem}.rmeta"),
        format!("lib{stem}.so"),
        format!("{stem}.d"),
        stem,
    ];
    names.iter().map(|name| directory.join(name)).map(|path| (path.clone(), Identity::of(&path))).collect()
}
