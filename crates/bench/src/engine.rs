//! The course of a bench: every strategy is prepared and the edit is found. Then they take turns, one reload
//! each, so that a noisy machine hurts all alike. A failure costs only the strategy it occurs in; cancelling
//! keeps the results so far.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use super::cancel::Cancel;
use super::edit::{Edit, Tokens};
use super::edit_search::{self, Search};
use super::load::Load;
use super::model::{
    ArtifactRow, ForkCost, Machine, ReloadSample, Report, SCHEMA_VERSION, Settings, Skipped, Strategy,
    StrategyResult,
};
use super::progress::Progress;
use super::subject::Subject;
use super::ways::{self, Cargo, Context, Devhost, Rustc, Seed, Tool, Way, ms};
use super::{fork_cost, gauge, machine};
use devhost_model::Error;

/// How long the steady load runs before the save.
const LOAD_LEAD_TIME: Duration = Duration::from_millis(250);

/// Estimated duration of fork costs and artifacts.
const FORK_COST_TIME_GUESS: Duration = Duration::from_secs(3);
const ARTIFACTS_TIME_GUESS: Duration = Duration::from_secs(20);

const ARTIFACT_TRIES_COUNT: u32 = 3;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The app.
    pub subject: Subject,
    /// The strategies, each once.
    pub strategies: Vec<Strategy>,
    /// How many reloads each makes.
    pub reload_count: u32,
    /// The steady load; 0 for none.
    pub requests_per_second: f64,
    /// The requested path, from `/` on.
    pub url_path: String,
    /// The place to edit, if the user names one: a file and a text in it.
    pub edit: Option<(PathBuf, String)>,
    /// Whether to measure forks.
    pub with_fork_cost: bool,
    /// Whether to look for artifacts.
    pub with_artifacts: bool,
    /// The app's own arguments.
    pub app_args: Vec<OsString>,
}

/// Runs the bench. The report of a cancelled run is incomplete.
///
/// # Errors
/// Nothing can be measured: no edit shows, or the one named by the user is missing.
pub fn run(plan: &Plan, cancel: &Cancel) -> Result<Report, Error> {
    Engine::new(plan, cancel).run()
}

struct Engine<'p> {
    plan: &'p Plan,
    cancel: &'p Cancel,
    context: Context,
    progress: Progress,
    begun: Instant,
    session: u64,
    tokens: Tokens,
    machine: Machine,
    ways: Vec<Box<dyn Way>>,
    results: BTreeMap<Strategy, StrategyResult>,
    skipped: Vec<Skipped>,
    /// Sum and count of turn times, by strategy.
    turn_times: BTreeMap<Strategy, (Duration, u32)>,
}

