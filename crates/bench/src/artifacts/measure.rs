//! Tries each kind of artifact under each strategy, in processes that may crash or hang without harm.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::child::{self, End, Stream};
use super::compile::{self, Compiled, Form, Unit};
use super::judge::{self, Answer, Judgement, Life};
use super::kinds::{ArtifactKind, KINDS};
use crate::model::{ArtifactCell, ArtifactRow, Strategy, Verdict};
use crate::programs::{ARTIFACT_HOST_NAME, HostJob, ReloadMode};

/// How long one process may take. An answer takes a twentieth of a second at most, so this is a hang.
const PROCESS_TIME_MAX: Duration = Duration::from_secs(30);

/// The variable with the loader's search path.
const LIBRARY_PATH_VARIABLE: &str = "LD_LIBRARY_PATH";

/// Tries all kinds under those of the strategies that reload by themselves. `work` is an empty directory,
/// created if missing and removed by the caller. Returns the complete rows if cancelled.
///
/// # Errors
/// rustc is missing or refuses a plugin; a process cannot be started.
pub(crate) fn measure(
    work: &Path,
    strategies: &[Strategy],
    tries: u32,
    progress: &mut dyn FnMut(&str),
    is_cancelled: &dyn Fn() -> bool,
) -> anyhow::Result<Vec<ArtifactRow>> {
    let devhost = std::env::current_exe().context("failed to find devhost's own executable")?;
    measure_kinds(&devhost, KINDS, work, strategies, tries, progress, is_cancelled)
}

/// Like `measure`, for `kinds`, with `devhost` as the host.
///
/// # Errors
/// As for `measure`.
pub fn measure_kinds(
    devhost: &Path,
    kinds: &'static [ArtifactKind],
    work: &Path,
    strategies: &[Strategy],
    tries: u32,
    progress: &mut dyn FnMut(&str),
    is_cancelled: &dyn Fn() -> bool,
) -> anyhow::Result<Vec<ArtifactRow>> {
    let strategies: Vec<Strategy> =
        strategies.iter().copied().filter(|strategy| can_be_tried(*strategy)).collect();
    let mut rows = Vec::new();
    if strategies.is_empty() {
        return Ok(rows);
    }
    let wants_programs = strategies.contains(&Strategy::Restart);
    let Some(compiled) = compile::compile(work, kinds, wants_programs, progress, is_cancelled)? else {
        return Ok(rows);
    };
    let trials =
        Trials { devhost, compiled, place: work.join("place.so"), try_count: tries.max(1), is_cancelled };
    for (index, kind) in kinds.iter().enumerate() {
        progress(&format!("reloading plugins: {} ({} of {})", kind.name, index + 1, kinds.len()));
        match trials.row(kind, &strategies)? {
            Some(row) => rows.push(row),
            None => break,
        }
    }
    Ok(rows)
}

/// The outside tools run cargo again, as `restart` does; `rustc` runs nothing.
fn can_be_tried(strategy: Strategy) -> bool {
    match strategy {
        Strategy::Inprocess
        | Strategy::Fork
        | Strategy::ForkNoPreload
        | Strategy::Spawn
        | Strategy::Restart => true,
        Strategy::RestartLineTables
        | Strategy::Rustc
        | Strategy::Watchexec
        | Strategy::CargoWatch
        | Strategy::Bacon
        | Strategy::Dx => false,
    }
}

struct Trials<'run> {
    devhost: &'run Path,
    compiled: Compiled,
    /// The path of plugins loaded from one place.
    place: PathBuf,
    try_count: u32,
    is_cancelled: &'run dyn Fn() -> bool,
}

/// `None` if cancelled.
type Cancellable<T> = anyhow::Result<Option<T>>;

