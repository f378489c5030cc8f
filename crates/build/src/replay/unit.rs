//! A crate of the workspace, as one recorded rustc call.

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

/// A crate of the workspace, as one rustc call.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) recorded: Recorded,
    pub(super) call: Call,
    pub(super) package: PathPackage,
    /// Indices of the units that it is given.
    pub(super) needs: Vec<usize>,
    pub(super) is_macro: bool,
    /// Why every change in its package is cargo's business.
    pub(super) only_cargo: Option<Refusal>,
    /// What was in its files when it was last compiled; `None` if that is not known.
    pub(super) sources: BTreeMap<PathBuf, Option<Content>>,
    /// The files that it makes.
    pub(super) outputs: BTreeMap<PathBuf, Option<Identity>>,
    /// It must be compiled whatever its files say: the last time it was not to the end.
    pub(super) due: bool,
    /// cargo knows that it must compile it.
    pub(super) aged: bool,
    pub(super) warnings: Vec<Diagnostic>,
}

impl Unit {
    /// The root source file, as cargo names it.
    pub(super) fn root_source(&self) -> PathBuf {
        self.recorded.directory.join(&self.call.input)
    }

    /// It can start once the metadata of what it needs is there.
    pub(super) fn is_pipelined(&self) -> bool {
        self.call.crate_types.iter().all(|kind| kind == "lib" || kind == "rlib")
    }

    /// Where the library is that a worker loads, for the app's own unit.
    pub(super) fn library(&self) -> PathBuf {
        let directory = self.recorded.directory.join(&self.call.out_dir);
        match self.call.crate_types.first().map(String::as_str) {
            Some("bin") => directory.join(self.call.stem()),
            _ => directory.join(format!("lib{}.so", self.call.stem())),
        }
    }

    /// Whether a source has another content than when it was last compiled; of `only` these, if given. Refuses if cargo has to
    /// decide. `has_script_made` tells whether a replay may have made a file by running a build script.
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

    /// Looks at the files before rustc does.
    pub(super) fn look(&self, target_dir: &Path, started: SystemTime) -> Before {
        let contents = self.sources.iter().map(|(path, content)| {
            let mut now = content.unwrap_or(Content::Absent);
            now.refresh(path);
            (path.clone(), now)
        });
        Before::of(target_dir, started, contents)
    }

    /// Notes what rustc has read and made.
    pub(super) fn settle(&mut self, before: &Before) {
        let paths = sources_of(&self.recorded, &self.call);
        self.sources = paths.into_iter().map(|path| (path.clone(), before.content(&path))).collect();
        self.outputs = outputs_of(&self.recorded, &self.call);
        self.due = false;
    }
}

/// What a compiled crate was made of.
pub(super) fn sources_of(recorded: &Recorded, call: &Call) -> Vec<PathBuf> {
    let dep_info = recorded.directory.join(&call.out_dir).join(format!("{}.d", call.stem()));
    dep_info::read_sources(&dep_info, &recorded.directory)
}

/// What a call has made, as it is now.
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
