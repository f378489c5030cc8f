//! What reloads are made of.

use std::fmt::Write as _;

use maud::Markup;

use super::axis::{AXIS_HEIGHT, Axis, MARGIN};
use super::canvas::{Anchor, Canvas};
use crate::report::figures::{Unit, show};
use crate::report::summary::{StrategySummary, Summary, steps_of};

/// A character's average width, in the plots' font size.
const CHARACTER_WIDTH: f64 = 6.4;

/// A strategy, the round and total time of one of its reloads, and the steps drawn.
type Row<'a> = (&'a StrategySummary<'a>, u32, f64, Vec<(&'a str, f64)>);

/// The steps of each strategy's reload nearest its median, in order. Steps in `skipped` are left out, to make
/// small ones visible.
pub(in super::super) fn timeline(
    summary: &Summary,
    skipped: &[&str],
    id: &str,
    class: &'static str,
    width: f64,
) -> Option<Markup> {
    const ROW_HEIGHT: f64 = 56.0;
    const BAR_HEIGHT: f64 = 24.0;
    const BAR_Y: f64 = 24.0;
    let rows: Vec<Row> = summary
        .strategies
        .iter()
        .filter_map(|it| {
            let reload = it.typical_reload()?;
            let steps: Vec<(&str, f64)> = steps_of(reload)
                .into_iter()
                .filter(|(name, duration_ms)| !skipped.contains(name) && *duration_ms > 0.0)
                .collect();
            (!steps.is_empty()).then_some((it, reload.round, reload.total_ms, steps))
        })
        .collect();
    let sum = |steps: &[(&str, f64)]| steps.iter().map(|step| step.1).sum::<f64>();
    let axis = Axis::new(rows.iter().map(|it| sum(&it.3)).fold(0.0, f64::max), MARGIN, width - MARGIN)?;
    let height = rows.len() as f64 * ROW_HEIGHT + AXIS_HEIGHT;
    let mut description = String::new();
    for (strategy, round, total_ms, steps) in &rows {
        let steps: Vec<String> = steps
            .iter()
            .map(|(name, duration_ms)| format!("{name} {}", show(*duration_ms, Unit::Time)))
            .collect();
        let _ = write!(
            description,
            "{}, reload {round}, {} in all: {}. ",
            strategy.name(),
            show(*total_ms, Unit::Time),
            steps.join(", ")
        );
    }
    let title =
        if skipped.is_empty() { "A reload by its steps" } else { "A reload by its steps, without the build" };
    let mut svg = Canvas::new(id, class, (width, height), title, description.trim_end());
    axis.draw_below(&mut svg, 0.0, height - AXIS_HEIGHT, "ms");
    for (row, (strategy, round, _, steps)) in rows.iter().enumerate() {
        let top = row as f64 * ROW_HEIGHT;
        let about = format!("{} · {}", strategy.name(), show(sum(steps), Unit::Time));
        let count = strategy.result.reloads.len();
        let names = [format!("{about} · reload {round}, n = {count}"), format!("{about}, n = {count}")];
        svg.name((MARGIN, top + 16.0), &names);
        let mut since = 0.0;
        for (name, duration_ms) in steps {
            let (left, right) = (axis.at(since), axis.at(since + duration_ms));
            since += duration_ms;
            let index = summary.step_names.iter().position(|it| it == name).unwrap_or(0);
            let time = show(*duration_ms, Unit::Time);
            let size = ((right - left).max(0.3), BAR_HEIGHT);
            svg.step(index, (left, top + BAR_Y), size, &format!("{name} {time}"));
            let text = [format!("{name} {time}"), (*name).to_owned()]
                .into_iter()
                .find(|text| text.chars().count() as f64 * CHARACTER_WIDTH + 8.0 < right - left);
            if let Some(text) = text {
                svg.label("inside", Anchor::Middle, (f64::midpoint(left, right), top + BAR_Y + 16.5), &text);
            }
        }
    }
    Some(svg.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn timeline_is_as_long_as_the_steps() {
        let report = sample::single();
        let summary = Summary::new(&report);
        let svg = timeline(&summary, &[], "t", "wide", 720.0).unwrap().into_string();
        assert_eq!(svg.matches("class=\"step\"").count(), report.strategies[0].reloads[0].steps.len());
        let without = timeline(&summary, &["build"], "t", "wide", 720.0).unwrap().into_string();
        assert_eq!(
            without.matches("class=\"step\"").count(),
            report.strategies[0].reloads[0].steps.len() - 1
        );
    }

    #[test]
    fn nothing_measured_is_no_plot() {
        assert!(timeline(&Summary::new(&sample::empty()), &[], "t", "wide", 720.0).is_none());
    }
}
