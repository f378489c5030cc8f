//! The parts of the page's sections: plots with captions, tables, and text with code in it.

use maud::{Markup, html};

use super::tables::{Cell, Table, Tone};

/// The width of a plot on a wide screen.
const WIDTH_WIDE: f64 = 720.0;
const WIDTH_NARROW: f64 = 340.0;

pub(super) fn section(id: &str, title: &str, content: &Markup) -> Markup {
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { (title) }
            (content)
        }
    }
}

/// A plot drawn twice, for wide and narrow screens; the stylesheet shows one of them.
pub(super) fn figure(
    id: &str,
    draw: impl Fn(&str, &'static str, f64) -> Option<Markup>,
    caption: &str,
    nothing: &str,
) -> Markup {
    let wide = draw(&format!("{id}-wide"), "wide", WIDTH_WIDE);
    let narrow = draw(&format!("{id}-narrow"), "narrow", WIDTH_NARROW);
    let Some((wide, narrow)) = wide.zip(narrow) else { return none(nothing) };
    html! {
        figure {
            (wide) (narrow)
            figcaption { (caption) }
        }
    }
}

/// Plots side by side, as many as fit.
pub(super) fn figures(panels: Vec<(&str, Option<Markup>)>, caption: &str, nothing: &str) -> Markup {
    let drawn: Vec<(&str, Markup)> =
        panels.into_iter().filter_map(|(name, svg)| Some((name, svg?))).collect();
    if drawn.is_empty() {
        return none(nothing);
    }
    html! {
        figure {
            div class="panels" {
                @for (name, svg) in &drawn {
                    div {
                        p class="panel-name" { (name) }
                        (svg)
                    }
                }
            }
            figcaption { (caption) }
        }
    }
}

/// The placeholder for an empty plot or table.
pub(super) fn none(text: &str) -> Markup {
    html! { p class="none" { (text) } }
}

/// A table. The number of samples is next to the name, so that a narrow screen shows it, too.
pub(super) fn table(table: &Table) -> Markup {
    let id = table.title.to_lowercase().replace(' ', "-");
    let about = format!("about-{id}");
    let last = table.head.len() - 1;
    let columns: Vec<usize> = match table.head[last].as_str() {
        "n" => [0, last].into_iter().chain(1..last).collect(),
        _ => (0..=last).collect(),
    };
    html! {
        p class="note" id=(about) { strong { (table.title) "." } " " (inline(&table.caption)) }
        // Scrolls by itself, also by keyboard.
        div class={ "scroll " (id) } role="region" aria-label=(table.title) tabindex="0" {
            table aria-label=(table.title) aria-describedby=(about) {
                thead {
                    tr {
                        @for column in &columns { th scope="col" { (table.head[*column]) } }
                    }
                }
                tbody {
                    @for row in &table.rows {
                        tr {
                            @for column in &columns {
                                @let content = &row[*column];
                                @if *column == 0 {
                                    th scope="row" class=(tone_class(content.tone)) { (cell(content)) }
                                } @else {
                                    td class=(tone_class(content.tone)) { (cell(content)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn cell(cell: &Cell) -> Markup {
    html! {
        span class="value" { (cell.text) }
        @if !cell.detail.is_empty() { small { (inline(&cell.detail)) } }
        @if let Some(count) = cell.count { small { "n = " (count) } }
    }
}

fn tone_class(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "plain",
        Tone::Faint => "faint",
        Tone::Good => "good",
        Tone::Doubtful => "doubtful",
        Tone::Bad => "bad",
    }
}

/// Text with code between backticks.
pub(super) fn inline(text: &str) -> Markup {
    let parts: Vec<&str> = text.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return html! { (text) };
    }
    html! {
        @for (index, part) in parts.iter().enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_stands_between_two_backticks() {
        assert_eq!(inline("run `a < b` now").into_string(), "run <code>a &lt; b</code> now");
        assert_eq!(inline("one ` alone").into_string(), "one ` alone");
    }
}
