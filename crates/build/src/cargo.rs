//! Runs cargo under its guard and reads its output. Dropping [`run`]'s future kills cargo and everything it
//! started.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use cargo_metadata::{Message, TargetKind};

use crate::app::App;
use crate::attended::{Attended, Said, Urgency, guarded_at};
use crate::cargo_text::{PROGRESS_WORDS, SILENT_WORDS, script_warning, strip_colours};
use crate::diagnostics::{self, Collected};
use crate::exit_code::signal_of;
use crate::job_sheet::PROGRESS_MARK;
use crate::outcome::Progress;
use crate::settings::Choice;
use devhost_model::{BuildStep, Diagnostic, WAITING_FOR};

/// How much of cargo's own output is kept for a failure.
pub(crate) const OUTPUT_KEPT_LINES_MAX: usize = 2_000;

const OUTPUT_KEPT_SIZE_MAX: usize = 128 * 1024;

#[derive(Debug)]
pub(crate) struct Invocation<'a> {
    /// The devhost executable, which is also the guard.
    pub devhost: &'a Path,
    pub args: Vec<OsString>,
    pub environment: Vec<(OsString, OsString)>,
    pub directory: &'a Path,
    pub app: &'a App,
    pub units_expected: u32,
    pub urgency: Urgency,
}

#[derive(Debug, Default)]
pub(crate) struct Run {
    /// Whether cargo's exit code was 0.
    pub success: bool,
    pub diagnostics: Collected,
    /// The diagnostics, each with the root source file of its crate.
    pub diagnostics_by_source: Vec<(PathBuf, Diagnostic)>,
    /// cargo's output without its progress.
    pub output: String,
    pub library: Option<PathBuf>,
    /// Every file cargo reported as built or fresh, with its package's id.
    pub made: Vec<(String, PathBuf)>,
    /// The packages of `made`, by cargo's ids.
    pub packages: BTreeSet<String>,
    pub libraries: Vec<(String, PathBuf)>,
    pub build_scripts: Vec<(String, PathBuf)>,
    /// Warnings of path packages' build scripts, fresh or repeated.
    pub script_warnings: Vec<Diagnostic>,
    /// How many crates cargo reported, for a better estimate.
    pub units_done: u32,
    pub steps: Vec<BuildStep>,
}

/// Runs cargo to its end.
///
/// # Errors
/// The guard could not be started.
pub(crate) async fn run(
    invocation: Invocation<'_>,
    progress: &mut dyn FnMut(Progress),
) -> std::io::Result<Run> {
    let mut command = guarded_at(invocation.urgency, invocation.devhost, OsStr::new("cargo"));
    command
        .args(&invocation.args)
        .current_dir(invocation.directory)
        .env_clear()
        .envs(invocation.environment)
        .stdout(Stdio::piped());
    let mut attended = Attended::new(command.spawn()?);
    let mut reader = Reader::new(invocation.app, invocation.units_expected, progress);
    let status = loop {
        match attended.next().await? {
            Said::Out(line) => reader.read_stdout(&line),
            Said::Err(line) => reader.read_stderr(&line),
            Said::Over(status) => break status,
        }
    };
    let mut run = reader.finish();
    run.success = status.success();
    if let Some(signal) = signal_of(status) {
        run.output.push_str(&format!("cargo was ended by signal {signal}\n"));
    }
    if run.success {
        // A failure has them in cargo's output.
        for warning in &run.script_warnings {
            run.diagnostics.add(warning);
        }
    }
    Ok(run)
}

struct Reader<'a> {
    app: &'a App,
    progress: &'a mut dyn FnMut(Progress),
    state: Progress,
    output_lines: usize,
    lines_left_out: usize,
    run: Run,
}

impl<'a> Reader<'a> {
    fn new(app: &'a App, total: u32, progress: &'a mut dyn FnMut(Progress)) -> Self {
        let state = Progress { done: 0, total, current: String::new() };
        Self { app, progress, state, output_lines: 0, lines_left_out: 0, run: Run::default() }
    }

    fn read_stdout(&mut self, line: &str) {
        if line.is_empty() {
            return;
        }
        match serde_json::from_str::<Message>(line) {
            Ok(Message::CompilerArtifact(artifact)) => {
                self.run.packages.insert(artifact.package_id.repr.clone());
                let made = artifact.filenames.iter().chain(&artifact.executable);
                self.run.made.extend(
                    made.map(|file| (artifact.package_id.repr.clone(), file.clone().into_std_path_buf())),
                );
                let rlibs = artifact.filenames.iter().filter(|file| file.extension() == Some("rlib"));
                self.run.libraries.extend(
                    rlibs.map(|file| (artifact.package_id.repr.clone(), file.clone().into_std_path_buf())),
                );
                if let Some(library) = library_of(self.app, &artifact) {
                    self.run.library = Some(library);
                }
                self.run.units_done += 1;
                self.state.done += 1;
                // Some packages are compiled twice, for the host and for the app.
                self.state.total = self.state.total.max(self.state.done);
                (self.progress)(self.state.clone());
            }
            Ok(Message::CompilerMessage(message)) => {
                let source = message.target.src_path.into_std_path_buf();
                let Some(diagnostic) = diagnostics::convert(message.message) else { return };
                if self.run.diagnostics.add(&diagnostic) {
                    self.run.diagnostics_by_source.push((source, diagnostic));
                }
            }
            Ok(Message::BuildScriptExecuted(script)) => {
                self.run.build_scripts.push((script.package_id.repr, script.out_dir.into_std_path_buf()));
            }
            Ok(_) => {}
            Err(_) => self.keep(line),
        }
    }

