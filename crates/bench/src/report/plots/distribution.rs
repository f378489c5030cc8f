//! The times of all reloads.

use maud::Markup;

use super::axis::{AXIS_HEIGHT, Axis, MARGIN};
use super::canvas::Canvas;
use super::look;
use crate::report::figures::{Unit, show, show_estimate};
use crate::report::statistics::{self, Estimate};
use crate::report::summary::{StrategySummary, Summary};

/// All totals of each strategy, with a box for the middle half, the median, and its interval.
pub(in super::super) fn distribution(
    summary: &Summary,
    id: &str,
    class: &'static str,
    width: f64,
) -> Option<Markup> {
    const ROW_HEIGHT: f64 = 62.0;
    const STRIP_Y: f64 = 38.0;
    /// Vertical offsets of neighbouring points, so that each is visible.
    const OFFSETS: [f64; 5] = [0.0, -6.0, 5.0, -3.0, 8.0];
    let measured: Vec<&StrategySummary> = summary.strategies.iter().filter(|it| it.total.is_some()).collect();
    let totals = |it: &StrategySummary| -> Vec<f64> {
        it.result.reloads.iter().map(|reload| reload.total_ms).filter(|total| total.is_finite()).collect()
    };
    let most = measured.iter().flat_map(|it| totals(it)).fold(0.0, f64::max);
    let axis = Axis::new(most, MARGIN, width - MARGIN)?;
    let height = measured.len() as f64 * ROW_HEIGHT + AXIS_HEIGHT;
    let description = measured.iter().map(|it| described(it)).collect::<Vec<_>>().join(" ");
    let mut svg = Canvas::new(id, class, (width, height), "Distribution of reload times", &description);
    axis.draw_below(&mut svg, 0.0, height - AXIS_HEIGHT, "ms from the save to the first response");
    for (row, strategy) in measured.iter().enumerate() {
        let top = row as f64 * ROW_HEIGHT;
        let middle = top + STRIP_Y;
        let look::Look { index, .. } = look::of_strategy(strategy.result.strategy);
        svg.name((MARGIN, top + 16.0), &[labelled(strategy, true), labelled(strategy, false)]);
        let totals = totals(strategy);
        if let Some(box_of) = statistics::quartiles(&totals) {
            let (left, right) = (axis.at(box_of.lower), axis.at(box_of.upper));
            svg.rect(&format!("box line-{index}"), (left, middle - 10.0), ((right - left).max(0.5), 20.0));
        }
        for (place, reload) in strategy.result.reloads.iter().enumerate() {
            if !reload.total_ms.is_finite() {
                continue;
            }
            let note = format!("reload {}: {}", reload.round, show(reload.total_ms, Unit::Time));
            let y = middle + OFFSETS[place % OFFSETS.len()];
            svg.marker(index, (axis.at(reload.total_ms), y), 3.2, &note);
        }
        if let Some(Estimate { value, interval, .. }) = strategy.total {
            svg.line("median", (axis.at(value), middle - 13.0), (axis.at(value), middle + 13.0));
            if let Some((low, high)) = interval {
                svg.interval((axis.at(low), middle + 16.0), (axis.at(high), middle + 16.0));
            }
        }
    }
    Some(svg.finish())
}

/// `fork · 712 ms [690–732], n = 12`, with or without the interval.
fn labelled(strategy: &StrategySummary, with_interval: bool) -> String {
    let Some(total) = &strategy.total else { return strategy.name() };
    let (value, interval) = show_estimate(total, Unit::Time);
    let interval =
        if interval.is_empty() || !with_interval { String::new() } else { format!(" [{interval}]") };
    format!("{} · {value}{interval}, n = {}", strategy.name(), total.count)
}

fn described(strategy: &StrategySummary) -> String {
    format!("{}.", labelled(strategy, true).replace(" · ", ": median "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn distribution_has_a_mark_for_each_reload() {
        let report = sample::full();
        let svg = distribution(&Summary::new(&report), "d", "wide", 720.0).unwrap().into_string();
        let reloads: usize = report.strategies.iter().map(|it| it.reloads.len()).sum();
        assert_eq!(svg.matches("class=\"mark ").count(), reloads);
        let measured = report.strategies.iter().filter(|it| !it.reloads.is_empty()).count();
        assert_eq!(svg.matches("class=\"median\"").count(), measured);
    }

    #[test]
    fn nothing_measured_is_no_plot() {
        assert!(distribution(&Summary::new(&sample::empty()), "d", "wide", 720.0).is_none());
    }
}
