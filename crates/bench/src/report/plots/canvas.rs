//! An SVG that grows element by element.

use maud::{Markup, html};

use super::coordinate::coordinate;
use super::look::{self, Look};

/// The width of a name's character, at most and on average.
const NAME_CHARACTER_WIDTH: f64 = 7.3;

/// An SVG element, with a title and description for screen readers.
pub(super) struct Canvas {
    id: String,
    class: &'static str,
    width: f64,
    height: f64,
    title: String,
    description: String,
    elements: Vec<Markup>,
}

/// Which end of a label is at its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

impl Canvas {
    pub(super) fn new(
        id: &str,
        class: &'static str,
        (width, height): (f64, f64),
        title: &str,
        description: &str,
    ) -> Self {
        Self {
            id: id.to_owned(),
            class,
            width,
            height,
            title: title.to_owned(),
            description: description.to_owned(),
            elements: Vec::new(),
        }
    }

    pub(super) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(coordinate);
        self.elements.push(html! { line class=(class) x1=(x1) y1=(y1) x2=(x2) y2=(y2) {} });
    }

    /// Draws a line with a short stroke at either end.
    pub(super) fn interval(&mut self, from: (f64, f64), to: (f64, f64)) {
        self.line("interval", from, to);
        for (x, y) in [from, to] {
            self.line("interval", (x, y - 3.0), (x, y + 3.0));
        }
    }

    pub(super) fn rect(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) {
        let [x, y, width, height] = [x, y, width, height].map(coordinate);
        self.elements.push(html! { rect class=(class) x=(x) y=(y) width=(width) height=(height) {} });
    }

    /// Draws a step: a patterned rectangle with a tooltip.
    pub(super) fn step(&mut self, index: usize, (x, y): (f64, f64), (width, height): (f64, f64), note: &str) {
        let [x, y, width, height] = [x, y, width, height].map(coordinate);
        let fill = look::fill(index);
        self.elements.push(html! {
            rect class="step" fill=(fill) x=(x) y=(y) width=(width) height=(height) { title { (note) } }
        });
    }

    pub(super) fn label(&mut self, class: &str, anchor: Anchor, (x, y): (f64, f64), text: &str) {
        let [x, y] = [x, y].map(coordinate);
        self.elements.push(html! { text class=(class) text-anchor=(anchor.name()) x=(x) y=(y) { (text) } });
    }

    /// Writes the first of the texts that fits between margins of `x`, or the last.
    pub(super) fn name(&mut self, (x, y): (f64, f64), texts: &[String]) {
        let room = self.width - 2.0 * x;
        let fits = |text: &&String| text.chars().count() as f64 * NAME_CHARACTER_WIDTH <= room;
        if let Some(text) = texts.iter().find(fits).or(texts.last()) {
            self.label("name", Anchor::Start, (x, y), text);
        }
    }

    pub(super) fn path(&mut self, look: Look, points: &[(f64, f64)]) {
        let mut way = String::new();
        for (index, (x, y)) in points.iter().enumerate() {
            let command = if index == 0 { "M" } else { "L" };
            way.push_str(&format!("{command}{} {}", coordinate(*x), coordinate(*y)));
        }
        let class = format!("way line-{}", look.index);
        self.elements.push(html! { path class=(class) stroke-dasharray=(look.dash) d=(way) {} });
    }

    /// Draws a marker with a tooltip.
    pub(super) fn marker(&mut self, index: usize, (x, y): (f64, f64), radius: f64, note: &str) {
        let class = format!("mark line-{index}");
        self.elements
            .push(html! { path class=(class) d=(look::marker(index, x, y, radius)) { title { (note) } } });
    }

    pub(super) fn dot(&mut self, index: usize, (x, y): (f64, f64)) {
        let [x, y] = [x, y].map(coordinate);
        self.elements.push(html! { circle class={ "sample line-" (index) } cx=(x) cy=(y) r="1.6" {} });
    }

    pub(super) fn finish(self) -> Markup {
        let (title_id, description_id) = (format!("{}-title", self.id), format!("{}-desc", self.id));
        html! {
            svg class={ "plot " (self.class) } viewBox={ "0 0 " (coordinate(self.width)) " " (coordinate(self.height)) }
                role="img" aria-labelledby={ (title_id) " " (description_id) } {
                title id=(title_id) { (self.title) }
                desc id=(description_id) { (self.description) }
                @for element in &self.elements { (element) }
            }
        }
    }
}
