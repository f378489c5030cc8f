//! The report for a terminal: tables that fit its width. A table that is too wide continues below itself,
//! repeating the first and the `n` column. Colours only stress what words and signs say. Control characters
//! are removed from text of apps and tools.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use super::summary::Summary;
use super::tables::{self, Cell, Table, Tone};
use crate::model::Report;
use devhost_terminal::{Style, printable};

/// The width of tables without a terminal.
const WIDTH_CHARS_DEFAULT: usize = 100;

/// Narrower terminals have to wrap lines.
const WIDTH_CHARS_MIN: usize = 40;
const GAP: &str = "  ";
const INDENT: &str = "  ";

/// Renders a report as tables for standard output: as wide as the terminal, with colours if supported.
pub fn terminal(report: &Report) -> String {
    let stream = std::io::stdout();
    let size = if stream.is_terminal() { terminal_size::terminal_size_of(&stream) } else { None };
    let width = size.map_or(WIDTH_CHARS_DEFAULT, |(width, _)| width.0.into());
    render(report, width, Style::of(&stream))
}

fn render(report: &Report, width_chars: usize, style: Style) -> String {
    let width = width_chars.max(WIDTH_CHARS_MIN);
    let summary = Summary::new(report);
    let mut out = String::new();
    let settings = &report.settings;
    let machine = &report.machine;
    let _ = writeln!(
        out,
        "\n{INDENT}{} {}",
        style.good("devhost bench"),
        style.notable(&printable(&settings.app))
    );
    let facts = [
        format!("{} edited, {} reloads asked for", settings.edited_file, settings.reload_count),
        format!("{:.0} requests a second", settings.requests_per_second),
        format!("{} × {}", machine.processor_count, machine.processor),
        machine.kernel.clone(),
        machine.rustc.clone(),
        format!("devhost {}", machine.devhost),
        format!("load {:.1} → {:.1}", machine.load_at_start, machine.load_at_end),
    ];
    paragraph(&mut out, &facts.join(" · "), width, |line| style.dim(line));
    for warning in tables::warnings(report) {
        paragraph(&mut out, &format!("! {warning}"), width, |line| style.doubtful(line));
    }

    if summary.strategies.iter().all(|it| it.result.reloads.is_empty()) {
        paragraph(&mut out, "\nNo reload was measured.", width, |line| style.bold(line));
    } else if let Some(table) = tables::reloads(&summary) {
        write_table(&mut out, &table, width, style);
        paragraph(&mut out, &tables::interval_note(&summary, "In brackets"), width, |line| style.dim(line));
    }
    for (name, why) in tables::failures(&summary) {
        paragraph(&mut out, &format!("✗ {name}: {why}"), width, |line| style.bad(line));
    }
    for (names, note) in tables::notes(&summary) {
        paragraph(&mut out, &format!("{names}: {note}"), width, |line| style.dim(line));
    }
    let more = [
        tables::steps(&summary),
        tables::memory(&summary),
        tables::fork_costs(report),
        tables::artifacts(report),
    ];
    for table in more.iter().flatten() {
        write_table(&mut out, table, width, style);
    }
    for (kind, strategy, observation) in tables::observations(report) {
        paragraph(&mut out, &format!("{kind}, {strategy}: {observation}"), width, |line| style.dim(line));
    }
    if !report.skipped.is_empty() {
        let _ = writeln!(out, "\n{INDENT}{}", style.bold("Left out"));
        for skipped in &report.skipped {
            paragraph(&mut out, &format!("{}: {}", skipped.name, skipped.reason), width, str::to_owned);
        }
    }
    out.push('\n');
    out
}

