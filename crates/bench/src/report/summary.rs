//! A report reduced to estimates, once for all outputs. Knows the model and the statistics, and nothing of
//! terminals or pages.

use std::collections::BTreeMap;

use clap::ValueEnum;

use super::statistics::{self, Estimate};
use crate::model::{Memory, ReloadSample, Report, Strategy, StrategyResult, Verdict};

/// The known steps of a reload, in order. Others follow them.
pub(super) const STEP_ORDER: [&str; 9] =
    ["notice", "build", "stop", "fork", "exec", "load", "start", "first-response", "other"];

/// A kind of process memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MemoryKind {
    /// Written to by this process alone.
    PrivateDirty,
    /// Its proportional share.
    Pss,
    /// Everything resident.
    Rss,
}

impl MemoryKind {
    /// All kinds, the most telling of a leak first.
    pub(super) const ALL: [Self; 3] = [Self::PrivateDirty, Self::Pss, Self::Rss];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::PrivateDirty => "private dirty",
            Self::Pss => "PSS",
            Self::Rss => "RSS",
        }
    }

    /// Its size in bytes.
    pub(super) fn of(self, memory: &Memory) -> f64 {
        (match self {
            Self::PrivateDirty => memory.private_dirty_bytes,
            Self::Pss => memory.pss_bytes,
            Self::Rss => memory.rss_bytes,
        }) as f64
    }
}

#[derive(Debug)]
pub(super) struct Summary<'a> {
    pub report: &'a Report,
    /// What the others are compared with: `fork` or, if that was not measured, the fastest that serves.
    pub reference: Option<Strategy>,
    /// In the report's order.
    pub strategies: Vec<StrategySummary<'a>>,
    /// All steps seen, in order.
    pub step_names: Vec<String>,
}

#[derive(Debug)]
pub(super) struct StrategySummary<'a> {
    pub result: &'a StrategyResult,
    /// From the save to the first response, in milliseconds.
    pub total: Option<Estimate>,
    /// Multiple of the reference's time.
    pub ratio: Option<Estimate>,
    /// In milliseconds, by name.
    pub steps: BTreeMap<String, Estimate>,
    /// CPU time in milliseconds.
    pub cpu: Option<Estimate>,
    /// In bytes, in the order of [`MemoryKind::ALL`].
    pub memory: [Option<Estimate>; 3],
    /// Growth in bytes per reload, in the same order.
    pub growth: [Option<Estimate>; 3],
    /// Requests sent during all reloads.
    pub sent_count: u64,
    /// Failed requests among them.
    pub failed_count: u64,
    /// Requests among them that waited for the new code.
    pub held_count: u64,
    /// The longest wait in milliseconds; `None` if no request was sent.
    pub longest_wait_ms: Option<f64>,
}

impl<'a> Summary<'a> {
    pub(super) fn new(report: &'a Report) -> Self {
        let reference = reference(report);
        let base =
            reference.and_then(|reference| report.strategies.iter().find(|it| it.strategy == reference));
        let strategies = report.strategies.iter().map(|result| StrategySummary::new(result, base)).collect();
        Self { report, reference, strategies, step_names: step_names(report) }
    }

    /// Whether any interval has too few samples for its confidence.
    pub(super) fn has_thin_intervals(&self) -> bool {
        self.strategies
            .iter()
            .any(|it| (1..statistics::INTERVAL_SAMPLE_COUNT_MIN).contains(&it.result.reloads.len()))
    }
}

impl<'a> StrategySummary<'a> {
    fn new(result: &'a StrategyResult, base: Option<&StrategyResult>) -> Self {
        let of = |value: &dyn Fn(&ReloadSample) -> Option<f64>| -> Option<Estimate> {
            statistics::median(&result.reloads.iter().filter_map(value).collect::<Vec<_>>())
        };
        let points = |kind: MemoryKind| -> Vec<(f64, f64)> { memory_points(result, kind) };
        let mut steps: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for reload in &result.reloads {
            for (name, duration_ms) in steps_of(reload) {
                steps.entry(name.to_owned()).or_default().push(duration_ms);
            }
        }
        let requests = || result.reloads.iter().map(|reload| reload.requests);
        Self {
            result,
            total: of(&|reload| Some(reload.total_ms)),
            ratio: base.and_then(|base| statistics::ratio(&pairs(result, base))),
            steps: steps
                .into_iter()
                .filter_map(|(name, samples)| Some((name, statistics::median(&samples)?)))
                .collect(),
            cpu: of(&|reload| reload.cpu_ms),
            memory: MemoryKind::ALL
                .map(|kind| of(&|reload| reload.memory.as_ref().map(|memory| kind.of(memory)))),
            growth: MemoryKind::ALL.map(|kind| statistics::slope(&points(kind))),
            sent_count: requests().map(|it| u64::from(it.sent_count)).sum(),
            failed_count: requests().map(|it| u64::from(it.failed_count)).sum(),
            held_count: requests().map(|it| u64::from(it.held_count)).sum(),
            longest_wait_ms: requests()
                .filter(|it| it.sent_count > 0 && it.longest_wait_ms.is_finite())
                .map(|it| it.longest_wait_ms)
                .max_by(f64::total_cmp),
        }
    }

