//! The report as one page that needs nothing but itself: no script, no font, no image from elsewhere, and a policy that forbids
//! them. All text that comes from an app, a tool or a machine is escaped.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use super::figures::{Unit, show};
use super::plots::{self, WIDTH_NARROW, WIDTH_WIDE};
use super::summary::{MemoryKind, Summary, description};
use super::tables::{self, Cell, Table, Tone};
use crate::model::Report;
use devhost_front::escape;

const STYLE: &str = include_str!("report.css");

/// Nothing but the page itself; inline styles alone, which the stylesheet is.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The page.
pub fn html(report: &Report) -> String {
    let summary = Summary::new(report);
    let mut out = String::new();
    head(&mut out, report);
    reloads(&mut out, &summary);
    steps(&mut out, &summary);
    memory(&mut out, &summary);
    fork_costs(&mut out, report);
    artifacts(&mut out, report);
    left_out(&mut out, &summary);
    how(&mut out, report);
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn head(out: &mut String, report: &Report) {
    let app = escape(&report.settings.app);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>Reloading {app}: devhost bench</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header>\n<p class=\"tag\">devhost bench · {date}</p>\n<h1>What it costs to reload {app}</h1>\n\
         <p class=\"lead\">{count} ways of getting new code to run, {rounds} reloads each, taking turns. {file} was \
         edited; {rate} requests a second were sent all the while.</p>\n",
        date = date(report.began_unix_s),
        count = report.strategies.len(),
        rounds = report.settings.reload_count,
        file = code(&report.settings.edited_file),
        rate = number(report.settings.requests_per_second),
    );
    for warning in tables::warnings(report) {
        let _ = writeln!(out, "<p class=\"warning\"><strong>!</strong> {}</p>", escape(&warning));
    }
    out.push_str("</header>\n");
}

fn reloads(out: &mut String, summary: &Summary) {
    section(out, "reloads", "From the save to the first response");
    figure(
        out,
        "distribution",
        |id, class, width| plots::distribution(summary, id, class, width),
        "Each mark is a reload. The box holds the middle half of them, the upright line is the median, and the bar below \
         it is the interval of the median.",
        "No reload was measured.",
    );
    if let Some(table) = tables::reloads(summary) {
        write_table(out, &table);
        let _ = writeln!(
            out,
            "<p class=\"note\">{}</p>",
            escape(&tables::interval_note(summary, "Below them, smaller"))
        );
    }
    for (name, why) in tables::failures(summary) {
        let _ = writeln!(
            out,
            "<p class=\"failure\"><strong>✗ {}</strong> was {}</p>",
            escape(&name),
            inline(&why)
        );
    }
    for (names, note) in tables::notes(summary) {
        let _ = writeln!(out, "<p class=\"note\"><strong>{}</strong>: {}</p>", escape(&names), inline(&note));
    }
    if !summary.strategies.is_empty() {
        out.push_str("<dl class=\"legend\">\n");
        for strategy in &summary.strategies {
            let which = strategy.result.strategy;
            let _ = writeln!(
                out,
                "<div><dt>{}{}</dt><dd>{}</dd></div>",
                plots::strategy_swatch(which),
                escape(&which.name()),
                inline(&description(which))
            );
        }
        out.push_str("</dl>\n");
    }
    out.push_str("</section>\n");
}

fn steps(out: &mut String, summary: &Summary) {
    section(out, "steps", "What a reload is made of");
    out.push_str(&plots::patterns(summary.step_names.len()));
    figure(
        out,
        "timeline",
        |id, class, width| plots::timeline(summary, &[], id, class, width),
        "The one reload of each strategy whose time is nearest the median. Steps follow each other from left to right. Of tools \
         from elsewhere no steps are seen.",
        "No steps were measured.",
    );
    let without_build = ["notice", "build"];
    if let Some(legend) = step_legend(summary) {
        out.push_str(&legend);
        figure(
            out,
            "rest",
            |id, class, width| plots::timeline(summary, &without_build, id, class, width),
            "The same reloads without noticing the save and building: what the way of reloading itself takes.",
            "Nothing was measured beside the build.",
        );
    }
    if let Some(table) = tables::steps(summary) {
        write_table(out, &table);
    }
    out.push_str("</section>\n");
}

