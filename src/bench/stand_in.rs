//! Stands in for the report and the artifacts until they are merged.

use std::path::Path;

use super::model::{ArtifactRow, Report, Strategy};

pub fn measure(
    _work: &Path,
    _strategies: &[Strategy],
    _tries: u32,
    _progress: &mut dyn FnMut(&str),
    _is_cancelled: &dyn Fn() -> bool,
) -> anyhow::Result<Vec<ArtifactRow>> {
    Ok(Vec::new())
}

pub fn terminal(report: &Report) -> String {
    let mut text = String::new();
    for result in &report.strategies {
        let mut times: Vec<f64> = result.reloads.iter().map(|reload| reload.total_ms).collect();
        times.sort_by(f64::total_cmp);
        text.push_str(&format!("{:16} {:?} {:?}\n", result.strategy.name(), times, result.failure));
    }
    text
}

pub fn csv(_report: &Report) -> String {
    String::new()
}

pub fn html(_report: &Report) -> String {
    String::new()
}
