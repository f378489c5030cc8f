//! A workspace crate, as one recorded rustc call.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use devhost_model::Diagnostic;
use devhost_sys::content::{Content, Identity};

use super::before::Before;
use super::context::Context;
use crate::app::PathPackage;
use crate::call::Call;
use crate::dep_info;
use crate::record::Recorded;
use crate::refusal::Refusal;

#[derive(Debug)]
pub(super) struct Unit {
    pub(super) recorded: Recorded,
    pub(super) call: Call,
    pub(super) package: PathPackage,
    pub(super) needs: Vec<usize>,
    pub(super) is_macro: bool,
    /// Why any change in its package is left to cargo.
    pub(super) only_cargo: Option<Refusal>,
    /// The contents its files had when it was last compiled; `None` if unknown.
    pub(super) sources: BTreeMap<PathBuf, Option<Content>>,
    pub(super) outputs: BTreeMap<PathBuf, Option<Identity>>,
    /// It has to be compiled whatever its files contain: its last compilation did not finish.
    pub(super) due: bool,
    /// cargo has been made to recompile it.
    pub(super) aged: bool,
    pub(super) warnings: Vec<Diagnostic>,
}

impl Unit {
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
        let mut changed = false;
        for (path, content) in &self.sources {
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
        let contents = self.sources.iter().map(|(path, content)| {
            let mut now = content.unwrap_or(Content::Absent);
            now.refresh(path);
            (path.clone(), now)
        });
        Before::of(target_dir, started, contents)
    }

    pub(super) fn settle(&mut self, before: &Before) {
        let paths = sources_of(&self.recorded, &self.call);
        self.sources = paths.into_iter().map(|path| (path.clone(), before.content(&path))).collect();
        self.outputs = outputs_of(&self.recorded, &self.call);
        self.due = false;
    }
}

pub(super) fn sources_of(recorded: &Recorded, call: &Call) -> Vec<PathBuf> {
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