fn step_legend(summary: &Summary) -> Option<String> {
    let items: String = summary
        .step_names
        .iter()
        .enumerate()
        .map(|(index, name)| format!("<li>{}{}</li>\n", plots::step_swatch(index), escape(name)))
        .collect();
    (!items.is_empty())
        .then(|| format!("<ul class=\"legend\" aria-label=\"Patterns of the steps\">\n{items}</ul>\n"))
}

fn memory(out: &mut String, summary: &Summary) {
    section(out, "memory", "Memory over reloads");
    let panels = MemoryKind::ALL.map(|kind| {
        let id = format!("memory-{}", kind.title().replace(' ', "-").to_lowercase());
        (kind.title(), plots::memory(summary, kind, &id))
    });
    let names: Vec<(&str, Option<String>)> = panels.into_iter().collect();
    figures(
        out,
        names,
        "Private dirty: what the process would give back. PSS: resident memory, shared pages divided among those who share \
         them. RSS: all that is resident.",
        "No memory was measured.",
    );
    let seen = summary.strategies.iter().filter(|it| it.memory.iter().any(Option::is_some));
    let items: String = seen
        .map(|it| format!("<li>{}{}</li>\n", plots::strategy_swatch(it.result.strategy), escape(&it.name())))
        .collect();
    if !items.is_empty() {
        let _ = write!(out, "<ul class=\"legend\" aria-label=\"Lines of the strategies\">\n{items}</ul>\n");
    }
    if let Some(table) = tables::memory(summary) {
        write_table(out, &table);
    }
    out.push_str("</section>\n");
}

fn fork_costs(out: &mut String, report: &Report) {
    section(out, "fork-cost", "What a fork costs as more is loaded");
    let panels = vec![
        ("time", plots::fork_time(&report.fork_costs, "fork-time")),
        ("page faults", plots::fork_faults(&report.fork_costs, "fork-faults")),
    ];
    figures(
        out,
        panels,
        "Small dots are single forks, large marks medians with their interval.",
        "The cost of forks was not measured.",
    );
    if let Some(table) = tables::fork_costs(report) {
        let items =
            plots::fork_swatches().map(|(swatch, name)| format!("<li>{swatch}{name}</li>\n")).concat();
        let _ = write!(out, "<ul class=\"legend\" aria-label=\"Lines of the forks\">\n{items}</ul>\n");
        write_table(out, &table);
    }
    out.push_str("</section>\n");
}

fn artifacts(out: &mut String, report: &Report) {
    section(out, "artifacts", "What a reload leaves behind");
    match tables::artifacts(report) {
        Some(table) => write_table(out, &table),
        None => out.push_str("<p class=\"none\">What reloads leave behind was not tried.</p>\n"),
    }
    out.push_str("</section>\n");
}

fn left_out(out: &mut String, summary: &Summary) {
    if summary.report.skipped.is_empty() {
        return;
    }
    section(out, "skipped", "Left out");
    out.push_str("<dl class=\"facts\">\n");
    for skipped in &summary.report.skipped {
        let _ = writeln!(out, "<dt>{}</dt><dd>{}</dd>", escape(&skipped.name), inline(&skipped.reason));
    }
    out.push_str("</dl>\n</section>\n");
}

fn how(out: &mut String, report: &Report) {
    let machine = &report.machine;
    let optimized = if machine.devhost_is_optimized { "optimized" } else { "not optimized" };
    let mut facts: Vec<(&str, String)> = vec![
        ("began", date(report.began_unix_s)),
        ("took", show(report.duration_ms, Unit::Time)),
        ("processor", format!("{} × {}", machine.processor_count, machine.processor)),
        ("memory", show(machine.memory_bytes as f64, Unit::Size)),
        ("kernel", format!("{} ({})", machine.kernel, machine.architecture)),
        ("load", format!("{:.2} at the start, {:.2} at the end", machine.load_at_start, machine.load_at_end)),
        ("rustc", machine.rustc.clone()),
        ("cargo", machine.cargo.clone()),
        ("devhost", format!("{}, {optimized}", machine.devhost)),
    ];
    facts.extend(machine.tools.iter().map(|(name, version)| (name.as_str(), version.clone())));
    section(out, "machine", "Where it was measured");
    out.push_str("<dl class=\"facts\">\n");
    for (name, fact) in facts {
        let _ = writeln!(out, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(&fact));
    }
    out.push_str("</dl>\n</section>\n");
}

