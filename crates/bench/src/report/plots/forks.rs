//! What a fork costs as more is loaded.

use std::fmt::Write as _;

use maud::Markup;

use super::axis::Plane;
use super::look::{FIRST_ANSWER, FORK_CALL, Look, PAGE_FAULTS};
use crate::model::ForkCost;
use crate::report::figures::{Unit, show_estimate};
use crate::report::statistics;

/// Fork times by number of loaded crates.
pub(in super::super) fn fork_time(costs: &[ForkCost], id: &str) -> Option<Markup> {
    let series: [Series; 2] = [
        (FIRST_ANSWER, "first answer", &|cost| cost.samples.iter().map(|it| it.answer_ms).collect()),
        (FORK_CALL, "fork", &|cost| cost.samples.iter().map(|it| it.fork_ms).collect()),
    ];
    by_crates(costs, id, "Time of a fork", (Unit::Time, "ms"), &series)
}

/// A child's page faults until its first answer, by number of loaded crates.
pub(in super::super) fn fork_faults(costs: &[ForkCost], id: &str) -> Option<Markup> {
    let series: [Series; 1] = [(PAGE_FAULTS, "page faults", &|cost| {
        cost.samples.iter().map(|it| it.page_fault_count as f64).collect()
    })];
    by_crates(costs, id, "Page faults of a forked child", (Unit::Count, "page faults"), &series)
}

/// Its look, name, and samples.
type Series<'a> = (Look, &'a str, &'a dyn Fn(&ForkCost) -> Vec<f64>);

fn by_crates(
    costs: &[ForkCost],
    id: &str,
    title: &str,
    (unit, unit_name): (Unit, &str),
    series: &[Series],
) -> Option<Markup> {
    let most = series.iter().flat_map(|it| costs.iter().flat_map(it.2)).filter(|it| it.is_finite());
    let most = most.fold(0.0, f64::max);
    let crates = costs.iter().map(|it| f64::from(it.crate_count)).fold(0.0, f64::max);
    let mut description = String::new();
    for (cost, (_, name, of)) in costs.iter().flat_map(|cost| series.iter().map(move |it| (cost, it))) {
        let Some(estimate) = statistics::median(&of(cost)) else { continue };
        let (value, interval) = show_estimate(&estimate, unit);
        let count = estimate.count;
        let _ =
            write!(description, "{} crates, {name}: {value} [{interval}], n = {count}. ", cost.crate_count);
    }
    let plane =
        Plane::new(id, title, description.trim_end(), (crates, most), ("crates preloaded", unit_name))?;
    let Plane { mut svg, x, y } = plane;
    for (look, name, of) in series {
        let mut medians = Vec::new();
        for cost in costs {
            let px = x.at(f64::from(cost.crate_count));
            for (place, sample) in of(cost).into_iter().enumerate().filter(|it| it.1.is_finite()) {
                // Side by side, so that each is visible.
                let px = px + [0.0, -4.0, 4.0, -8.0, 8.0][place % 5];
                svg.dot(look.index, (px, y.at(sample)));
            }
            let Some(estimate) = statistics::median(&of(cost)) else { continue };
            if let Some((low, high)) = estimate.interval {
                svg.line("median", (px, y.at(low)), (px, y.at(high)));
            }
            medians.push((px, y.at(estimate.value), show_estimate(&estimate, unit).0));
        }
        let way: Vec<(f64, f64)> = medians.iter().map(|(px, py, _)| (*px, *py)).collect();
        svg.path(*look, &way);
        for (px, py, value) in &medians {
            svg.marker(look.index, (*px, *py), 4.5, &format!("{name}, median: {value}"));
        }
    }
    Some(svg.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn each_sample_has_a_dot() {
        let costs = sample::full().fork_costs;
        let samples: usize = costs.iter().map(|it| it.samples.len()).sum();
        let dots = |svg: Option<Markup>| svg.unwrap().into_string().matches("<circle").count();
        assert_eq!(dots(fork_time(&costs, "f")), 2 * samples);
        assert_eq!(dots(fork_faults(&costs, "f")), samples);
        assert!(fork_time(&[], "f").is_none());
    }
}
