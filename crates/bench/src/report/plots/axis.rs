//! Axes. Each starts at zero, so that lengths can be compared by eye.

use super::canvas::{Anchor, Canvas};

/// The width of a plot next to others.
const WIDTH_PANEL: f64 = 290.0;
/// Room beside the marks, for halves of labels.
pub(super) const MARGIN: f64 = 14.0;
/// Room below the marks, for an axis.
pub(super) const AXIS_HEIGHT: f64 = 40.0;

/// Two axes and the drawing between them.
pub(super) struct Plane {
    pub svg: Canvas,
    /// From left to right.
    pub x: Axis,
    /// From bottom to top.
    pub y: Axis,
}

impl Plane {
    /// Draws the axes. Returns `None` if there is nothing to show.
    pub(super) fn new(
        id: &str,
        title: &str,
        description: &str,
        (most_x, most_y): (f64, f64),
        (name_x, name_y): (&str, &str),
    ) -> Option<Self> {
        const HEIGHT: f64 = 250.0;
        const LEFT: f64 = 46.0;
        const TOP: f64 = 26.0;
        let x = Axis::new(most_x, LEFT, WIDTH_PANEL - MARGIN)?;
        let y = Axis::new(most_y, HEIGHT - AXIS_HEIGHT, TOP)?;
        let mut svg = Canvas::new(id, "panel", (WIDTH_PANEL, HEIGHT), title, description);
        svg.label("axis", Anchor::Start, (4.0, 13.0), name_y);
        for tick in y.ticks() {
            svg.line("grid", (LEFT, y.at(tick)), (WIDTH_PANEL - MARGIN, y.at(tick)));
            svg.label("axis", Anchor::End, (LEFT - 6.0, y.at(tick) + 4.0), &y.write(tick));
        }
        x.draw_below(&mut svg, TOP, HEIGHT - AXIS_HEIGHT, name_x);
        Some(Self { svg, x, y })
    }
}

/// An axis from zero to a round number, between two positions.
#[derive(Debug)]
pub(super) struct Axis {
    step: f64,
    tick_count: usize,
    from: f64,
    to: f64,
}

impl Axis {
    /// Returns `None` if there is nothing to show.
    pub(super) fn new(most: f64, from: f64, to: f64) -> Option<Self> {
        /// Room for adjacent labels.
        const TICK_DISTANCE: f64 = 54.0;
        if !(most.is_finite() && most > 0.0) {
            return None;
        }
        let wanted = ((to - from).abs() / TICK_DISTANCE).floor().max(2.0);
        let rough = most / wanted;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|factor| factor * power)
            .into_iter()
            .find(|step| *step >= rough * 0.999);
        let step = step.unwrap_or(rough);
        Some(Self { step, tick_count: (most / step).ceil().max(1.0) as usize, from, to })
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        self.from + (self.to - self.from) * value / (self.step * self.tick_count as f64)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let step = self.step;
        (0..=self.tick_count).map(move |index| index as f64 * step)
    }

    fn write(&self, tick: f64) -> String {
        let digits = (-self.step.log10().floor()).max(0.0) as usize;
        format!("{tick:.digits$}")
    }

    /// Draws it below a plot, with a grid from `top` down.
    pub(super) fn draw_below(&self, svg: &mut Canvas, top: f64, bottom: f64, name: &str) {
        for tick in self.ticks() {
            svg.line("grid", (self.at(tick), top), (self.at(tick), bottom));
            svg.label("axis", Anchor::Middle, (self.at(tick), bottom + 15.0), &self.write(tick));
        }
        svg.line("base", (self.from, bottom), (self.to, bottom));
        svg.label("axis", Anchor::Middle, (f64::midpoint(self.from, self.to), bottom + 33.0), name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axis_ends_at_a_round_number_that_holds_all() {
        for most in [0.0031, 0.7, 1.0, 7.0, 99.9, 713.0, 2_500.0, 61_000.0] {
            let axis = Axis::new(most, 0.0, 300.0).unwrap();
            let ticks: Vec<f64> = axis.ticks().collect();
            assert!((3..=8).contains(&ticks.len()), "{most}: {ticks:?}");
            assert!(*ticks.last().unwrap() >= most * 0.999, "{most}: {ticks:?}");
            assert!(axis.at(most) <= 300.1 && axis.at(most) > 120.0, "{most}: {ticks:?}");
        }
        for most in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Axis::new(most, 0.0, 300.0).is_none());
        }
    }
}
