//! Memory over reloads.

use std::fmt::Write as _;

use maud::Markup;

use super::axis::Plane;
use super::look;
use crate::report::figures::{Unit, show, show_estimate};
use crate::report::summary::{MemoryKind, StrategySummary, Summary, memory_points};

/// One kind of memory of each strategy's process over its reloads.
pub(in super::super) fn memory(summary: &Summary, kind: MemoryKind, id: &str) -> Option<Markup> {
    const MIB: f64 = 1024.0 * 1024.0;
    let series: Vec<(&StrategySummary, Vec<(f64, f64)>)> = summary
        .strategies
        .iter()
        .map(|it| (it, memory_points(it.result, kind)))
        .filter(|(_, points)| !points.is_empty())
        .collect();
    let (mut last_round, mut most) = (0.0_f64, 0.0_f64);
    for (round, bytes) in series.iter().flat_map(|it| &it.1) {
        last_round = last_round.max(*round);
        most = most.max(bytes / MIB);
    }
    let mut description = String::new();
    for (strategy, points) in &series {
        let growth =
            MemoryKind::ALL.iter().position(|it| *it == kind).and_then(|it| strategy.growth[it].as_ref());
        let growth = growth.map_or_else(String::new, |growth| {
            let (value, interval) = show_estimate(growth, Unit::Growth);
            format!(", {value} [{interval}] with each reload, n = {}", growth.count)
        });
        let last = points.last().map_or(0.0, |point| point.1);
        let _ = write!(description, "{}: {} at the end{growth}. ", strategy.name(), show(last, Unit::Size));
    }
    let title = format!("{} after each reload", kind.title());
    let plane = Plane::new(id, &title, description.trim_end(), (last_round, most), ("reload", "MiB"))?;
    let Plane { mut svg, x, y } = plane;
    for (strategy, points) in &series {
        let look = look::of_strategy(strategy.result.strategy);
        let places: Vec<(f64, f64)> =
            points.iter().map(|(round, bytes)| (x.at(*round), y.at(bytes / MIB))).collect();
        svg.path(look, &places);
        for ((px, py), (round, bytes)) in places.iter().zip(points) {
            let note = format!("{}, reload {round}: {}", strategy.name(), show(*bytes, Unit::Size));
            svg.marker(look.index, (*px, *py), 3.0, &note);
        }
    }
    Some(svg.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn each_sample_has_a_mark() {
        let report = sample::full();
        let summary = Summary::new(&report);
        let looks =
            report.strategies.iter().flat_map(|it| &it.reloads).filter(|it| it.memory.is_some()).count();
        for kind in MemoryKind::ALL {
            let svg = memory(&summary, kind, "m").unwrap().into_string();
            assert_eq!(svg.matches("class=\"mark ").count(), looks);
        }
        assert!(memory(&Summary::new(&sample::empty()), MemoryKind::Rss, "m").is_none());
    }
}
