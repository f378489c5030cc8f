//! How a [`Report`] is shown: tables for a terminal, lines for a spreadsheet, a page with plots. Pure: from a report to a text.
//! Never measures, never reads a file or the clock; all it adds to the samples are the statistics in `statistics.rs`.
//!
//! `summary.rs` boils the samples down once, `tables.rs` says what stands in the tables, and `terminal.rs`, `csv.rs` and
//! `html.rs` with `plots.rs` write it down.

mod csv;
mod figures;
mod html;
mod plots;
mod statistics;
mod summary;
mod tables;
mod terminal;

#[cfg(test)]
use super::model;
#[cfg(test)]
#[path = "../../../../tests/it/bench_sample.rs"]
mod sample;
#[cfg(test)]
mod schema;

use std::io::IsTerminal;
use std::os::fd::AsFd;

use crate::model::Report;
use devhost_terminal::Style;

pub use csv::csv;
pub use html::html;

/// How wide the tables are where there is no terminal.
const WIDTH_CHARS_DEFAULT: usize = 100;

/// Tables for standard output: as wide as the terminal is, with colours where it wants them.
pub fn terminal(report: &Report) -> String {
    terminal_for(report, &std::io::stdout())
}

/// Tables for another stream, such as standard error while standard output carries the JSON.
pub fn terminal_for(report: &Report, stream: &(impl IsTerminal + AsFd)) -> String {
    let size = if stream.is_terminal() { terminal_size::terminal_size_of(stream) } else { None };
    let width = size.map_or(WIDTH_CHARS_DEFAULT, |(width, _)| width.0.into());
    terminal::render(report, width, Style::of(stream))
}