impl Trials<'_> {
    fn row(&self, kind: &'static ArtifactKind, strategies: &[Strategy]) -> Cancellable<ArtifactRow> {
        let mut cells = Vec::new();
        let Some(with) = self.cold(kind, true)? else { return Ok(None) };
        let Some(without) = self.cold(kind, false)? else { return Ok(None) };
        for strategy in strategies {
            let tried = |has_trait, cold| {
                self.tries(kind, has_trait, *strategy, cold)
                    .with_context(|| format!("failed to reload the plugin {}", kind.name))
            };
            let Some(with) = tried(true, &with)? else { return Ok(None) };
            let Some(without) = tried(false, &without)? else { return Ok(None) };
            let mut observation = with.observation;
            if without.verdict != Verdict::Clean {
                observation = format!("{observation}; without the trait: {}", without.observation);
            }
            cells.push(ArtifactCell {
                strategy: *strategy,
                verdict: with.verdict,
                observation,
                verdict_without_trait: without.verdict,
                try_count: self.try_count,
            });
        }
        Ok(Some(ArtifactRow {
            kind: kind.name.into(),
            title: kind.title.into(),
            explanation: kind.explanation.into(),
            cells,
        }))
    }

    /// Version 2's answer after a cold start.
    fn cold(&self, kind: &'static ArtifactKind, has_trait: bool) -> Cancellable<Answer> {
        let Some(life) = self.host(kind, ReloadMode::New, &[self.plugin(kind, has_trait, 2)])? else {
            return Ok(None);
        };
        match life.only_answer() {
            Some(answer) => Ok(Some(answer)),
            None => bail!("the plugin {} does not serve after a cold start: {life:?}", kind.name),
        }
    }

    fn tries(
        &self,
        kind: &'static ArtifactKind,
        has_trait: bool,
        strategy: Strategy,
        cold: &Answer,
    ) -> Cancellable<Judgement> {
        let mut judgements = Vec::new();
        for _ in 0..self.try_count {
            let Some(judgement) = self.reload(kind, has_trait, strategy, cold)? else { return Ok(None) };
            judgements.push(judgement);
        }
        Ok(Some(judge::worst(&judgements)))
    }

    fn reload(
        &self,
        kind: &'static ArtifactKind,
        has_trait: bool,
        strategy: Strategy,
        cold: &Answer,
    ) -> Cancellable<Judgement> {
        let [old, new] = [1, 2].map(|version| self.plugin(kind, has_trait, version));
        let lives = match strategy {
            Strategy::Inprocess => {
                let life = self.host(kind, ReloadMode::Inprocess, &[old, new])?;
                return Ok(life.map(|life| judge::judge_one_process(&life, cold)));
            }
            Strategy::Fork => self.host(kind, ReloadMode::Fork, &[old, new])?.map(Life::of_children),
            Strategy::ForkNoPreload => {
                self.host(kind, ReloadMode::ForkNoPreload, &[old, new])?.map(Life::of_children)
            }
            Strategy::Spawn => {
                let old = self.host(kind, ReloadMode::Old, &[old])?;
                let new = self.host(kind, ReloadMode::New, &[new])?;
                old.zip(new).map(|(old, new)| vec![old, new])
            }
            Strategy::Restart => {
                let old = self.program(kind, has_trait, 1)?;
                let new = self.program(kind, has_trait, 2)?;
                old.zip(new).map(|(old, new)| vec![old, new])
            }
            Strategy::RestartLineTables
            | Strategy::Rustc
            | Strategy::Watchexec
            | Strategy::CargoWatch
            | Strategy::Bacon
            | Strategy::Dx => bail!("`{}` has no plugins to reload", strategy.name()),
        };
        Ok(lives.map(|lives| judge::judge_two_processes(&lives, cold)))
    }

    fn plugin(&self, kind: &'static ArtifactKind, has_trait: bool, version: u32) -> PathBuf {
        self.compiled.unit(Unit { kind, has_trait, version, form: Form::Plugin })
    }

    fn program(&self, kind: &'static ArtifactKind, has_trait: bool, version: u32) -> Cancellable<Life> {
        let path = self.compiled.unit(Unit { kind, has_trait, version, form: Form::Program });
        self.run(Command::new(path))
    }

    fn host(&self, kind: &ArtifactKind, mode: ReloadMode, plugins: &[PathBuf]) -> Cancellable<Life> {
        let place = kind.shares_place.then(|| self.place.clone());
        let job = HostJob { mode, shared: self.compiled.shared(), plugins: plugins.to_vec(), place };
        let mut command = Command::new(self.devhost);
        command.arg0(ARTIFACT_HOST_NAME).args(job.args()).env(LIBRARY_PATH_VARIABLE, self.library_path());
        self.run(command)
    }

    fn library_path(&self) -> OsString {
        let mut path = OsString::from(self.compiled.shared_dir());
        path.push(":");
        path.push(&self.compiled.std_dir);
        if let Some(own) = std::env::var_os(LIBRARY_PATH_VARIABLE) {
            path.push(":");
            path.push(own);
        }
        path
    }

    fn run(&self, command: Command) -> Cancellable<Life> {
        let (end, output) = child::run(command, Stream::Output, PROCESS_TIME_MAX, self.is_cancelled)
            .context("failed to run a process")?;
        if end == End::Cancelled {
            return Ok(None);
        }
        let life = Life::new(end, &output);
        match life.failure() {
            Some(message) => bail!("{message}"),
            None => Ok(Some(life)),
        }
    }
}
