//! Presents a [`Report`](crate::model::Report): tables for a terminal, lines for a spreadsheet, a page with
//! plots. Pure: from a report to text. Never measures, never reads a file or the clock; it only adds the
//! statistics in `statistics.rs`.
//!
//! `summary` reduces the samples to estimates once, `tables` fills the tables, and `terminal`, `csv` and
//! `html` with `plots` write them.

mod csv;
mod figures;
mod html;
mod markup;
mod plots;
mod statistics;
mod summary;
mod tables;
mod terminal;

#[cfg(test)]
use crate::model;
#[cfg(test)]
#[path = "../../../../tests/it/bench_sample.rs"]
mod sample;
#[cfg(test)]
mod schema;

pub use csv::csv;
pub use html::html;
pub use terminal::terminal;
