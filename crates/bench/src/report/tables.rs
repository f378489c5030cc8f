//! The contents of the tables, as plain text with a tone per cell, shared by the terminal and the page.
//! Nothing is escaped here: that depends on the output.

use super::figures::{Unit, show, show_estimate};
use super::statistics::{self, BOOTSTRAP_RESAMPLE_COUNT, CONFIDENCE, Estimate, INTERVAL_SAMPLE_COUNT_MIN};
use super::summary::{MemoryKind, StrategySummary, Summary, verdict_words};
use crate::model::{ArtifactCell, ForkCost, Report, Verdict};

/// Shown if nothing was measured.
const NOTHING: &str = "–";

/// A cell's meaning, which must never be its only sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    /// Of little weight.
    Faint,
    /// As it should be.
    Good,
    /// Something to know of.
    Doubtful,
    /// Something broke.
    Bad,
}

#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub text: String,
    /// More of it, such as an interval; left out if there is little room.
    pub detail: String,
    /// Its number of samples, if it differs from the row's.
    pub count: Option<usize>,
    pub tone: Tone,
}

/// A table. The first column names the row. A last column called `n` has its number of samples.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub title: String,
    /// What is needed to read it.
    pub caption: String,
    pub head: Vec<String>,
    /// As many cells in each as there are headings.
    pub rows: Vec<Vec<Cell>>,
    /// Whether a terminal shows the details.
    pub has_details_everywhere: bool,
}

impl Cell {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), detail: String::new(), count: None, tone: Tone::Plain }
    }

    fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }

    fn nothing() -> Self {
        Self::new(NOTHING).tone(Tone::Faint)
    }

    fn estimate(estimate: Option<&Estimate>, unit: Unit, row_count: usize) -> Self {
        let Some(estimate) = estimate else { return Self::nothing() };
        let (text, detail) = show_estimate(estimate, unit);
        Self {
            text,
            detail,
            count: (estimate.count != row_count).then_some(estimate.count),
            tone: Tone::Plain,
        }
    }
}

/// Explains the intervals, and where they are: `In brackets`.
pub(super) fn interval_note(summary: &Summary, place: &str) -> String {
    let mut note = format!(
        "Medians. {place}: {:.0} % interval by bootstrap ({BOOTSTRAP_RESAMPLE_COUNT} resamples). n: number of samples.",
        CONFIDENCE * 100.0
    );
    if summary.has_thin_intervals() {
        note.push_str(&format!(
            " With fewer than {INTERVAL_SAMPLE_COUNT_MIN} samples an interval is surer of itself than it may be."
        ));
    }
    note
}

/// What makes the figures less reliable than they look.
pub(super) fn warnings(report: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    if !report.is_complete {
        warnings.push("The run was cancelled: this is what was measured until then.".to_owned());
    }
    if !report.machine.devhost_is_optimized {
        warnings.push(
            "This devhost was built without optimization: its own share of each time is too large."
                .to_owned(),
        );
    }
    let load = report.machine.load_at_start;
    if load > report.machine.processor_count as f64 {
        warnings.push(format!(
            "The machine was busy at the start: a load of {load:.1} on {} processors.",
            report.machine.processor_count
        ));
    }
    warnings
}

pub(super) fn failures(summary: &Summary) -> Vec<(String, String)> {
    let failed = summary.strategies.iter().filter_map(|it| {
        let why = it.result.failure.as_ref()?;
        let made = it.result.reloads.len();
        let asked = summary.report.settings.reload_count;
        Some((it.name(), format!("given up after {made} of {asked} reloads: {why}")))
    });
    failed.collect()
}

/// devhost's notes about the app, each with its strategies.
pub(super) fn notes(summary: &Summary) -> Vec<(String, String)> {
    let mut notes: Vec<(String, String)> = Vec::new();
    for strategy in &summary.strategies {
        for note in &strategy.result.notes {
            match notes.iter_mut().find(|(_, known)| known == note) {
                Some((names, _)) => *names = format!("{names}, {}", strategy.name()),
                None => notes.push((strategy.name(), note.clone())),
            }
        }
    }
    notes
}

