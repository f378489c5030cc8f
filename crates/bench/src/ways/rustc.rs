//! Only the rustc calls an edit makes necessary, one after another: no cargo, no wrapper, no server. No way
//! that compiles the app with devhost's flags can be much faster.
//!
//! The calls are learned from a separate devhost, whose rustc is the recorder (see [`crate::programs`]). So
//! they have devhost's flags: line tables, the shared library of dependencies, huge pages for rustc's
//! allocator.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use super::context::Context;
use super::devhost::Devhost;
use super::way::{Seen, Settled, Way, ms};
use crate::edit::Edit;
use crate::model::{Step, StepPart, Strategy};
use crate::process::{self, EDIT_TIME_MAX};
use crate::programs::{RECORDER_LOG_VARIABLE, RECORDER_RUSTC_VARIABLE, RUSTC_RECORDER_NAME};
use crate::rustc_call::{RustcCall, needed_by_last};

/// In a copy's target directory, so that the calls are removed along with their output.
const CALLS_NAME: &str = "rustc-calls.jsonl";

#[derive(Debug)]
pub(crate) struct Rustc {
    context: Context,
    copy: PathBuf,
    /// In dependency order, the app's last; each with the files it reads.
    calls: Vec<(RustcCall, HashSet<PathBuf>)>,
    /// The last edit's token in the generated root of a plain app.
    shadow_token: String,
    compiled: Vec<String>,
}

impl Rustc {
    /// Lets a separate devhost build the app in a copy of the workspace, and keeps the calls. `told` receives
    /// the build's progress.
    pub(crate) fn start(context: &Context, copy: &Path, told: &mut dyn FnMut(&str)) -> Result<Self> {
        let copy = copy.canonicalize()?;
        let target = copy.join("target");
        std::fs::create_dir_all(&target)?;
        let (recorder, log) = (target.join(RUSTC_RECORDER_NAME), target.join(CALLS_NAME));
        let _ = std::fs::remove_file(&recorder);
        std::os::unix::fs::symlink(std::env::current_exe()?, &recorder)
            .with_context(|| format!("cannot make a link at {}", recorder.display()))?;
        let rustc = rustc_path();
        let variables = [
            ("RUSTC", recorder.as_path()),
            (RECORDER_LOG_VARIABLE, log.as_path()),
            (RECORDER_RUSTC_VARIABLE, rustc.as_path()),
        ];
        let devhost = Devhost::start_with(context, Strategy::Rustc, &copy, &variables, told)?;
        Box::new(devhost).end();
        let calls = read_calls(&log, &copy, &package_dir(context, &copy)?)?;
        Ok(Self {
            context: context.clone(),
            copy,
            calls: calls.into_iter().map(|call| (call.clone(), call.files())).collect(),
            shadow_token: String::new(),
            compiled: Vec::new(),
        })
    }

    /// The calls an edit makes necessary, the app's last.
    fn needed(&self, edit: &Edit) -> Result<Vec<&RustcCall>> {
        let file = self.copy.join(&edit.file).canonicalize()?;
        let mut needed: Vec<&RustcCall> = Vec::new();
        for (call, files) in &self.calls {
            if files.contains(&file) || needed.iter().any(|other| call.uses(other)) {
                needed.push(call);
            }
        }
        let reaches_app = needed.last().is_some_and(|call| call.makes_cdylib());
        ensure!(
            reaches_app,
            "no rustc call of the app or of a library below it reads {}",
            edit.file.display()
        );
        Ok(needed)
    }

    /// Brings the generated root of a plain app to the state of its source.
    fn edit_shadow(&self, calls: &[&RustcCall], edit: &Edit, token: &str) -> Result<()> {
        let shadow = self.copy.join("target/devhost/shadow");
        for path in calls.iter().flat_map(|call| call.sources()) {
            if !path.starts_with(&shadow) || !path.symlink_metadata()?.is_file() {
                continue;
            }
            let text = std::fs::read_to_string(&path)?;
            if let Some(text) = edit.exchange(&text, &self.shadow_token, token) {
                std::fs::write(&path, text)?;
            }
        }
        Ok(())
    }