fn section(out: &mut String, id: &str, title: &str) {
    let _ = writeln!(out, "<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{title}</h2>");
}

/// A plot drawn twice, for wide and for narrow screens; the stylesheet shows one of them.
fn figure(
    out: &mut String,
    id: &str,
    draw: impl Fn(&str, &str, f64) -> Option<String>,
    caption: &str,
    nothing: &str,
) {
    let wide = draw(&format!("{id}-wide"), "wide", WIDTH_WIDE);
    let narrow = draw(&format!("{id}-narrow"), "narrow", WIDTH_NARROW);
    match (wide, narrow) {
        (Some(wide), Some(narrow)) => {
            let _ = writeln!(
                out,
                "<figure>\n{wide}{narrow}<figcaption>{}</figcaption>\n</figure>",
                escape(caption)
            );
        }
        _ => {
            let _ = writeln!(out, "<p class=\"none\">{}</p>", escape(nothing));
        }
    }
}

/// Plots beside each other, as many as there is room for.
fn figures(out: &mut String, panels: Vec<(&str, Option<String>)>, caption: &str, nothing: &str) {
    let drawn: Vec<(&str, String)> =
        panels.into_iter().filter_map(|(name, svg)| Some((name, svg?))).collect();
    if drawn.is_empty() {
        let _ = writeln!(out, "<p class=\"none\">{}</p>", escape(nothing));
        return;
    }
    out.push_str("<figure>\n<div class=\"panels\">\n");
    for (name, svg) in drawn {
        let _ = writeln!(out, "<div><p class=\"panel-name\">{}</p>\n{svg}</div>", escape(name));
    }
    let _ = writeln!(out, "</div>\n<figcaption>{}</figcaption>\n</figure>", escape(caption));
}

