//! The plots, as SVG elements for the page. Each is drawn for a given width in units of about a pixel, and its caller shows the
//! one that fits the screen. What is told by colour is told by a marker, a pattern or a label as well. All text is escaped here.
//!
//! An axis starts at zero: lengths can be compared by eye.

use std::fmt::Write as _;

use super::figures::{Unit, show, show_estimate};
use super::statistics::{self, Estimate};
use super::summary::{MemoryKind, StrategySummary, Summary, memory_points, steps_of};
use crate::model::{ForkCost, Strategy};
use devhost_front::escape;

/// How wide a plot is that has the width of a screen to itself.
pub(super) const WIDTH_WIDE: f64 = 720.0;
/// How wide one is on a phone.
pub(super) const WIDTH_NARROW: f64 = 340.0;
/// How wide one is that stands beside others.
const WIDTH_PANEL: f64 = 290.0;
/// Room beside the marks, for halves of labels.
const MARGIN: f64 = 14.0;
const AXIS_HEIGHT: f64 = 40.0;
/// How wide a character is, on the average, in the size that plots have.
const CHARACTER_WIDTH: f64 = 6.4;
/// How many patterns the stylesheet has colours for.
const STEP_COLOUR_COUNT: usize = 10;

/// What is drawn of a fork: its colour and marker, and its name.
const FIRST_ANSWER: (usize, &str) = (0, "first answer");
const FORK_CALL: (usize, &str) = (1, "fork");
const PAGE_FAULTS: (usize, &str) = (2, "page faults");

/// What is drawn differently for each strategy: a colour of the stylesheet, a marker and a dash pattern.
fn look(strategy: Strategy) -> (usize, &'static str) {
    const DASHES: [&str; 5] = ["", "6 3", "2 3", "8 3 2 3", "12 4"];
    let index = strategy as usize;
    (index, DASHES[index % DASHES.len()])
}

/// An SVG element, begun with its title and description for those who do not see it.
struct Svg {
    text: String,
}

impl Svg {
    fn new(id: &str, class: &str, width: f64, height: f64, title: &str, description: &str) -> Self {
        let text = format!(
            "<svg class=\"plot {class}\" viewBox=\"0 0 {} {}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">\
             <title id=\"{id}-title\">{}</title><desc id=\"{id}-desc\">{}</desc>\n",
            place(width),
            place(height),
            escape(title),
            escape(description)
        );
        Self { text }
    }

    fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(place);
        let _ =
            writeln!(self.text, "<line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>");
    }

    fn rect(&mut self, class: &str, x: f64, y: f64, width: f64, height: f64) {
        let [x, y, width, height] = [x, y, width, height].map(place);
        let _ = writeln!(
            self.text,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>"
        );
    }

    /// `anchor`: `start`, `middle` or `end`.
    fn label(&mut self, class: &str, anchor: &str, x: f64, y: f64, text: &str) {
        let [x, y] = [x, y].map(place);
        let text = escape(text);
        let _ = writeln!(
            self.text,
            "<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{x}\" y=\"{y}\">{text}</text>"
        );
    }

    fn path(&mut self, class: &str, dash: &str, points: &[(f64, f64)]) {
        let mut way = String::new();
        for (index, (x, y)) in points.iter().enumerate() {
            let _ = write!(way, "{}{} {}", if index == 0 { "M" } else { "L" }, place(*x), place(*y));
        }
        let _ = writeln!(self.text, "<path class=\"{class}\" stroke-dasharray=\"{dash}\" d=\"{way}\"/>");
    }

    fn marker(&mut self, index: usize, x: f64, y: f64, radius: f64, note: &str) {
        let _ = writeln!(
            self.text,
            "<path class=\"mark line-{index}\" d=\"{}\"><title>{}</title></path>",
            marker(index, x, y, radius),
            escape(note)
        );
    }

    fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }
}

