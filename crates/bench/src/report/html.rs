//! The report as one self-contained page: no script, no font, no image from elsewhere, and a policy that
//! forbids them. The templates escape all text from an app, a tool or a machine.

use std::time::{Duration, SystemTime};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::figures::{Unit, show};
use super::markup::{self, inline, section};
use super::plots;
use super::summary::{MemoryKind, Summary, description};
use super::tables;
use crate::model::Report;

const STYLE: &str = include_str!("report.css");

/// Nothing from elsewhere; only inline styles, for the stylesheet.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// Renders a report as a page.
pub fn html(report: &Report) -> String {
    let summary = Summary::new(report);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Reloading " (report.settings.app) ": devhost bench" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    (header(report))
                    (reloads(&summary))
                    (steps(&summary))
                    (memory(&summary))
                    (fork_costs(report))
                    (artifacts(report))
                    (left_out(report))
                    (origin(report))
                }
            }
        }
    };
    without_controls(&page.into_string())
}

/// Removes control characters: they need no escaping, but do not belong in a page.
fn without_controls(page: &str) -> String {
    page.chars().filter(|character| !character.is_control() || matches!(character, '\n' | '\t')).collect()
}

fn header(report: &Report) -> Markup {
    let settings = &report.settings;
    html! {
        header {
            p class="tag" { "devhost bench · " (date(report.began_unix_s)) }
            h1 { "What it costs to reload " (settings.app) }
            p class="lead" {
                (report.strategies.len()) " ways of getting new code to run, " (settings.reload_count)
                " reloads each, taking turns. " code { (settings.edited_file) } " was edited; "
                (number(settings.requests_per_second)) " requests a second were sent all the while."
            }
            @for warning in tables::warnings(report) {
                p class="warning" { strong { "!" } " " (warning) }
            }
        }
    }
}

fn reloads(summary: &Summary) -> Markup {
    let distribution = markup::figure(
        "distribution",
        |id, class, width| plots::distribution(summary, id, class, width),
        "Each mark is a reload. The box holds the middle half of them, the upright line is the median, and the bar below \
         it is the interval of the median.",
        "No reload was measured.",
    );
    let content = html! {
        (distribution)
        @if let Some(table) = tables::reloads(summary) {
            (markup::table(&table))
            p class="note" { (tables::interval_note(summary, "Below them, smaller")) }
        }
        @for (name, why) in tables::failures(summary) {
            p class="failure" { strong { "✗ " (name) } " was " (inline(&why)) }
        }
        @for (names, note) in tables::notes(summary) {
            p class="note" { strong { (names) } ": " (inline(&note)) }
        }
        @if !summary.strategies.is_empty() {
            dl class="legend" {
                @for strategy in &summary.strategies {
                    @let which = strategy.result.strategy;
                    div {
                        dt { (plots::line_swatch(plots::of_strategy(which))) (which.name()) }
                        dd { (inline(&description(which))) }
                    }
                }
            }
        }
    };
    section("reloads", "From the save to the first response", &content)
}

fn steps(summary: &Summary) -> Markup {
    const WITHOUT_BUILD: [&str; 2] = ["notice", "build"];
    let whole = markup::figure(
        "timeline",
        |id, class, width| plots::timeline(summary, &[], id, class, width),
        "The one reload of each strategy whose time is nearest the median. Steps follow each other from left to right. Of tools \
         from elsewhere no steps are seen.",
        "No steps were measured.",
    );
    let without_build = || {
        markup::figure(
            "rest",
            |id, class, width| plots::timeline(summary, &WITHOUT_BUILD, id, class, width),
            "The same reloads without noticing the save and building: what the way of reloading itself takes.",
            "Nothing was measured beside the build.",
        )
    };
    let content = html! {
        (plots::patterns(summary.step_names.len()))
        (whole)
        @if !summary.step_names.is_empty() {
            ul class="legend" aria-label="Patterns of the steps" {
                @for (index, name) in summary.step_names.iter().enumerate() {
                    li { (plots::step_swatch(index)) (name) }
                }
            }
            (without_build())
        }
        @if let Some(table) = tables::steps(summary) { (markup::table(&table)) }
    };
    section("steps", "What a reload is made of", &content)
}

fn memory(summary: &Summary) -> Markup {
    let panels = MemoryKind::ALL.map(|kind| {
        let id = format!("memory-{}", kind.title().replace(' ', "-").to_lowercase());
        (kind.title(), plots::memory(summary, kind, &id))
    });
    let plots = markup::figures(
        panels.into(),
        "Private dirty: what the process would give back. PSS: resident memory, shared pages divided among those who share \
         them. RSS: all that is resident.",
        "No memory was measured.",
    );
    let seen = || summary.strategies.iter().filter(|it| it.memory.iter().any(Option::is_some));
    let content = html! {
        (plots)
        @if seen().next().is_some() {
            ul class="legend" aria-label="Lines of the strategies" {
                @for strategy in seen() {
                    li { (plots::line_swatch(plots::of_strategy(strategy.result.strategy))) (strategy.name()) }
                }
            }
        }
        @if let Some(table) = tables::memory(summary) { (markup::table(&table)) }
    };
    section("memory", "Memory over reloads", &content)
}

fn fork_costs(report: &Report) -> Markup {
    let panels = vec![
        ("time", plots::fork_time(&report.fork_costs, "fork-time")),
        ("page faults", plots::fork_faults(&report.fork_costs, "fork-faults")),
    ];
    let lines = [
        (plots::FIRST_ANSWER, "first answer"),
        (plots::FORK_CALL, "fork"),
        (plots::PAGE_FAULTS, "page faults"),
    ];
    let plots = markup::figures(
        panels,
        "Small dots are single forks, large marks medians with their interval.",
        "The cost of forks was not measured.",
    );
    let content = html! {
        (plots)
        @if let Some(table) = tables::fork_costs(report) {
            ul class="legend" aria-label="Lines of the forks" {
                @for (look, name) in lines { li { (plots::line_swatch(look)) (name) } }
            }
            (markup::table(&table))
        }
    };
    section("fork-cost", "What a fork costs as more is loaded", &content)
}

fn artifacts(report: &Report) -> Markup {
    let content = match tables::artifacts(report) {
        Some(table) => markup::table(&table),
        None => markup::none("What reloads leave behind was not tried."),
    };
    section("artifacts", "What a reload leaves behind", &content)
}

fn left_out(report: &Report) -> Markup {
    if report.skipped.is_empty() {
        return Markup::default();
    }
    let content = html! {
        dl class="facts" {
            @for skipped in &report.skipped {
                dt { (skipped.name) }
                dd { (inline(&skipped.reason)) }
            }
        }
    };
    section("skipped", "Left out", &content)
}

fn origin(report: &Report) -> Markup {
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
    let content = html! {
        dl class="facts" {
            @for (name, fact) in &facts {
                dt { (name) }
                dd { (fact) }
            }
        }
    };
    section("machine", "Where it was measured", &content)
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// Formats a date in UTC; one beyond the calendar is shown as a number.
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

    /// Checks tag by tag, ignoring void elements.
    fn assert_balanced(page: &str) {
        let mut open: Vec<&str> = Vec::new();
        let body = page.split_once("</style>").expect("a stylesheet").1;
        for tag in body.split('<').skip(1).map(|part| part.split_once('>').expect("an end of each tag").0) {
            if let Some(name) = tag.strip_prefix('/') {
                // The head was opened before the stylesheet.
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
