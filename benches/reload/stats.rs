//! Figures of one row, the table, and the goals that the figures are held against.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

/// How much longer than the bare rustc calls devhost may take.
const GOAL_OVER_RUSTC_MAX_MS: f64 = 30.0;
/// How much of cargo's time, restart included, devhost may take.
const GOAL_OF_CARGO_MAX: f64 = 0.30;
/// How much of cargo's time with line tables only devhost may take.
const GOAL_OF_CARGO_LINES_MAX: f64 = 0.65;

/// One edit, measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    /// From the save to the first byte of the new code; for bare rustc to its end.
    pub ms: f64,
    /// What it consists of, as the way knows it.
    pub parts: Value,
}

/// All samples of one way with one edit of one app.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// The app's name.
    pub app: String,
    /// Where the edit is.
    pub edit: String,
    /// The way's name on the command line.
    pub way: String,
    /// In the order in which they were measured, without the first, which warms up.
    pub samples: Vec<Sample>,
}

/// Median, least and greatest.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Summary {
    /// The median.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Summary {
    /// `None` of nothing.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, min, max })
    }
}

impl Row {
    fn summary(&self) -> Option<Summary> {
        Summary::of(self.samples.iter().map(|sample| sample.ms))
    }

    /// The median of a number among the parts, by its JSON pointer.
    fn part(&self, pointer: &str) -> Option<f64> {
        let values = self.samples.iter().filter_map(|sample| sample.parts.pointer(pointer)?.as_f64());
        Some(Summary::of(values)?.median)
    }
}

/// The median of a way for the same app and edit.
fn median(rows: &[Row], like: &Row, way: &str) -> Option<f64> {
    let row = rows.iter().find(|row| row.app == like.app && row.edit == like.edit && row.way == way)?;
    Some(row.summary()?.median)
}

/// The table, with a line for each row.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut lines = vec![["app", "edit", "way", "median", "min", "max", "of a", "of c"].map(str::to_owned)];
    for row in rows {
        let Some(summary) = row.summary() else { continue };
        let ratio = |way| {
            median(rows, row, way)
                .map_or_else(|| "-".into(), |other| format!("{:.2}", summary.median / other))
        };
        lines.push([
            row.app.clone(),
            row.edit.clone(),
            row.way.clone(),
            format!("{:.0} ms", summary.median),
            format!("{:.0} ms", summary.min),
            format!("{:.0} ms", summary.max),
            ratio("a"),
            ratio("c"),
        ]);
    }
    align(&lines)
}

/// Columns under each other: text to the left, figures to the right.
fn align<const N: usize>(lines: &[[String; N]]) -> String {
    const TEXT_COLUMNS_COUNT: usize = 3;
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            if column < TEXT_COLUMNS_COUNT { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

/// Where devhost's time went by its own account, and what it holds of the goals.
pub(crate) fn devhost_lines(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows.iter().filter(|row| row.way == "d") {
        let Some(summary) = row.summary() else { continue };
        let step = |name: &str| row.part(&format!("/journey/steps/{name}")).unwrap_or(f64::NAN);
        let _ = writeln!(
            text,
            "{} {}: devhost says {:.0} ms: notice {:.1}, build {:.0}, fork {:.1}, load {:.1}, start {:.1}, other {:.1}; \
             first response {:.1}",
            row.app,
            row.edit,
            row.part("/journey/total_ms").unwrap_or(f64::NAN),
            step("notice_ms"),
            step("build_ms"),
            step("fork_ms"),
            step("load_ms"),
            step("ready_ms"),
            step("other_ms"),
            step("first_response_ms"),
        );
        let by_cargo: Vec<&str> = row
            .samples
            .iter()
            .filter(|sample| sample.parts.pointer("/journey/build/replayed") != Some(&Value::Bool(true)))
            .map(|sample| {
                sample.parts.pointer("/journey/build/reason").and_then(Value::as_str).unwrap_or("unknown")
            })
            .collect();
        if let Some(reason) = by_cargo.first() {
            let _ = writeln!(text, "    {} of {} by cargo: {reason}", by_cargo.len(), row.samples.len());
        }
        let count =
            |part: &str| -> u64 { row.samples.iter().filter_map(|sample| sample.parts[part].as_u64()).sum() };
        let (early, given_up) = (count("old_answers_count"), count("given_up_count"));
        if early > 0 {
            let _ =
                writeln!(text, "    {early} requests that were sent after the save got the code before it");
        }
        if given_up > 0 {
            let _ = writeln!(text, "    {given_up} requests were held for as long as devhost holds one");
        }
        let mut goal = |what: String, limit: Option<f64>| {
            let Some(limit) = limit else { return };
            let verdict = if summary.median <= limit { "met" } else { "MISSED" };
            let _ =
                writeln!(text, "    {verdict}: {what} = {limit:.0} ms, measured {:.0} ms", summary.median);
        };
        goal(
            format!("(c) + {GOAL_OVER_RUSTC_MAX_MS} ms"),
            median(rows, row, "c").map(|ms| ms + GOAL_OVER_RUSTC_MAX_MS),
        );
        goal(
            format!("{GOAL_OF_CARGO_MAX:.2} x (a)"),
            median(rows, row, "a").map(|ms| ms * GOAL_OF_CARGO_MAX),
        );
        goal(
            format!("{GOAL_OF_CARGO_LINES_MAX:.2} x (b)"),
            median(rows, row, "b").map(|ms| ms * GOAL_OF_CARGO_LINES_MAX),
        );
    }
    text
}