impl<'p> Engine<'p> {
    fn new(plan: &'p Plan, cancel: &'p Cancel) -> Self {
        let count = plan.strategies.len() as u64;
        let step_count = count * (u64::from(plan.reload_count) + 2)
            + u64::from(plan.with_fork_cost)
            + u64::from(plan.with_artifacts);
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            plan,
            cancel,
            context: Context {
                subject: plan.subject.clone(),
                url_path: plan.url_path.clone(),
                app_args: plan.app_args.clone(),
                cancel: cancel.clone(),
            },
            progress: Progress::new(step_count),
            begun: Instant::now(),
            session: since_epoch.as_secs(),
            tokens: Tokens::new(since_epoch.as_secs()),
            machine: machine::describe(),
            ways: Vec::new(),
            results: BTreeMap::new(),
            skipped: Vec::new(),
            turn_times: BTreeMap::new(),
        }
    }

    fn run(mut self) -> Result<Report, Error> {
        let named = self.named_edit()?;
        self.prepare();
        let (edit, mut cancelled) = match self.choose_edit(named) {
            Ok(edit) => (edit, self.cancel.is_cancelled()),
            Err(error) => {
                self.end_ways();
                return Err(error);
            }
        };
        if let Some(edit) = &edit {
            cancelled |= !self.take_turns(edit);
        }
        self.end_ways();
        let fork_costs = self.fork_costs();
        let artifacts = self.artifacts();
        self.machine.load_at_end = machine::load();
        let order = &self.plan.strategies;
        Ok(Report {
            schema_version: SCHEMA_VERSION,
            is_complete: !cancelled && !self.cancel.is_cancelled(),
            began_unix_s: self.session,
            duration_ms: ms(self.begun.elapsed()),
            settings: Settings {
                app: self.plan.subject.package().to_owned(),
                reload_count: self.plan.reload_count,
                edited_file: edit.map(|edit| edit.file.display().to_string()).unwrap_or_default(),
                requests_per_second: self.plan.requests_per_second,
            },
            strategies: order.iter().filter_map(|strategy| self.results.remove(strategy)).collect(),
            machine: self.machine,
            skipped: self.skipped,
            fork_costs,
            artifacts,
        })
    }

    fn named_edit(&self) -> Result<Option<Edit>, Error> {
        let Some((file, text)) = &self.plan.edit else { return Ok(None) };
        Edit::named(&self.plan.subject.app.workspace_root, file, text).map(Some)
    }

    /// Builds and starts every strategy, cargo's first: others take over its dependencies.
    fn prepare(&mut self) {
        let mut order = self.plan.strategies.clone();
        order.sort_by_key(|strategy| *strategy != Strategy::Restart);
        let mut built = self.plan.subject.built();
        for strategy in order {
            let name = strategy.name();
            if self.cancel.is_cancelled() {
                return;
            }
            if let Some(reason) = self.reason_to_skip(strategy) {
                self.skipped.push(Skipped { name, reason });
                continue;
            }
            self.progress.begin(&format!("{name}: building and starting the app"));
            match self.start(strategy, &mut built) {
                Ok(way) => {
                    let result = StrategyResult { notes: way.notes(), ..StrategyResult::new(strategy) };
                    self.results.insert(strategy, result);
                    self.ways.push(way);
                    if built.is_none() {
                        // Later ones take over from the first devhost.
                        let own = self.plan.subject.place.join(name).join("target/devhost");
                        built = Some(own.join(self.plan.subject.profile_directory()));
                    }
                }
                Err(_) if self.cancel.is_cancelled() => return,
                Err(error) => self.fail(strategy, &error),
            }
            self.progress.done();
        }
        let position = |strategy| self.plan.strategies.iter().position(|other| *other == strategy);
        self.ways.sort_by_key(|way| position(way.strategy()));
    }

    fn start(&self, strategy: Strategy, built: &mut Option<PathBuf>) -> Result<Box<dyn Way>> {
        let name = strategy.name();
        let subject = &self.plan.subject;
        let copy = subject.copy(&name)?;
        let take_over = |built: Option<&Path>| {
            let Some(built) = built else { return };
            self.progress.detail(&format!("{name}: taking over what is built"));
            let own = copy.join("target").join(subject.profile_directory());
            devhost_build::take_over_dependencies(&subject.app, built, &own);
            self.progress.detail(&format!("{name}: building and starting the app"));
        };
        Ok(match strategy {
            Strategy::Restart => {
                take_over(built.as_deref());
                let way = Cargo::start(&self.context, strategy, &copy)?;
                *built = Some(way.built());
                Box::new(way)
            }
            // Its dependencies have other debug information, so nothing can be taken over.
            Strategy::RestartLineTables => Box::new(Cargo::start(&self.context, strategy, &copy)?),
            Strategy::Rustc => {
                let _seed = built.as_ref().map(|built| Seed::offer(&copy, built));
                let told = &mut |what: &str| self.progress.detail(&format!("{name}: {what}"));
                Box::new(Rustc::start(&self.context, &copy, told)?)
            }
            Strategy::Watchexec | Strategy::CargoWatch | Strategy::Bacon | Strategy::Dx => {
                take_over(built.as_deref());
                Box::new(Tool::start(&self.context, strategy, &copy)?)
            }
            Strategy::Inprocess | Strategy::Fork | Strategy::ForkNoPreload | Strategy::Spawn => {
                let _seed = built.as_ref().map(|built| Seed::offer(&copy, built));
                let told = &mut |what: &str| self.progress.detail(&format!("{name}: {what}"));
                let way = Devhost::start(&self.context, strategy, &copy, told)?;
                Box::new(way)
            }
        })
    }

    fn reason_to_skip(&mut self, strategy: Strategy) -> Option<String> {
        let subject = &self.plan.subject;
        match strategy {
            Strategy::Inprocess if !subject.is_plugin() => Some(format!(
                "`{}` is no plugin app, and a program cannot be loaded twice into one process; the README says how to make it one",
                subject.package()
            )),
            Strategy::Restart | Strategy::RestartLineTables => {
                subject.program.as_ref().err().map(ToString::to_string)
            }
            Strategy::Watchexec | Strategy::CargoWatch | Strategy::Bacon | Strategy::Dx => {
                match ways::find_tool(&self.context, strategy) {
                    Ok(version) => {
                        self.machine.tools.push((strategy.name(), version));
                        None
                    }
                    Err(reason) => Some(reason.to_string()),
                }
            }
            _ => None,
        }
    }

    /// The edit that shows, found on the first strategy that serves. Returns `None` if the run is cancelled
    /// or no strategy is left.
    fn choose_edit(&mut self, named: Option<Edit>) -> Result<Option<Edit>, Error> {
        if named.is_some() || self.cancel.is_cancelled() {
            return Ok(named);
        }
        self.progress.begin("looking for a text that the app's response shows");
        // A strategy in which the app does not answer is given up.
        while let Some((way, url)) = self.ways.iter_mut().find_map(|way| way.url().map(|url| (way, url))) {
            let strategy = way.strategy();
            let told = |what: &str| self.progress.detail(what);
            match edit_search::search(&mut **way, &url, &self.context, &mut self.tokens, &told) {
                Search::Found(edit) => return Ok(Some(edit)),
                Search::Cancelled => return Ok(None),
                Search::NothingShown => return Err(self.no_text()),
                Search::Failed(error) => self.fail(strategy, &error),
            }
        }
        match self.ways.first() {
            None => Ok(None),
            Some(way) => Err(Error::mistake(
                format!(
                    "no text to edit was found, since `{}` serves nothing that would show one",
                    way.strategy().name()
                ),
                "name a file and a text in it, as in --edit src/pages.rs:Welcome, or add another strategy",
            )),
        }
    }

    fn no_text(&self) -> Error {
        Error::mistake(
            format!(
                "no text in the sources of `{}` was found that the response of {} shows",
                self.plan.subject.package(),
                self.plan.url_path
            ),
            "name a file and a text in it, and where it shows: --edit src/pages.rs:Welcome --url-path /",
        )
    }

    /// Makes all rounds, discarding the first. Returns false if cancelled.
    fn take_turns(&mut self, edit: &Edit) -> bool {
        for round in 0..=self.plan.reload_count {
            let mut order: Vec<Strategy> = self.ways.iter().map(|way| way.strategy()).collect();
            if order.is_empty() {
                return true;
            }
            let count = order.len();
            order.rotate_left(round as usize % count);
            for strategy in order {
                let what = if round == 0 {
                    "warm-up".into()
                } else {
                    format!("reload {round} of {}", self.plan.reload_count)
                };
                self.progress.begin(&format!("{}: {what}", strategy.name()));
                let begun = Instant::now();
                match self.take_turn(strategy, round, edit) {
                    Ok(sample) if round > 0 => {
                        if let Some(result) = self.results.get_mut(&strategy) {
                            result.reloads.push(sample);
                        }
                    }
                    Ok(_) => {}
                    Err(_) if self.cancel.is_cancelled() => return false,
                    Err(error) => self.fail(strategy, &error),
                }
                let (sum, turns) = self.turn_times.entry(strategy).or_default();
                *sum += begun.elapsed();
                *turns += 1;
                self.progress.done();
                self.estimate(round);
                if self.cancel.is_cancelled() {
                    return false;
                }
            }
        }
        true
    }

    fn take_turn(&mut self, strategy: Strategy, round: u32, edit: &Edit) -> Result<ReloadSample> {
        let token = self.tokens.next();
        let begun = self.begun;
        let Some(way) = self.ways.iter_mut().find(|way| way.strategy() == strategy) else {
            anyhow::bail!("it is not running");
        };
        let url = way.url();
        let load = url.map(|url| Load::start(&url, self.plan.requests_per_second, &token));
        self.cancel.pause(LOAD_LEAD_TIME)?;
        let cpu_before = gauge::CpuTimes::of(&way.roots());
        let seen = way.reload(edit, &token)?;
        let cpu_after = gauge::CpuTimes::of(&way.roots());
        let requests = load.map(|load| load.finish(seen.saved, seen.shown)).unwrap_or_default();
        let settled = way.settle(&seen)?;
        Ok(ReloadSample {
            round,
            began_ms: ms(seen.saved - begun),
            total_ms: ms(seen.shown - seen.saved),
            steps: settled.steps,
            memory: settled.memory,
            requests,
            cpu_ms: Some(cpu_after.ms_since(&cpu_before)),
        })
    }

    fn estimate(&self, round: u32) {
        if round == 0 {
            return;
        }
        let rounds_left = self.plan.reload_count - round;
        let turns = self.ways.iter().filter_map(|way| self.turn_times.get(&way.strategy()));
        let round_time: Duration = turns.map(|(sum, count)| *sum / (*count).max(1)).sum();
        let rest = if self.plan.with_fork_cost { FORK_COST_TIME_GUESS } else { Duration::ZERO }
            + if self.plan.with_artifacts { ARTIFACTS_TIME_GUESS } else { Duration::ZERO };
        self.progress.left(round_time * rounds_left + rest);
    }

    /// Gives up a strategy; the others go on.
    fn fail(&mut self, strategy: Strategy, error: &anyhow::Error) {
        let failure = format!("{error:#}");
        self.progress.note(&format!("{}: {failure}", strategy.name()));
        let result = self.results.entry(strategy).or_insert_with(|| StrategyResult::new(strategy));
        result.failure = Some(failure);
        if let Some(at) = self.ways.iter().position(|way| way.strategy() == strategy) {
            self.ways.remove(at).end();
        }
    }

    fn end_ways(&mut self) {
        for way in self.ways.drain(..) {
            if let Some(result) = self.results.get_mut(&way.strategy()) {
                // Including those added by reloads.
                result.notes = way.notes();
            }
            way.end();
        }
    }

    fn fork_costs(&mut self) -> Vec<ForkCost> {
        if !self.plan.with_fork_cost || self.cancel.is_cancelled() {
            return Vec::new();
        }
        let told = &mut |what: &str| self.progress.begin(what);
        let measured = fork_cost::measure(&self.plan.subject.place, self.cancel, told);
        self.progress.done();
        measured.unwrap_or_else(|error| {
            if !self.cancel.is_cancelled() {
                self.skipped.push(Skipped { name: "fork-cost".into(), reason: format!("{error:#}") });
            }
            Vec::new()
        })
    }

    fn artifacts(&mut self) -> Vec<ArtifactRow> {
        if !self.plan.with_artifacts || self.cancel.is_cancelled() {
            return Vec::new();
        }
        self.progress.begin("looking for what reloads leave behind");
        let told = &mut |what: &str| self.progress.detail(what);
        let is_cancelled = || self.cancel.is_cancelled();
        let measured = super::artifacts::measure(
            &self.plan.subject.place.join("artifacts"),
            &self.plan.strategies,
            ARTIFACT_TRIES_COUNT,
            told,
            &is_cancelled,
        );
        self.progress.done();
        measured.unwrap_or_else(|error| {
            if !self.cancel.is_cancelled() {
                self.skipped.push(Skipped { name: "artifacts".into(), reason: format!("{error:#}") });
            }
            Vec::new()
        })
    }
}
