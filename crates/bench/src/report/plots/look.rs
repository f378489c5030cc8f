//! The looks of strategies, forks and steps. Colour never stands alone: there is always a marker, a dash or a
//! pattern, too.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::coordinate::coordinate;
use crate::model::Strategy;

/// How many patterns the stylesheet has colours for.
const STEP_COLOUR_COUNT: usize = 10;

/// A line's look: its colour in the stylesheet, which implies its marker, and its dashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Look {
    /// The index of colour and marker.
    pub(super) index: usize,
    /// A `stroke-dasharray`.
    pub(super) dash: &'static str,
}

pub(in super::super) const FIRST_ANSWER: Look = Look { index: 0, dash: "" };
pub(in super::super) const FORK_CALL: Look = Look { index: 1, dash: "" };
pub(in super::super) const PAGE_FAULTS: Look = Look { index: 2, dash: "" };

pub(in super::super) fn of_strategy(strategy: Strategy) -> Look {
    const DASHES: [&str; 5] = ["", "6 3", "2 3", "8 3 2 3", "12 4"];
    let index = strategy as usize;
    Look { index, dash: DASHES[index % DASHES.len()] }
}

/// A shape for each index, all of similar weight.
pub(super) fn marker(index: usize, x: f64, y: f64, radius: f64) -> String {
    let corners = |corners: &[(f64, f64)]| {
        let mut way = String::new();
        for (index, (dx, dy)) in corners.iter().enumerate() {
            let (x, y) = (coordinate(x + dx * radius), coordinate(y + dy * radius));
            let _ = write!(way, "{}{x} {y}", if index == 0 { "M" } else { "L" });
        }
        way + "Z"
    };
    match index {
        // A diamond, a circle, triangles, a square, crosses.
        0 => corners(&[(0.0, -1.2), (1.2, 0.0), (0.0, 1.2), (-1.2, 0.0)]),
        1 => {
            let (left, top, r) = (coordinate(x - radius), coordinate(y), coordinate(radius));
            format!("M{left} {top}a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0 -{d} 0Z", d = coordinate(radius * 2.0))
        }
        2 => corners(&[(0.0, -1.1), (1.1, 0.9), (-1.1, 0.9)]),
        3 => corners(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
        4 => corners(&[(0.0, 1.1), (1.1, -0.9), (-1.1, -0.9)]),
        5 => corners(&[
            (-1.0, -1.0),
            (0.0, 0.0),
            (1.0, -1.0),
            (0.0, 0.0),
            (1.0, 1.0),
            (0.0, 0.0),
            (-1.0, 1.0),
            (0.0, 0.0),
        ]),
        6 => corners(&[
            (0.0, -1.2),
            (0.0, 0.0),
            (1.2, 0.0),
            (0.0, 0.0),
            (0.0, 1.2),
            (0.0, 0.0),
            (-1.2, 0.0),
            (0.0, 0.0),
        ]),
        7 => corners(&[(-1.1, 0.0), (0.9, -1.1), (0.9, 1.1)]),
        8 => corners(&[(1.1, 0.0), (-0.9, -1.1), (-0.9, 1.1)]),
        // An hourglass, upright and lying.
        9 => corners(&[(-1.0, -1.1), (1.0, -1.1), (-1.0, 1.1), (1.0, 1.1)]),
        _ => corners(&[(-1.1, -1.0), (-1.1, 1.0), (1.1, -1.0), (1.1, 1.0)]),
    }
}

/// A line with its marker, for a legend.
pub(in super::super) fn line_swatch(look: Look) -> Markup {
    html! {
        svg class="swatch" viewBox="0 0 36 16" aria-hidden="true" {
            path class={ "way line-" (look.index) } stroke-dasharray=(look.dash) d="M1 8L35 8" {}
            path class={ "mark line-" (look.index) } d=(marker(look.index, 18.0, 8.0, 5.0)) {}
        }
    }
}

/// A step's pattern, for a legend.
pub(in super::super) fn step_swatch(index: usize) -> Markup {
    html! {
        svg class="swatch" viewBox="0 0 36 16" aria-hidden="true" {
            rect class="step" fill=(fill(index)) x="1" y="1" width="34" height="14" {}
        }
    }
}

/// The steps' fill patterns. Must precede the plots, once per page.
pub(in super::super) fn patterns(count: usize) -> Markup {
    html! {
        svg class="patterns" width="0" height="0" aria-hidden="true" {
            defs {
                @for index in 0..count {
                    pattern id=(pattern_id(index)) width="8" height="8" patternUnits="userSpaceOnUse" {
                        rect class={ "fill-" (index % STEP_COLOUR_COUNT) } width="8" height="8" {}
                        path class="hatch" d=(hatch(index)) {}
                    }
                }
            }
        }
    }
}

pub(super) fn fill(index: usize) -> String {
    format!("url(#{})", pattern_id(index))
}

fn pattern_id(index: usize) -> String {
    format!("step-{index}")
}

/// The drawing on an eight by eight tile.
fn hatch(index: usize) -> &'static str {
    match index % STEP_COLOUR_COUNT {
        0 => "M0 4H8",
        1 => "",
        2 => "M4 0V8M0 4H8",
        3 => "M-1 1L1 -1M0 8L8 0M7 9L9 7",
        4 => "M-1 7L1 9M0 0L8 8M7 -1L9 1",
        5 => "M4 0V8",
        6 => "M2 4a2 2 0 1 0 4 0a2 2 0 1 0 -4 0",
        7 => "M0 0L8 8M8 0L0 8",
        8 => "M0 2H8M0 6H8",
        _ => "M2 0V8M6 0V8",
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn strategies_differ_without_colour() {
        let count = Strategy::value_variants().len();
        let markers: std::collections::BTreeSet<String> =
            (0..count).map(|index| marker(index, 0.0, 0.0, 5.0)).collect();
        assert_eq!(markers.len(), count);
        let css = include_str!("../report.css");
        assert!(css.contains(&format!(".line-{} ", count - 1)));
    }
}