fn write_table(out: &mut String, table: &Table, width: usize, style: Style) {
    let _ = writeln!(out, "\n{INDENT}{}", style.bold(&table.title));
    paragraph(out, &table.caption, width, |line| style.dim(line));
    let cells: Vec<Vec<String>> =
        table.rows.iter().map(|row| row.iter().map(|cell| cell_text(cell, table)).collect()).collect();
    let (head, widths): (Vec<Vec<String>>, Vec<usize>) = (0..table.head.len())
        .map(|column| {
            let cell = cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
            let lines = heading_lines(&table.head[column], cell);
            let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0).max(cell);
            (lines, width)
        })
        .unzip();
    for (index, block) in blocks(table, &widths, width).iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let height = block.iter().map(|column| head[*column].len()).max().unwrap_or(0);
        for line in 0..height {
            // Headings are aligned at the bottom, next to the cells.
            let texts = block.iter().map(|column| {
                let lines = &head[*column];
                let text = (line + lines.len()).checked_sub(height).map(|line| lines[line].clone());
                (text.unwrap_or_default(), Tone::Faint)
            });
            write_line(out, block, texts, &widths, style);
        }
        for (row, texts) in table.rows.iter().zip(&cells) {
            let cells = block.iter().map(|column| (texts[*column].clone(), row[*column].tone));
            write_line(out, block, cells, &widths, style);
        }
    }
}

/// Groups of columns that fit side by side.
fn blocks(table: &Table, widths: &[usize], width: usize) -> Vec<Vec<usize>> {
    let last = table.head.len() - 1;
    let has_count = table.head[last] == "n";
    let fixed = INDENT.len() + widths[0] + if has_count { GAP.len() + widths[last] } else { 0 };
    let mut blocks: Vec<Vec<usize>> = vec![vec![0]];
    let mut used = fixed;
    let columns = if has_count { last } else { last + 1 };
    for (column, column_width) in widths.iter().enumerate().take(columns).skip(1) {
        let more = GAP.len() + column_width;
        let block = blocks.last().expect("there is one from the start");
        if used + more > width && block.len() > 1 {
            blocks.push(vec![0]);
            used = fixed;
        }
        used += more;
        blocks.last_mut().expect("there is one from the start").push(column);
    }
    if has_count {
        blocks.iter_mut().for_each(|block| block.push(last));
    }
    blocks
}

