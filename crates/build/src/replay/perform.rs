//! Performs a replay: runs build scripts, then compiles what changed.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use devhost_model::{BuildStep, Diagnostic};
use futures_util::StreamExt as _;
use tokio::net::unix::pipe::Receiver;

use super::context::Context;
use super::recording::Recording;
use super::run::{self, Call as RunCall, Ended};
use super::scripts::{Cause, Look, Script};
use super::unit::Unit;
use super::weakness::is_left_out;
use crate::cargo::Run;
use crate::outcome::Progress;
use crate::refusal::Refusal;
use crate::{build_lock, stale};

/// How often a crate is recompiled because its files change while rustc reads them. After that the result
/// stands: the next change starts another build.
const ROUNDS_COUNT_MAX: usize = 3;

type Wanted = (usize, (Cause, Look));

impl Recording {
    /// Builds what changed, successfully or not. Refuses if a replay is not allowed, or failed in a way only
    /// cargo can explain. Dropping the future kills every rustc; unfinished crates are compiled the next
    /// time.
    pub(crate) async fn replay(
        &mut self,
        context: &Context,
        changed: &[PathBuf],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Run, Refusal> {
        if context.ledger.is_cargo_unfinished() {
            return Err(Refusal::GivenUp);
        }
        if !context.ledger.is_quiet().await {
            return Err(Refusal::StillRunning);
        }
        let Some(lock) = build_lock::lock(&self.profile_dirs) else {
            return Err(Refusal::Locked);
        };
        let begun = Instant::now();
        let mut run = Run { success: true, ..Run::default() };
        let mut steps = Vec::new();
        for round in 0..ROUNDS_COUNT_MAX {
            let changed = if round == 0 { changed } else { &[] };
            self.check(context, changed)?;
            let scripts = self.scripts_to_run(context, changed, round == 0)?;
            if !scripts.is_empty() {
                // Run nothing if only cargo could go on.
                let units = scripts.iter().flat_map(|(index, _)| &self.scripts[*index].units);
                self.judge(context, changed, &units.copied().collect())?;
                steps.extend(self.run_scripts(context, begun, scripts, progress).await?);
            }
            let units = self.judge(context, changed, &BTreeSet::new())?;
            if units.is_empty() {
                break;
            }
            run = self.compile(context, begun, &units, progress).await?;
            if !run.success || is_left_out!(context, SecondLook) {
                break;
            }
        }
        drop(lock);
        run.steps.splice(0..0, steps);
        if run.success {
            let of_scripts: Vec<Diagnostic> = self.scripts.iter().flat_map(Script::warnings).collect();
            for unit in &mut self.units {
                let id = unit.made().id;
                unit.seen = id;
            }
            let warnings: Vec<Diagnostic> =
                self.units.iter().flat_map(|unit| unit.made().warnings.clone()).collect();
            for warning in warnings.iter().chain(&of_scripts).chain(&self.other_warnings) {
                run.diagnostics.add(warning);
            }
        }
        run.library = self.units.last().map(Unit::library);
        Ok(run)
    }

    /// The build scripts cargo would run, by index; those it runs every time only if `always`.
    fn scripts_to_run(
        &self,
        context: &Context,
        changed: &[PathBuf],
        always: bool,
    ) -> Result<Vec<Wanted>, Refusal> {
        let mut wanted = Vec::new();
        for (index, script) in self.scripts.iter().enumerate() {
            let look = script.look(context, changed)?;
            wanted.extend(
                look.filter(|(cause, _)| always || *cause == Cause::Change).map(|look| (index, look)),
            );
        }
        Ok(wanted)
    }

    /// Runs build scripts, as many at once as allowed, and takes in their output and files. Refuses if only
    /// cargo knows what follows from them.
    async fn run_scripts(
        &mut self,
        context: &Context,
        begun: Instant,
        scripts: Vec<Wanted>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Vec<BuildStep>, Refusal> {
        let started = SystemTime::now();
        let alive_count = context.ledger.held_count().await;
        let mut runs = Vec::new();
        for (index, look) in scripts {
            let script = &mut self.scripts[index];
            script.begin(context, &self.profile_dirs);
            let name = script.package.name.clone();
            progress(Progress { done: 0, total: 1, current: format!("the build script of {name}") });
            let (reader, writer) = std::io::pipe().map_err(|error| no_pipe(&error))?;
            let other = reader.try_clone().map_err(|error| no_pipe(&error))?;
            let other = Receiver::from_owned_fd(other.into()).map_err(|error| no_pipe(&error))?;
            context.ledger.hold(other).await;
            let reader = Receiver::from_owned_fd(reader.into()).map_err(|error| no_pipe(&error))?;
            let recorded = script.recorded.clone();
            runs.push(async move {
                let begun_at = begun.elapsed();
                let output = run::run_script(context, &name, &recorded, reader, writer).await;
                let step = BuildStep {
                    name: format!("{name} (build script)"),
                    begun_ms: begun_at.as_secs_f64() * 1_000.0,
                    took_ms: begun.elapsed().saturating_sub(begun_at).as_secs_f64() * 1_000.0,
                };
                (index, look, step, output)
            });
        }
        let ended: Vec<_> =
            futures_util::stream::iter(runs).buffer_unordered(context.jobs.max(1)).collect().await;
        // None was cancelled. Nobody waits for what a script left running for good.
        context.ledger.release(alive_count).await;
        let mut steps = Vec::new();
        for (index, look, step, output) in ended {
            let script = &mut self.scripts[index];
            if script.take(context, &mut self.units, look, &output?, started)? {
                for unit in &script.units {
                    self.units[*unit].made().due = true;
                }
                // Whoever reads there is recompiled.
                let out_dir = script.out_dir();
                for unit in &self.units {
                    unit.made().listings.retain(|directory, _| !directory.starts_with(out_dir));
                }
            }
            steps.push(step);
        }
        self.units.iter().for_each(|unit| unit.made().list_directories());
        Ok(steps)
    }

    async fn compile(
        &mut self,
        context: &Context,
        begun: Instant,
        units: &[usize],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Run, Refusal> {
        let mut calls = Vec::new();
        for index in units {
            let unit = &self.units[*index];
            let mut made = unit.made();
            if !made.aged {
                stale::age_crates(&self.profile_dirs, &unit.package);
                made.aged = true;
            }
            made.due = true;
            drop(made);
            let needs = unit.needs.iter().filter_map(|need| units.iter().position(|index| index == need));
            calls.push(RunCall {
                name: unit.package.name.clone(),
                recorded: unit.recorded.clone(),
                needs: needs.collect(),
                pipelined: unit.is_pipelined(),
            });
        }
        let (alive, held) = std::io::pipe().map_err(|error| no_pipe(&error))?;
        let alive = Receiver::from_owned_fd(alive.into()).map_err(|error| no_pipe(&error))?;
        context.ledger.hold(alive).await;
        let mut before = HashMap::new();
        let mut ended = Vec::new();
        let mut run = run::run(context, begun, calls, held, progress, |event| match event {
            run::Event::Starts(call) => {
                let unit = &self.units[units[call]];
                before.insert(call, unit.look(&context.app.target_dir, SystemTime::now()));
            }
            run::Event::Ended(call, end) => ended.push((call, end)),
        })
        .await?;
        // In dependency order: what uses a crate may have ended before it.
        ended.sort_by_key(|(call, _)| *call);
        for (call, Ended { success, diagnostics: said, .. }) in ended {
            let index = units[call];
            if success && let Some(before) = before.remove(&call) {
                let latest = |need: &usize| (self.units[*need].record.clone(), self.units[*need].made().id);
                let against = self.units[index].needs.iter().map(latest).collect();
                self.units[index].settle(&context.ledger, &before, against, said.to_vec());
            }
            run.diagnostics.merge(&said);
        }
        let in_code = |diagnostic: &Diagnostic| diagnostic.level == "error" && diagnostic.file.is_some();
        if !run.success && !run.diagnostics.iter().any(in_code) {
            return Err(Refusal::RustcFailed);
        }
        Ok(run)
    }
}

fn no_pipe(error: &std::io::Error) -> Refusal {
    Refusal::system("create a pipe", error)
}