pub(super) fn reloads(summary: &Summary) -> Option<Table> {
    if summary.strategies.is_empty() {
        return None;
    }
    let ratio =
        summary.reference.map_or("ratio".to_owned(), |reference| format!("times {}", reference.name()));
    let head = [
        "strategy",
        "save to response",
        &ratio,
        "load",
        "first response",
        "PSS a reload",
        "failed",
        "held",
        "longest wait",
        "CPU",
        "n",
    ];
    let rows = summary.strategies.iter().map(|it| {
        let count = it.result.reloads.len();
        let step = |name: &str| Cell::estimate(it.steps.get(name), Unit::Time, count);
        let is_reference = Some(it.result.strategy) == summary.reference;
        vec![
            name_cell(it),
            Cell::estimate(it.total.as_ref(), Unit::Time, count),
            if is_reference { Cell::new("1") } else { Cell::estimate(it.ratio.as_ref(), Unit::Ratio, count) },
            step("load"),
            step("first-response"),
            Cell::estimate(it.growth[1].as_ref(), Unit::Growth, count),
            requests(it.failed_count, it.sent_count, Tone::Bad),
            requests(it.held_count, it.sent_count, Tone::Plain),
            it.longest_wait_ms.map_or_else(Cell::nothing, |wait_ms| Cell::new(show(wait_ms, Unit::Time))),
            Cell::estimate(it.cpu.as_ref(), Unit::Time, count),
            Cell::new(count.to_string()),
        ]
    });
    Some(Table {
        title: "Reloads".into(),
        caption: "From the save to the first byte of a response of the new code. Failed and held: requests of the steady \
                  load during all reloads. PSS a reload: growth of the serving process's memory. CPU: everything that took \
                  part, compilers included."
            .into(),
        head: head.map(str::to_owned).to_vec(),
        rows: rows.collect(),
        has_details_everywhere: true,
    })
}

pub(super) fn steps(summary: &Summary) -> Option<Table> {
    if summary.step_names.is_empty() {
        return None;
    }
    let rows = summary.strategies.iter().filter(|it| !it.steps.is_empty()).map(|it| {
        let count = it.result.reloads.len();
        let mut row = vec![name_cell(it)];
        row.extend(
            summary.step_names.iter().map(|name| Cell::estimate(it.steps.get(name), Unit::Time, count)),
        );
        row.push(Cell::new(count.to_string()));
        row
    });
    Some(Table {
        title: "Steps of a reload".into(),
        caption: "Medians of each step by itself; they need not add up to the median of the whole.".into(),
        head: headings("strategy", summary.step_names.iter().map(|name| name.replace('-', " ")), true),
        rows: rows.collect(),
        has_details_everywhere: false,
    })
}

pub(super) fn memory(summary: &Summary) -> Option<Table> {
    let measured = summary.strategies.iter().filter(|it| it.memory.iter().any(Option::is_some));
    let rows: Vec<Vec<Cell>> = measured
        .map(|it| {
            let count = it.result.reloads.len();
            let mut row = vec![name_cell(it)];
            for index in 0..MemoryKind::ALL.len() {
                row.push(Cell::estimate(it.memory[index].as_ref(), Unit::Size, count));
                row.push(Cell::estimate(it.growth[index].as_ref(), Unit::Growth, count));
            }
            row.push(Cell::new(count.to_string()));
            row
        })
        .collect();
    let columns = MemoryKind::ALL
        .iter()
        .flat_map(|kind| [kind.title().to_owned(), format!("{} a reload", kind.title())]);
    (!rows.is_empty()).then(|| Table {
        title: "Memory of the process that serves".into(),
        caption:
            "After its first response. A reload: by how much it grows with each one (least-squares line)."
                .into(),
        head: headings("strategy", columns, true),
        rows,
        has_details_everywhere: false,
    })
}

pub(super) fn fork_costs(report: &Report) -> Option<Table> {
    let rows: Vec<Vec<Cell>> = report.fork_costs.iter().map(fork_cost).collect();
    let head = ["crates", "image", "resident", "fork", "first answer", "page faults", "n"];
    (!rows.is_empty()).then(|| Table {
        title: "What a fork costs".into(),
        caption: "Fork: the call alone. First answer: from the call until the child has answered, its page faults included."
            .into(),
        head: head.map(str::to_owned).to_vec(),
        rows,
        has_details_everywhere: true,
    })
}