    pub(super) fn name(&self) -> String {
        self.result.strategy.name()
    }

    /// The reload whose total is nearest the median: a real one, so that its steps belong together.
    pub(super) fn typical_reload(&self) -> Option<&'a ReloadSample> {
        let median = self.total?.value;
        self.result
            .reloads
            .iter()
            .filter(|reload| reload.total_ms.is_finite())
            .min_by(|a, b| (a.total_ms - median).abs().total_cmp(&(b.total_ms - median).abs()))
    }
}

/// A strategy's description, in a few words.
pub(super) fn description(strategy: Strategy) -> String {
    let value = strategy.to_possible_value();
    value.and_then(|value| value.get_help().map(ToString::to_string)).unwrap_or_default()
}

/// A verdict as a sign and a word, readable without colours.
pub(super) fn verdict_words(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Clean => ("✓", "clean"),
        Verdict::Left => ("●", "left"),
        Verdict::Crashed => ("✗", "crashed"),
        Verdict::Hung => ("∞", "hung"),
    }
}

pub(super) fn memory_points(result: &StrategyResult, kind: MemoryKind) -> Vec<(f64, f64)> {
    result
        .reloads
        .iter()
        .filter_map(|reload| Some((f64::from(reload.round), kind.of(reload.memory.as_ref()?))))
        .collect()
}

/// A reload's steps, summed by name.
pub(super) fn steps_of(reload: &ReloadSample) -> Vec<(&str, f64)> {
    let mut steps: Vec<(&str, f64)> = Vec::new();
    for step in reload.steps.iter().filter(|step| step.duration_ms.is_finite()) {
        match steps.iter_mut().find(|(name, _)| *name == step.name) {
            Some((_, duration_ms)) => *duration_ms += step.duration_ms,
            None => steps.push((&step.name, step.duration_ms)),
        }
    }
    steps
}

/// All step names: known ones in order, then others as they come.
pub(super) fn step_names(report: &Report) -> Vec<String> {
    let mut seen: Vec<&str> = Vec::new();
    for reload in report.strategies.iter().flat_map(|it| &it.reloads) {
        for step in &reload.steps {
            if !seen.contains(&step.name.as_str()) {
                seen.push(&step.name);
            }
        }
    }
    let place = |name: &str| STEP_ORDER.iter().position(|known| *known == name).unwrap_or(STEP_ORDER.len());
    seen.sort_by_key(|name| place(name));
    seen.into_iter().map(str::to_owned).collect()
}

fn reference(report: &Report) -> Option<Strategy> {
    let measured = || report.strategies.iter().filter(|it| !it.reloads.is_empty());
    if let Some(fork) = measured().find(|it| it.strategy == Strategy::Fork) {
        return Some(fork.strategy);
    }
    let median = |result: &StrategyResult| {
        statistics::quartiles(&result.reloads.iter().map(|it| it.total_ms).collect::<Vec<_>>())
            .map(|quartiles| quartiles.median)
    };
    measured()
        .filter(|it| it.strategy != Strategy::Rustc)
        .filter_map(|it| Some((it.strategy, median(it)?)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(strategy, _)| strategy)
}

/// Pairs the totals of common rounds.
fn pairs(result: &StrategyResult, base: &StrategyResult) -> Vec<(f64, f64)> {
    let by_round: BTreeMap<u32, f64> = base.reloads.iter().map(|it| (it.round, it.total_ms)).collect();
    result
        .reloads
        .iter()
        .filter_map(|reload| Some((reload.total_ms, *by_round.get(&reload.round)?)))
        .collect()
}