    fn calls_log(&self) -> PathBuf {
        self.context.log("rustc-calls")
    }
}

impl Way for Rustc {
    fn strategy(&self) -> Strategy {
        Strategy::Rustc
    }

    fn url(&self) -> Option<String> {
        None
    }

    fn roots(&self) -> Vec<i32> {
        Vec::new()
    }

    fn reload(&mut self, edit: &Edit, token: &str) -> Result<Seen> {
        let calls = self.needed(edit)?;
        self.edit_shadow(&calls, edit, token)?;
        let saved = edit.save(&self.copy, token)?;
        let mut end = saved;
        let mut parts = Vec::new();
        for call in &calls {
            let begun = end;
            end = process::run(call.command(), &self.calls_log(), EDIT_TIME_MAX, &self.context.cancel)?;
            parts.push(StepPart { name: call.crate_name().to_owned(), duration_ms: ms(end - begun) });
        }
        let library = calls.last().context("there is no call")?.shared_library();
        let bytes = std::fs::read(&library).with_context(|| format!("cannot read {}", library.display()))?;
        let is_edited = bytes.windows(token.len()).any(|window| window == token.as_bytes());
        ensure!(is_edited, "{} does not contain the edit", library.display());
        token.clone_into(&mut self.shadow_token);
        self.compiled = parts.iter().map(|part| part.name.clone()).collect();
        let build = Step { parts, ..Step::new("build", ms(end - saved)) };
        Ok(Seen { saved, shown: end, generation: None, steps: vec![build] })
    }

    fn settle(&mut self, seen: &Seen) -> Result<Settled> {
        Ok(Settled { steps: seen.steps.clone(), memory: None })
    }

    fn undo(&mut self, edit: &Edit) -> Result<()> {
        let calls = self.needed(edit)?;
        self.edit_shadow(&calls, edit, "")?;
        edit.restore(&self.copy)?;
        self.shadow_token.clear();
        Ok(())
    }

    fn notes(&self) -> Vec<String> {
        let note = format!(
            "the edit makes {} rustc calls necessary: {}",
            self.compiled.len(),
            self.compiled.join(", ")
        );
        (self.compiled.len() > 1).then_some(note).into_iter().collect()
    }

    fn printed(&self) -> String {
        process::tail(&self.calls_log())
    }

    fn end(self: Box<Self>) {}
}

fn package_dir(context: &Context, copy: &Path) -> Result<PathBuf> {
    let subject = &context.subject;
    let manifest_dir = subject.app.manifest_path.parent().unwrap_or(Path::new("/"));
    let relative = subject.relative(manifest_dir).context("the package is outside of its workspace")?;
    Ok(copy.join(relative).canonicalize()?)
}

/// The calls for the app and the workspace libraries it depends on. Reduces the log to these: crates
/// unchanged until the next run are then not compiled, and so not recorded.
fn read_calls(log: &Path, copy: &Path, package_dir: &Path) -> Result<Vec<RustcCall>> {
    let mut calls = RustcCall::read_all(log)?;
    let is_app = |call: &RustcCall| call.makes_cdylib() && call.package_dir() == package_dir;
    calls.retain(|call| is_app(call) || (call.makes_rlib() && call.package_dir().starts_with(copy)));
    let Some(app) = calls.iter().rposition(is_app) else {
        bail!("devhost was not seen to compile the app, among {} calls of rustc", calls.len());
    };
    calls.truncate(app + 1);
    let calls = needed_by_last(calls);
    std::fs::remove_file(log)?;
    calls.iter().try_for_each(|call| call.append(log))?;
    Ok(calls)
}

/// The rustc cargo would call, without rustup in between.
fn rustc_path() -> PathBuf {
    if let Some(chosen) = std::env::var_os("RUSTC") {
        return chosen.into();
    }
    let output = process::command("rustc").args(["--print", "sysroot"]).output();
    let sysroot = output.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    let path = sysroot.map(|path| Path::new(path.trim()).join("bin/rustc"));
    path.filter(|path| path.is_file()).unwrap_or_else(|| "rustc".into())
}