pub(super) fn artifacts(report: &Report) -> Option<Table> {
    let mut strategies = Vec::new();
    for cell in report.artifacts.iter().flat_map(|row| &row.cells) {
        if !strategies.contains(&cell.strategy) {
            strategies.push(cell.strategy);
        }
    }
    if strategies.is_empty() {
        return None;
    }
    let shows_counts = tries(report).is_none();
    let rows = report.artifacts.iter().map(|row| {
        let mut cells = vec![Cell { detail: row.explanation.clone(), ..Cell::new(row.title.clone()) }];
        cells.extend(strategies.iter().map(|strategy| {
            row.cells
                .iter()
                .find(|cell| cell.strategy == *strategy)
                .map_or_else(Cell::nothing, |cell| artifact(cell, shows_counts))
        }));
        cells
    });
    let mut caption =
        "Each kind is a small plugin that has the trait, reloaded once in a process of its own. ".to_owned();
    caption.push_str(&match tries(report) {
        Some(count) => format!("Each was tried {count} times (n = {count})"),
        None => "How often each was tried stands with it (n)".to_owned(),
    });
    caption.push_str(if has_dirty_control(report) {
        ", and so was the same plugin without the trait; ‡: that one was not clean either, so it is not the trait that is seen."
    } else {
        ", and so was the same plugin without the trait: clean each time."
    });
    Some(Table {
        title: "What a reload leaves behind".into(),
        caption,
        head: headings("kind", strategies.iter().map(|strategy| strategy.name()), false),
        rows: rows.collect(),
        has_details_everywhere: false,
    })
}

/// What was observed of reloads that were not clean: kind, strategy, observation.
pub(super) fn observations(report: &Report) -> Vec<(String, String, String)> {
    let cells = report.artifacts.iter().flat_map(|row| row.cells.iter().map(move |cell| (row, cell)));
    cells
        .filter(|(_, cell)| cell.verdict != Verdict::Clean)
        .map(|(row, cell)| (row.title.clone(), cell.strategy.name(), cell.observation.clone()))
        .collect()
}

fn headings(first: &str, columns: impl Iterator<Item = String>, has_count: bool) -> Vec<String> {
    let mut head = vec![first.to_owned()];
    head.extend(columns);
    if has_count {
        head.push("n".to_owned());
    }
    head
}

fn name_cell(strategy: &StrategySummary) -> Cell {
    let tone = if strategy.result.failure.is_some() { Tone::Bad } else { Tone::Plain };
    let mark = if strategy.result.failure.is_some() { " ✗" } else { "" };
    Cell::new(format!("{}{mark}", strategy.name())).tone(tone)
}

fn requests(count: u64, sent_count: u64, tone: Tone) -> Cell {
    if sent_count == 0 {
        return Cell::nothing();
    }
    let cell = Cell::new(format!("{count} of {sent_count}"));
    if count > 0 { cell.tone(tone) } else { cell }
}

fn fork_cost(cost: &ForkCost) -> Vec<Cell> {
    let count = cost.samples.len();
    let estimate = |values: Vec<f64>, unit| Cell::estimate(statistics::median(&values).as_ref(), unit, count);
    vec![
        Cell::new(cost.crate_count.to_string()),
        Cell::new(show(cost.image_bytes as f64, Unit::Size)),
        Cell::new(show(cost.rss_bytes as f64, Unit::Size)),
        estimate(cost.samples.iter().map(|it| it.fork_ms).collect(), Unit::Time),
        estimate(cost.samples.iter().map(|it| it.answer_ms).collect(), Unit::Time),
        estimate(cost.samples.iter().map(|it| it.page_fault_count as f64).collect(), Unit::Count),
        Cell::new(count.to_string()),
    ]
}

fn artifact(cell: &ArtifactCell, shows_count: bool) -> Cell {
    let (sign, word) = verdict_words(cell.verdict);
    let mark = if cell.verdict_without_trait == Verdict::Clean { "" } else { " ‡" };
    let tone = match cell.verdict {
        Verdict::Clean => Tone::Good,
        Verdict::Left => Tone::Doubtful,
        Verdict::Crashed | Verdict::Hung => Tone::Bad,
    };
    Cell {
        text: format!("{sign} {word}{mark}"),
        detail: cell.observation.clone(),
        count: shows_count.then_some(cell.try_count as usize),
        tone,
    }
}

/// How often each cell was tried, if that is the same for all.
fn tries(report: &Report) -> Option<u32> {
    let mut counts = report.artifacts.iter().flat_map(|row| &row.cells).map(|cell| cell.try_count);
    let first = counts.next()?;
    counts.all(|count| count == first).then_some(first)
}

fn has_dirty_control(report: &Report) -> bool {
    let mut cells = report.artifacts.iter().flat_map(|row| &row.cells);
    cells.any(|cell| cell.verdict_without_trait != Verdict::Clean)
}