/// A shape for each index, all of about the same weight.
fn marker(index: usize, x: f64, y: f64, radius: f64) -> String {
    let corners = |corners: &[(f64, f64)]| {
        let mut way = String::new();
        for (index, (dx, dy)) in corners.iter().enumerate() {
            let (x, y) = (place(x + dx * radius), place(y + dy * radius));
            let _ = write!(way, "{}{x} {y}", if index == 0 { "M" } else { "L" });
        }
        way + "Z"
    };
    match index {
        // A square that stands on its corner, triangles, a square, crosses.
        0 => corners(&[(0.0, -1.2), (1.2, 0.0), (0.0, 1.2), (-1.2, 0.0)]),
        1 => {
            let (left, top, r) = (place(x - radius), place(y), place(radius));
            format!("M{left} {top}a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0 -{d} 0Z", d = place(radius * 2.0))
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

/// A strategy's marker and line, for a legend.
pub(super) fn strategy_swatch(strategy: Strategy) -> String {
    let (index, dash) = look(strategy);
    line_swatch(index, dash)
}

/// What is drawn of a fork, with its marker and line, for a legend.
pub(super) fn fork_swatches() -> [(String, &'static str); 3] {
    [FIRST_ANSWER, FORK_CALL, PAGE_FAULTS].map(|(index, name)| (line_swatch(index, ""), name))
}

fn line_swatch(index: usize, dash: &str) -> String {
    format!(
        "<svg class=\"swatch\" viewBox=\"0 0 36 16\" aria-hidden=\"true\"><path class=\"way line-{index}\" \
         stroke-dasharray=\"{dash}\" d=\"M1 8L35 8\"/><path class=\"mark line-{index}\" d=\"{}\"/></svg>",
        marker(index, 18.0, 8.0, 5.0)
    )
}

/// A step's pattern, for a legend.
pub(super) fn step_swatch(index: usize) -> String {
    format!(
        "<svg class=\"swatch\" viewBox=\"0 0 36 16\" aria-hidden=\"true\"><rect class=\"step\" fill=\"url(#{})\" x=\"1\" \
         y=\"1\" width=\"34\" height=\"14\"/></svg>",
        pattern_id(index)
    )
}

/// The patterns that steps are filled with. Stands once in a page, before the plots.
pub(super) fn patterns(count: usize) -> String {
    let mut out = "<svg class=\"patterns\" width=\"0\" height=\"0\" aria-hidden=\"true\"><defs>\n".to_owned();
    for index in 0..count {
        // What is drawn on an eight by eight tile.
        let strokes = match index % STEP_COLOUR_COUNT {
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
        };
        let _ = writeln!(
            out,
            "<pattern id=\"{}\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\"><rect class=\"fill-{}\" width=\"8\" \
             height=\"8\"/><path class=\"hatch\" d=\"{strokes}\"/></pattern>",
            pattern_id(index),
            index % STEP_COLOUR_COUNT
        );
    }
    out + "</defs></svg>\n"
}

fn pattern_id(index: usize) -> String {
    format!("step-{index}")
}

/// All totals of each strategy as points, with a box for the middle half, the median, and its interval.
pub(super) fn distribution(summary: &Summary, id: &str, class: &str, width: f64) -> Option<String> {
    const ROW_HEIGHT: f64 = 62.0;
    const STRIP_Y: f64 = 38.0;
    /// Points beside each other are moved up or down, so that each is seen.
    const OFFSETS: [f64; 5] = [0.0, -6.0, 5.0, -3.0, 8.0];
    let measured: Vec<&StrategySummary> = summary.strategies.iter().filter(|it| it.total.is_some()).collect();
    let totals = |it: &StrategySummary| -> Vec<f64> {
        it.result.reloads.iter().map(|reload| reload.total_ms).filter(|total| total.is_finite()).collect()
    };
    let most = measured.iter().flat_map(|it| totals(it)).fold(0.0, f64::max);
    let axis = Axis::new(most, MARGIN, width - MARGIN)?;
    let height = measured.len() as f64 * ROW_HEIGHT + AXIS_HEIGHT;
    let description = measured.iter().map(|it| described(it)).collect::<Vec<_>>().join(" ");
    let mut svg = Svg::new(id, class, width, height, "Distribution of reload times", &description);
    axis.draw_below(&mut svg, 0.0, height - AXIS_HEIGHT, "ms from the save to the first response");
    for (row, strategy) in measured.iter().enumerate() {
        let top = row as f64 * ROW_HEIGHT;
        let middle = top + STRIP_Y;
        let (index, _) = look(strategy.result.strategy);
        svg.label("name", "start", MARGIN, top + 16.0, &labelled(strategy));
        let totals = totals(strategy);
        if let Some(box_of) = statistics::quartiles(&totals) {
            let (left, right) = (axis.at(box_of.lower), axis.at(box_of.upper));
            svg.rect(&format!("box line-{index}"), left, middle - 10.0, (right - left).max(0.5), 20.0);
        }
        for (place, reload) in strategy.result.reloads.iter().enumerate() {
            if !reload.total_ms.is_finite() {
                continue;
            }
            let note = format!("reload {}: {}", reload.round, show(reload.total_ms, Unit::Time));
            let y = middle + OFFSETS[place % OFFSETS.len()];
            svg.marker(index, axis.at(reload.total_ms), y, 3.2, &note);
        }
        if let Some(Estimate { value, interval, .. }) = strategy.total {
            svg.line("median", (axis.at(value), middle - 13.0), (axis.at(value), middle + 13.0));
            if let Some((low, high)) = interval {
                interval_bar(&mut svg, (axis.at(low), middle + 16.0), (axis.at(high), middle + 16.0));
            }
        }
    }
    Some(svg.finish())
}

/// A strategy, the round and the whole time of one of its reloads, and the steps that are drawn.
type Row<'a> = (&'a StrategySummary<'a>, u32, f64, Vec<(&'a str, f64)>);

/// The steps of the reload of each strategy that is nearest its median, one after another. `skipped` are steps that are left
/// out, so that small ones can be seen.
pub(super) fn timeline(
    summary: &Summary,
    skipped: &[&str],
    id: &str,
    class: &str,
    width: f64,
) -> Option<String> {
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
    let mut svg = Svg::new(id, class, width, height, title, description.trim_end());
    axis.draw_below(&mut svg, 0.0, height - AXIS_HEIGHT, "ms");
    for (row, (strategy, round, _, steps)) in rows.iter().enumerate() {
        let top = row as f64 * ROW_HEIGHT;
        let name = format!(
            "{} · {} · reload {round}, n = {}",
            strategy.name(),
            show(sum(steps), Unit::Time),
            strategy.result.reloads.len()
        );
        svg.label("name", "start", MARGIN, top + 16.0, &name);
        let mut since = 0.0;
        for (name, duration_ms) in steps {
            let (left, right) = (axis.at(since), axis.at(since + duration_ms));
            since += duration_ms;
            let index = summary.step_names.iter().position(|it| it == name).unwrap_or(0);
            let time = show(*duration_ms, Unit::Time);
            let [x, y, w, h] = [left, top + BAR_Y, (right - left).max(0.3), BAR_HEIGHT].map(place);
            let _ = writeln!(
                svg.text,
                "<rect class=\"step\" fill=\"url(#{})\" x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\"><title>{} \
                 {time}</title></rect>",
                pattern_id(index),
                escape(name)
            );
            let text = [format!("{name} {time}"), (*name).to_owned()]
                .into_iter()
                .find(|text| text.chars().count() as f64 * CHARACTER_WIDTH + 8.0 < right - left);
            if let Some(text) = text {
                svg.label("inside", "middle", f64::midpoint(left, right), top + BAR_Y + 16.5, &text);
            }
        }
    }
    Some(svg.finish())
}

/// One kind of memory of each strategy's process, reload after reload.
pub(super) fn memory(summary: &Summary, kind: MemoryKind, id: &str) -> Option<String> {
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
    let plane = Plane::new(id, &title, description.trim_end(), last_round, most, "reload", "MiB")?;
    let Plane { mut svg, x, y } = plane;
    for (strategy, points) in &series {
        let (index, dash) = look(strategy.result.strategy);
        let places: Vec<(f64, f64)> =
            points.iter().map(|(round, bytes)| (x.at(*round), y.at(bytes / MIB))).collect();
        svg.path(&format!("way line-{index}"), dash, &places);
        for ((px, py), (round, bytes)) in places.iter().zip(points) {
            let note = format!("{}, reload {round}: {}", strategy.name(), show(*bytes, Unit::Size));
            svg.marker(index, *px, *py, 3.0, &note);
        }
    }
    Some(svg.finish())
}

/// How long a fork takes, by the number of crates that are loaded.
pub(super) fn fork_time(costs: &[ForkCost], id: &str) -> Option<String> {
    let series: [Series; 2] = [
        (FIRST_ANSWER.0, FIRST_ANSWER.1, &|cost| cost.samples.iter().map(|it| it.answer_ms).collect()),
        (FORK_CALL.0, FORK_CALL.1, &|cost| cost.samples.iter().map(|it| it.fork_ms).collect()),
    ];
    by_crates(costs, id, "Time of a fork", "ms", &series, Unit::Time)
}

/// How many page faults a child has until its first answer, by the number of crates that are loaded.
pub(super) fn fork_faults(costs: &[ForkCost], id: &str) -> Option<String> {
    let series: [Series; 1] = [(PAGE_FAULTS.0, PAGE_FAULTS.1, &|cost| {
        cost.samples.iter().map(|it| it.page_fault_count as f64).collect()
    })];
    by_crates(costs, id, "Page faults of a forked child", "page faults", &series, Unit::Count)
}

/// Its colour and marker, its name, and its samples.
type Series<'a> = (usize, &'a str, &'a dyn Fn(&ForkCost) -> Vec<f64>);

fn by_crates(
    costs: &[ForkCost],
    id: &str,
    title: &str,
    unit_name: &str,
    series: &[Series],
    unit: Unit,
) -> Option<String> {
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
    let plane = Plane::new(id, title, description.trim_end(), crates, most, "crates preloaded", unit_name)?;
    let Plane { mut svg, x, y } = plane;
    for (index, name, of) in series {
        let mut medians = Vec::new();
        for cost in costs {
            let px = x.at(f64::from(cost.crate_count));
            for (place_in_row, sample) in of(cost).into_iter().enumerate().filter(|it| it.1.is_finite()) {
                // Beside each other, so that each is seen.
                let px = px + [0.0, -4.0, 4.0, -8.0, 8.0][place_in_row % 5];
                let [cx, cy] = [px, y.at(sample)].map(place);
                let _ = writeln!(
                    svg.text,
                    "<circle class=\"sample line-{index}\" cx=\"{cx}\" cy=\"{cy}\" r=\"1.6\"/>"
                );
            }
            let Some(estimate) = statistics::median(&of(cost)) else { continue };
            if let Some((low, high)) = estimate.interval {
                svg.line("median", (px, y.at(low)), (px, y.at(high)));
            }
            medians.push((px, y.at(estimate.value), show_estimate(&estimate, unit).0));
        }
        let way: Vec<(f64, f64)> = medians.iter().map(|(px, py, _)| (*px, *py)).collect();
        svg.path(&format!("way line-{index}"), "", &way);
        for (px, py, value) in &medians {
            svg.marker(*index, *px, *py, 4.5, &format!("{name}, median: {value}"));
        }
    }
    Some(svg.finish())
}

/// Two axes, and what is drawn between them.
struct Plane {
    svg: Svg,
    x: Axis,
    y: Axis,
}

impl Plane {
    fn new(
        id: &str,
        title: &str,
        description: &str,
        most_x: f64,
        most_y: f64,
        name_x: &str,
        name_y: &str,
    ) -> Option<Self> {
        const HEIGHT: f64 = 250.0;
        const LEFT: f64 = 46.0;
        const TOP: f64 = 26.0;
        let x = Axis::new(most_x, LEFT, WIDTH_PANEL - MARGIN)?;
        let y = Axis::new(most_y, HEIGHT - AXIS_HEIGHT, TOP)?;
        let mut svg = Svg::new(id, "panel", WIDTH_PANEL, HEIGHT, title, description);
        svg.label("axis", "start", 4.0, 13.0, name_y);
        for tick in y.ticks() {
            svg.line("grid", (LEFT, y.at(tick)), (WIDTH_PANEL - MARGIN, y.at(tick)));
            svg.label("axis", "end", LEFT - 6.0, y.at(tick) + 4.0, &y.write(tick));
        }
        x.draw_below(&mut svg, TOP, HEIGHT - AXIS_HEIGHT, name_x);
        Some(Self { svg, x, y })
    }
}

/// From zero to a round number, between two places.
#[derive(Debug)]
struct Axis {
    step: f64,
    tick_count: usize,
    from: f64,
    to: f64,
}

impl Axis {
    /// None where there is nothing that could be shown.
    fn new(most: f64, from: f64, to: f64) -> Option<Self> {
        /// Room for a label beside each other.
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

    fn at(&self, value: f64) -> f64 {
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

    fn draw_below(&self, svg: &mut Svg, top: f64, bottom: f64, name: &str) {
        for tick in self.ticks() {
            svg.line("grid", (self.at(tick), top), (self.at(tick), bottom));
            svg.label("axis", "middle", self.at(tick), bottom + 15.0, &self.write(tick));
        }
        svg.line("base", (self.from, bottom), (self.to, bottom));
        svg.label("axis", "middle", f64::midpoint(self.from, self.to), bottom + 33.0, name);
    }
}

fn interval_bar(svg: &mut Svg, from: (f64, f64), to: (f64, f64)) {
    svg.line("interval", from, to);
    for (x, y) in [from, to] {
        svg.line("interval", (x, y - 3.0), (x, y + 3.0));
    }
}

/// `fork · 712 ms [690–732], n = 12`.
fn labelled(strategy: &StrategySummary) -> String {
    let Some(total) = &strategy.total else { return strategy.name() };
    let (value, interval) = show_estimate(total, Unit::Time);
    let interval = if interval.is_empty() { String::new() } else { format!(" [{interval}]") };
    format!("{} · {value}{interval}, n = {}", strategy.name(), total.count)
}

fn described(strategy: &StrategySummary) -> String {
    format!("{}.", labelled(strategy).replace(" · ", ": median "))
}

/// A coordinate, as short as it can be without being seen.
fn place(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::super::sample;
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

    #[test]
    fn distribution_has_a_mark_for_each_reload() {
        let report = sample::full();
        let svg = distribution(&Summary::new(&report), "d", "wide", WIDTH_WIDE).unwrap();
        let reloads: usize = report.strategies.iter().map(|it| it.reloads.len()).sum();
        assert_eq!(svg.matches("class=\"mark ").count(), reloads);
        let measured = report.strategies.iter().filter(|it| !it.reloads.is_empty()).count();
        assert_eq!(svg.matches("class=\"median\"").count(), measured);
    }

    #[test]
    fn timeline_is_as_long_as_the_steps() {
        let report = sample::single();
        let summary = Summary::new(&report);
        let svg = timeline(&summary, &[], "t", "wide", WIDTH_WIDE).unwrap();
        assert_eq!(svg.matches("class=\"step\"").count(), report.strategies[0].reloads[0].steps.len());
        let without = timeline(&summary, &["build"], "t", "wide", WIDTH_WIDE).unwrap();
        assert_eq!(
            without.matches("class=\"step\"").count(),
            report.strategies[0].reloads[0].steps.len() - 1
        );
    }

    #[test]
    fn memory_and_fork_costs_have_a_mark_for_each_sample() {
        let report = sample::full();
        let summary = Summary::new(&report);
        let looks =
            report.strategies.iter().flat_map(|it| &it.reloads).filter(|it| it.memory.is_some()).count();
        for kind in MemoryKind::ALL {
            assert_eq!(memory(&summary, kind, "m").unwrap().matches("class=\"mark ").count(), looks);
        }
        let samples: usize = report.fork_costs.iter().map(|it| it.samples.len()).sum();
        assert_eq!(fork_time(&report.fork_costs, "f").unwrap().matches("<circle").count(), 2 * samples);
        assert_eq!(fork_faults(&report.fork_costs, "f").unwrap().matches("<circle").count(), samples);
    }

    #[test]
    fn nothing_measured_is_no_plot() {
        let report = sample::empty();
        let summary = Summary::new(&report);
        assert!(distribution(&summary, "d", "wide", WIDTH_WIDE).is_none());
        assert!(timeline(&summary, &[], "t", "wide", WIDTH_WIDE).is_none());
        assert!(memory(&summary, MemoryKind::Rss, "m").is_none());
        assert!(fork_time(&[], "f").is_none());
    }

    #[test]
    fn strategies_differ_without_colour() {
        let count = Strategy::value_variants().len();
        let markers: std::collections::BTreeSet<String> =
            (0..count).map(|index| marker(index, 0.0, 0.0, 5.0)).collect();
        assert_eq!(markers.len(), count);
        let css = include_str!("report.css");
        assert!(css.contains(&format!(".line-{} ", count - 1)));
    }
}