    fn read_stderr(&mut self, line: &str) {
        if line.is_empty() && self.run.output.is_empty() {
            return;
        }
        let plain = strip_colours(line);
        let plain = plain.trim_start();
        if let Some(what) = plain.strip_prefix(PROGRESS_MARK) {
            self.show(&format!("linking {what}"));
        } else if let Some(what) = plain.strip_prefix("Compiling ") {
            // `serde v1.0.0 (/a/path)`
            self.show(what.split(" (").next().unwrap_or(what));
        } else if let Some(what) = plain.strip_prefix("Blocking waiting for ") {
            self.show(&format!("{WAITING_FOR}another cargo ({what})"));
        } else if PROGRESS_WORDS.iter().any(|word| plain.starts_with(word)) {
            self.show(plain);
        } else if let Some(message) = script_warning(plain) {
            self.run.script_warnings.push(diagnostics::script_warning(message));
            self.keep(line);
        } else if !SILENT_WORDS.iter().any(|word| plain.starts_with(word)) {
            self.keep(line);
        }
    }

    fn show(&mut self, what: &str) {
        what.clone_into(&mut self.state.current);
        (self.progress)(self.state.clone());
    }

    fn keep(&mut self, line: &str) {
        let has_room = self.run.output.len() + line.len() < OUTPUT_KEPT_SIZE_MAX;
        if has_room && self.output_lines < OUTPUT_KEPT_LINES_MAX {
            self.run.output.push_str(line);
            self.run.output.push('\n');
        } else {
            self.lines_left_out += 1;
        }
        self.output_lines += 1;
    }

    fn finish(mut self) -> Run {
        if self.lines_left_out > 0 {
            self.run.output.push_str(&format!("… ({} more lines are left out)\n", self.lines_left_out));
        }
        self.run
    }
}

/// The app's library, if the artifact is the app's. For a plain app, the file cargo takes for the binary.
fn library_of(app: &App, artifact: &cargo_metadata::Artifact) -> Option<PathBuf> {
    if artifact.package_id.repr != app.package_id {
        return None;
    }
    let is = |kind, name: &String| artifact.target.is_kind(kind) && artifact.target.name == *name;
    let file = match &app.choice {
        Choice::Lib => artifact.filenames.iter().find(|file| file.extension() == Some("so")),
        Choice::Bin(name) => artifact.executable.as_ref().filter(|_| is(TargetKind::Bin, name)),
        Choice::Example(name) => artifact.executable.as_ref().filter(|_| is(TargetKind::Example, name)),
    };
    file.map(|file| file.clone().into_std_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_from_both_streams() {
        let mut shown = Vec::new();
        let mut note = |progress: Progress| shown.push(progress);
        let app = App::stub();
        let mut reader = Reader::new(&app, 1, &mut note);
        reader.read_stderr("\u{1b}[1m\u{1b}[32m   Compiling\u{1b}[0m app v0.1.0 (/tmp/app)");
        reader.read_stderr(&format!("{PROGRESS_MARK}12 dependencies into one shared library"));
        reader.read_stderr("\u{1b}[1m\u{1b}[32m    Finished\u{1b}[0m `dev` profile in 1.0s");
        reader.read_stderr("    Blocking waiting for file lock on build directory");
        reader.read_stderr("error: linking failed");
        reader.read_stderr("\u{1b}[33mwarning\u{1b}[0m: app@0.1.0: an old header");
        reader.read_stderr("warning: unused manifest key: a@b");
        reader.read_stdout("a line that a procedural macro printed");
        let run = reader.run;
        assert!(run.output.starts_with("error: linking failed\n"), "{}", run.output);
        assert!(run.output.ends_with("a@b\na line that a procedural macro printed\n"), "{}", run.output);
        let warnings: Vec<_> = run.script_warnings.iter().map(|warning| warning.message.as_str()).collect();
        assert_eq!(warnings, ["app@0.1.0: an old header"]);
        let current: Vec<_> = shown.iter().map(|progress| progress.current.as_str()).collect();
        assert_eq!(
            current,
            [
                "app v0.1.0",
                "linking 12 dependencies into one shared library",
                "waiting for another cargo (file lock on build directory)"
            ]
        );
    }
}