fn write_line(
    out: &mut String,
    block: &[usize],
    texts: impl Iterator<Item = (String, Tone)>,
    widths: &[usize],
    style: Style,
) {
    let mut line = INDENT.to_owned();
    for ((text, tone), column) in texts.zip(block) {
        let padding = " ".repeat(widths[*column] - text.chars().count());
        let text = paint(&text, tone, style);
        // The first column is aligned left, the others right.
        if *column == 0 {
            line.push_str(&text);
            line.push_str(&padding);
        } else {
            line.push_str(GAP);
            line.push_str(&padding);
            line.push_str(&text);
        }
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

fn paint(text: &str, tone: Tone, style: Style) -> String {
    match tone {
        _ if text.is_empty() => String::new(),
        Tone::Plain => text.to_owned(),
        Tone::Faint => style.dim(text),
        Tone::Good => style.good(text),
        Tone::Doubtful => style.doubtful(text),
        Tone::Bad => style.bad(text),
    }
}

fn cell_text(cell: &Cell, table: &Table) -> String {
    let mut text = printable(&cell.text);
    if table.has_details_everywhere && !cell.detail.is_empty() {
        let _ = write!(text, " [{}]", printable(&cell.detail));
    }
    if let Some(count) = cell.count {
        let _ = write!(text, " n={count}");
    }
    text
}

/// Splits a heading into several lines if the cells below are narrower.
fn heading_lines(text: &str, widest_cell: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in printable(text).split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= widest_cell => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn paragraph(out: &mut String, text: &str, width: usize, paint: impl Fn(&str) -> String) {
    let mut rest = text;
    while let Some(after) = rest.strip_prefix('\n') {
        out.push('\n');
        rest = after;
    }
    let rest = printable(rest);
    let mut line = String::new();
    let mut write = |line: &mut String| {
        let _ = writeln!(out, "{INDENT}{}", paint(line));
        line.clear();
    };
    for word in rest.split_whitespace() {
        let is_full = INDENT.len() + line.chars().count() + 1 + word.chars().count() > width;
        if is_full && !line.is_empty() {
            write(&mut line);
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        write(&mut line);
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::{Unit, show_estimate};
    use super::super::sample;
    use super::*;
    use crate::model::{Skipped, Strategy};

    const PLAIN: Style = Style { colours: false };

    fn row<'a>(text: &'a str, name: &str) -> &'a str {
        let is_row = |line: &&str| line.starts_with(&format!("  {name} ")) && line.contains(" ms ");
        text.lines().find(is_row).unwrap_or_else(|| panic!("no {name} in\n{text}"))
    }

    #[test]
    fn all_lines_fit_eighty_columns() {
        let text = render(&sample::full(), 80, PLAIN);
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn table_that_is_too_wide_goes_on_below_with_names_and_counts() {
        let rows = |width| {
            let text = render(&sample::full(), width, PLAIN);
            text.lines().filter(|line| line.starts_with("  fork ") && line.ends_with(" 12")).count()
        };
        assert!(rows(80) > rows(400), "{} {}", rows(80), rows(400));
        assert_eq!(rows(400), 3, "reloads, steps, memory");
    }

    #[test]
    fn each_strategy_has_its_figures_with_their_number_of_samples() {
        let report = sample::full();
        let text = render(&report, 400, PLAIN);
        for strategy in &Summary::new(&report).strategies {
            let Some(total) = &strategy.total else { continue };
            let (value, interval) = show_estimate(total, Unit::Time);
            let line = row(&text, &strategy.name());
            assert!(line.contains(&format!("  {value} [{interval}]  ")), "{line}");
            assert!(line.ends_with(&format!("  {}", strategy.result.reloads.len())), "{line}");
        }
    }

    #[test]
    fn colours_add_nothing_but_colours() {
        let report = sample::full();
        let coloured = render(&report, 100, Style { colours: true });
        assert!(coloured.contains("\x1b["));
        assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), render(&report, 100, PLAIN));
    }

    #[test]
    fn verdicts_have_a_sign_and_a_word() {
        let text = render(&sample::full(), 200, PLAIN);
        for part in ["✓ clean", "● left", "✗ crashed", "∞ hung"] {
            assert!(text.contains(part), "no {part} in\n{text}");
        }
    }

    #[test]
    fn run_cancelled_before_the_first_sample_says_so() {
        let text = render(&sample::empty(), 80, PLAIN);
        assert!(text.contains("The run was cancelled"), "{text}");
        assert!(text.contains("No reload was measured."), "{text}");
    }

    #[test]
    fn one_sample_is_shown_without_an_interval() {
        let text = render(&sample::single(), 400, PLAIN);
        let line = row(&text, "fork");
        assert!(line.contains(" ms ") && !line.contains('[') && line.ends_with(" 1"), "{line}");
    }

    #[test]
    fn strategy_that_failed_says_why_and_after_how_many() {
        let text = render(&sample::full(), 400, PLAIN);
        assert!(text.contains("✗ dx: given up after 0 of 12 reloads: "), "{text}");
    }

    #[test]
    fn what_devhost_noted_is_said_once_for_all_that_it_was_noted_for() {
        let text = render(&sample::full(), 400, PLAIN);
        assert!(
            text.contains("\n  fork, fork-no-preload: `cxx`, and what uses it, is linked into the app"),
            "{text}"
        );
    }

    #[test]
    fn what_was_left_out_has_its_reason() {
        let mut report = sample::full();
        report
            .skipped
            .push(Skipped { name: "bacon".into(), reason: "not installed: cargo install bacon".into() });
        assert!(render(&report, 80, PLAIN).contains("  bacon: not installed: cargo install bacon\n"));
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let text = render(&sample::hostile(), 80, PLAIN);
        assert!(!text.contains('\x1b'), "{text}");
    }

    #[test]
    fn without_fork_the_fastest_is_what_others_are_compared_with() {
        let mut report = sample::full();
        report.strategies.retain(|it| !matches!(it.strategy, Strategy::Fork | Strategy::Inprocess));
        let text = render(&report, 400, PLAIN);
        assert!(text.contains("fork-no-preload"), "{text}");
        let summary = Summary::new(&report);
        assert_eq!(summary.reference, Some(Strategy::ForkNoPreload));
    }
}