/// The number of samples stands beside the name, where a narrow screen shows it, too.
fn write_table(out: &mut String, table: &Table) {
    let title = escape(&table.title);
    let id = table.title.to_lowercase().replace(' ', "-");
    let last = table.head.len() - 1;
    let columns: Vec<usize> = match table.head[last].as_str() {
        "n" => [0, last].into_iter().chain(1..last).collect(),
        _ => (0..=last).collect(),
    };
    // Scrolls by itself, also by keyboard.
    let _ = write!(
        out,
        "<p class=\"note\" id=\"about-{id}\"><strong>{title}.</strong> {}</p>\n\
         <div class=\"scroll {id}\" role=\"region\" aria-label=\"{title}\" tabindex=\"0\">\n\
         <table aria-label=\"{title}\" aria-describedby=\"about-{id}\">\n<thead><tr>",
        inline(&table.caption)
    );
    for column in &columns {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escape(&table.head[*column]));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        out.push_str("<tr>");
        for column in &columns {
            let text = cell_html(&row[*column]);
            let class = tone_class(row[*column].tone);
            let _ = if *column == 0 {
                write!(out, "<th scope=\"row\" class=\"{class}\">{text}</th>")
            } else {
                write!(out, "<td class=\"{class}\">{text}</td>")
            };
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
}

fn cell_html(cell: &Cell) -> String {
    let mut text = format!("<span class=\"value\">{}</span>", escape(&cell.text));
    if !cell.detail.is_empty() {
        let _ = write!(text, "<small>{}</small>", inline(&cell.detail));
    }
    if let Some(count) = cell.count {
        let _ = write!(text, "<small>n = {count}</small>");
    }
    text
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

fn code(text: &str) -> String {
    format!("<code>{}</code>", escape(text))
}

/// Text in which what stands between backticks is code.
fn inline(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return escape(text);
    }
    let parts = parts.iter().enumerate();
    parts.map(|(index, part)| if index % 2 == 1 { code(part) } else { escape(part) }).collect()
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// In UTC; a time that no calendar knows is shown as a number.
fn date(unix_s: u64) -> String {
    /// The last second of the year 9999, after which dates cannot be written.
    const SHOWN_UNIX_MAX_S: u64 = 253_402_300_799;
    match SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(unix_s)) {
        Some(time) if unix_s <= SHOWN_UNIX_MAX_S => httpdate::fmt_http_date(time),
        _ => format!("{unix_s} s after 1970"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::model::Verdict;

    /// Tag by tag, with void elements left out.
    fn assert_balanced(page: &str) {
        let mut open: Vec<&str> = Vec::new();
        let body = page.split_once("</style>").expect("a stylesheet").1;
        for tag in body.split('<').skip(1).map(|part| part.split_once('>').expect("an end of each tag").0) {
            if let Some(name) = tag.strip_prefix('/') {
                // The head was begun before the stylesheet.
                assert!(open.pop() == Some(name) || ["head", "html"].contains(&name), "{name} in {open:?}");
            } else if !tag.ends_with('/') {
                open.push(tag.split(' ').next().unwrap());
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn page_needs_nothing_from_elsewhere() {
        let page = html(&sample::full());
        for forbidden in ["<script", "http://", "https://", "@import", " src=", " href=", "url(http"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert!(page.contains("http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';"));
        assert_balanced(&page);
    }

    #[test]
    fn hostile_names_stay_text() {
        let page = html(&sample::hostile());
        for forbidden in ["<script", "<img", "\x1b"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert_eq!(page.matches("</style>").count(), 1);
        assert_balanced(&page);
    }

    #[test]
    fn identifiers_are_unique_and_labels_refer_to_them() {
        let page = html(&sample::full());
        let attributes = |name: &str| -> Vec<String> {
            let start = format!(" {name}=\"");
            let parts = page.split(start.as_str()).skip(1);
            parts.map(|part| part.split('"').next().unwrap().to_owned()).collect()
        };
        let mut ids = attributes("id");
        let all = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), all);
        for labels in attributes("aria-labelledby") {
            for label in labels.split(' ') {
                assert!(ids.iter().any(|id| id == label), "{label}");
            }
        }
        for fill in attributes("fill") {
            let id = fill.strip_prefix("url(#").and_then(|fill| fill.strip_suffix(')')).unwrap();
            assert!(ids.iter().any(|it| it == id), "{id}");
        }
    }

    #[test]
    fn run_cancelled_before_the_first_sample_is_a_page_that_says_so() {
        let page = html(&sample::empty());
        assert!(page.contains("The run was cancelled"), "{page}");
        assert!(page.contains("No reload was measured."), "{page}");
        assert!(!page.contains("class=\"plot"), "{page}");
        assert_balanced(&page);
    }

    #[test]
    fn one_sample_is_shown_with_its_number() {
        let page = html(&sample::single());
        assert!(page.contains("n = 1<"), "{page}");
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
        assert_balanced(&page);
    }

    #[test]
    fn strategy_that_failed_is_named_with_its_reason() {
        let page = html(&sample::full());
        assert!(
            page.contains("<strong>✗ dx</strong> was given up after 0 of 12 reloads: the app ended"),
            "{page}"
        );
    }

    #[test]
    fn control_that_is_not_clean_is_marked() {
        let mut report = sample::full();
        assert!(!html(&report).contains('‡'));
        report.artifacts[0].cells[0].verdict_without_trait = Verdict::Left;
        assert!(html(&report).contains("● left ‡"));
    }

    #[test]
    fn samples_that_are_no_numbers_are_left_out() {
        let mut report = sample::full();
        report.strategies[0].reloads[0].total_ms = f64::NAN;
        report.strategies[0].reloads[1].steps[0].duration_ms = f64::INFINITY;
        report.fork_costs[0].samples[0].fork_ms = f64::NAN;
        let page = html(&report);
        assert!(!page.contains("NaN") && !page.contains("inf ms"));
    }

    #[test]
    fn begin_is_a_date() {
        assert_eq!(date(1_764_061_200), "Tue, 25 Nov 2025 09:00:00 GMT");
        assert_eq!(date(u64::MAX), format!("{} s after 1970", u64::MAX));
    }
}
