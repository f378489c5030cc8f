//! The live line: what is being built, and for how long, on the last line of a terminal that others write to as well.
//!
//! The app writes to the terminal by itself, at any time. So the cursor is left behind the last column, where a terminal wraps: what the app
//! prints begins on a line of its own and stays whole, and a copy of the live line stays above it. That copy is deleted once the
//! app has been quiet for a moment, if what it printed since then tells how far up it is. No clock, no I/O: the terminal draws.

use std::path::Path;
use std::time::Duration;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::style::{Style, printable};

/// How often a quiet app must have been found before the line is drawn again below its output.
const QUIET_LOOKS_COUNT: u32 = 3;

/// How much output is kept to find out how far up a copy is.
const PRINTED_SIZE_MAX: usize = 16 * 1024;

/// The size of a terminal that does not tell it.
pub(crate) const UNKNOWN_SIZE: Size = Size { columns: 80, rows: 24 };

/// A build in progress.
#[derive(Debug, Clone, Default)]
pub struct Building {
    /// What it is for: the files that changed, or something else to call it by.
    pub cause: String,
    /// What is being done, such as a crate's name; empty if that is not known.
    pub step: String,
}

impl Building {
    /// A build because of changed files, or one from scratch if there are none.
    pub fn of(files: &[impl AsRef<Path>]) -> Self {
        let plain = Style { colours: false };
        Self { cause: plain.files(files, 0).unwrap_or_else(|| "the app".into()), step: String::new() }
    }
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

/// What is on the screen of the live line.
#[derive(Debug, Default)]
pub(crate) struct LiveLine {
    place: Place,
    quiet_looks: u32,
}

#[derive(Debug, Default)]
enum Place {
    /// Nowhere.
    #[default]
    Gone,
    /// Where the cursor is.
    Here,
    /// Above what the app has printed since, unless that is too much to tell.
    Above(Option<String>),
}

impl LiveLine {
    /// Returns what to write to show a line, given what the app has printed since the last look, if anything.
    pub(crate) fn show(&mut self, line: &str, size: Size, printed: Option<&str>) -> String {
        let Some(printed) = printed else {
            self.quiet_looks += 1;
            return match self.place {
                Place::Here => draw(line, size),
                Place::Gone => {
                    self.place = Place::Here;
                    draw(line, size)
                }
                Place::Above(_) if self.quiet_looks < QUIET_LOOKS_COUNT => String::new(),
                Place::Above(_) => {
                    let text = self.tidy(size);
                    self.place = Place::Here;
                    text + &draw(line, size)
                }
            };
        };
        self.quiet_looks = 0;
        match &mut self.place {
            Place::Above(Some(above)) if above.len() + printed.len() <= PRINTED_SIZE_MAX => {
                above.push_str(printed);
            }
            Place::Above(above) => *above = None,
            Place::Here if printed.len() <= PRINTED_SIZE_MAX => {
                self.place = Place::Above(Some(printed.to_owned()));
            }
            Place::Here => self.place = Place::Above(None),
            // It prints where nothing is drawn.
            Place::Gone => {}
        }
        String::new()
    }

    /// Returns what to write to have the line out of the way of another message.
    pub(crate) fn erase(&mut self) -> &'static str {
        match std::mem::take(&mut self.place) {
            Place::Here => "\r\x1b[2K",
            Place::Gone | Place::Above(_) => "",
        }
    }

    /// Returns what to write at the end of the build, given what the app has printed since the last look, if anything.
    pub(crate) fn end(&mut self, size: Size, printed: Option<&str>) -> String {
        if printed.is_some() {
            self.show("", size, printed);
        }
        match self.place {
            // The app may be printing right now.
            Place::Above(_) if self.quiet_looks == 0 => String::new(),
            Place::Above(_) => self.tidy(size),
            Place::Here | Place::Gone => self.erase().to_owned(),
        }
    }

    /// Deletes the copy above what the app has printed, if its place is known.
    fn tidy(&mut self, size: Size) -> String {
        let Place::Above(printed) = std::mem::take(&mut self.place) else { return String::new() };
        let Some(printed) = printed else { return String::new() };
        // A line that the app has not ended yet is left alone.
        let fresh = if printed.ends_with('\n') { "" } else { "\n" };
        let all = printed + fresh;
        // A line break alone does not wrap: the copy stands on the app's own empty line.
        let (rest, is_shared) = match all.strip_prefix('\n') {
            Some(rest) => (rest, true),
            None => (all.as_str(), false),
        };
        let Some(height) = height(rest, size.columns) else { return fresh.to_owned() };
        // The copy, what was printed, and the line of the cursor.
        if height + 2 > size.rows {
            return fresh.to_owned();
        }
        let up = height + 1;
        let (removal, down) = if is_shared { ("\x1b[2K", up) } else { ("\x1b[M", height) };
        let down = if down > 0 { format!("\x1b[{down}B") } else { String::new() };
        format!("{fresh}\x1b[{up}A{removal}{down}\r")
    }
}

/// Draws over the line of the cursor, and leaves the cursor behind the last column.
fn draw(line: &str, size: Size) -> String {
    format!("\r\x1b[2K{line}\x1b[{}G ", size.columns)
}

/// Returns how many lines a text takes that begins at the first column and ends with a line break. `None` if it may do more than print.
fn height(text: &str, columns: usize) -> Option<usize> {
    let mut height = 0;
    for line in text.lines() {
        let line = strip_colours(line)?;
        if line.chars().any(char::is_control) {
            return None;
        }
        height += line.width().div_ceil(columns.max(1)).max(1);
    }
    Some(height)
}

/// Removes colours; `None` if there are other escape sequences.
fn strip_colours(line: &str) -> Option<String> {
    let mut plain = String::new();
    let mut parts = line.split("\x1b[");
    plain.push_str(parts.next()?);
    for part in parts {
        let (parameters, rest) = part.split_once('m')?;
        if !parameters.chars().all(|character| character.is_ascii_digit() || ";:".contains(character)) {
            return None;
        }
        plain.push_str(rest);
    }
    Some(plain)
}

impl Style {
    /// Returns the live line, cut to leave the last column free.
    pub(crate) fn live(self, building: &Building, elapsed: Duration, columns: usize) -> String {
        const WORD: &str = "building";
        let room = columns.saturating_sub(1);
        let seconds = format!("{:.1} s", elapsed.as_secs_f64());
        // With the spaces between the parts.
        let fixed = WORD.len() + seconds.len() + 2;
        if room < fixed + 1 {
            return cut(&seconds, room);
        }
        let cause = cut(&printable(&building.cause), room - fixed);
        let left = room - fixed - cause.width();
        let mut line = format!("{} {} {seconds}", self.good(WORD), self.notable(&cause));
        let step = printable(&building.step);
        if !step.is_empty() && left > 2 {
            line.push_str(&self.dim(&format!("  {}", cut(&step, left - 2))));
        }
        line
    }
}

/// Cuts a text to a width.
fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut width = 0;
    let kept = text.chars().take_while(|character| {
        width += character.width().unwrap_or(0);
        width < columns
    });
    let mut kept: String = kept.collect();
    if columns > 0 {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use super::*;

    const PLAIN: Style = Style { colours: false };
    const SIZE: Size = Size { columns: 40, rows: 10 };

    /// A screen that devhost and the app write to.
    struct Screen(vt100::Parser);

    impl Screen {
        fn new() -> Self {
            let size = |length: usize| NonZero::new(u16::try_from(length).unwrap()).unwrap();
            Self(vt100::Parser::new(size(SIZE.rows), size(SIZE.columns), 100))
        }

        fn write(&mut self, text: &str) {
            // As a terminal driver does.
            self.0.process(text.replace('\n', "\r\n").as_bytes());
        }

        fn text(&self) -> String {
            self.0.screen().contents()
        }
    }

    fn building(cause: &str, step: &str) -> Building {
        Building { cause: cause.into(), step: step.into() }
    }

    fn live(cause: &str, step: &str, columns: usize) -> String {
        PLAIN.live(&building(cause, step), Duration::from_millis(3_210), columns)
    }

    #[test]
    fn the_line_has_the_cause_the_time_and_the_step_as_far_as_they_fit() {
        assert_eq!(live("src/pages.rs", "", 80), "building src/pages.rs 3.2 s");
        assert_eq!(live("src/pages.rs", "app v0.1.0 1/3", 80), "building src/pages.rs 3.2 s  app v0.1.0 1/3");
        assert_eq!(live("src/pages.rs", "app v0.1.0 1/3", 36), "building src/pages.rs 3.2 s  app v…");
        assert_eq!(live("src/pages.rs", "app", 24), "building src/pag… 3.2 s");
        assert_eq!(live("src/pages.rs", "app", 10), "3.2 s");
        assert_eq!(live("src/pages.rs", "app", 0), "");
        for columns in 0..60 {
            let line = live("src/страницы/日本語.rs", "библиотека v0.1.0", columns);
            assert!(line.width() < columns.max(1), "{columns}: {line}");
        }
        assert_eq!(Building::of(&["a.rs", "b.rs", "c.rs"]).cause, "a.rs +2 more files");
        assert_eq!(Building::of(&[] as &[&str]).cause, "the app");
        assert!(!live("a\x1b[2J.rs", "\x1b[2J", 80).contains('\x1b'));
    }

    #[test]
    fn the_line_is_drawn_in_place_and_leaves_nothing() {
        let (mut line, mut screen) = (LiveLine::default(), Screen::new());
        screen.write("before\n");
        for at in 0..20 {
            screen.write(&line.show(&format!("building {at}"), SIZE, None));
            assert_eq!(screen.text().trim_end(), format!("before\nbuilding {at}"));
        }
        let end = line.end(SIZE, None);
        screen.write(&end);
        screen.write("after\n");
        assert_eq!(screen.text().trim_end(), "before\nafter");
    }

    #[test]
    fn a_message_takes_the_place_of_the_line() {
        let (mut line, mut screen) = (LiveLine::default(), Screen::new());
        screen.write(&line.show("building", SIZE, None));
        screen.write(line.erase());
        screen.write("note: x\n");
        assert_eq!(line.erase(), "", "it is gone");
        screen.write(&line.show("building", SIZE, None));
        assert_eq!(screen.text().trim_end(), "note: x\nbuilding");
    }

    #[test]
    fn what_the_app_prints_stays_whole_and_the_line_moves_below_it() {
        for printed in
            ["one\n", "one\ntwo\n", "\n", "a line that is longer than the terminal is wide, so it wraps\n"]
        {
            let (mut line, mut screen) = (LiveLine::default(), Screen::new());
            screen.write("before\n");
            screen.write(&line.show("building 1", SIZE, None));
            screen.write(printed);
            screen.write(&line.show("building 2", SIZE, Some(printed)));
            let text = screen.text();
            assert!(text.contains(printed.trim_end()), "{text}");
            for at in 0..QUIET_LOOKS_COUNT {
                screen.write(&line.show(&format!("building {at}"), SIZE, None));
            }
            screen.write(&line.show("building 3", SIZE, None));
            assert_eq!(screen.text().trim_end(), format!("before\n{printed}building 3"));
            let end = line.end(SIZE, None);
            screen.write(&end);
            screen.write("after");
            assert_eq!(screen.text().trim_end(), format!("before\n{printed}after"));
        }
    }

    #[test]
    fn coloured_output_is_measured_and_anything_stranger_leaves_the_copy() {
        for (printed, is_tidy) in
            [("\x1b[1;32mgreen\x1b[0m\n", true), ("\x1b[5Cfar\n", false), ("a\tb\n", false)]
        {
            let (mut line, mut screen) = (LiveLine::default(), Screen::new());
            screen.write(&line.show("building 1", SIZE, None));
            screen.write(printed);
            line.show("", SIZE, Some(printed));
            for _ in 0..=QUIET_LOOKS_COUNT {
                screen.write(&line.show("building 2", SIZE, None));
            }
            assert_eq!(!screen.text().contains("building 1"), is_tidy, "{}", screen.text());
            assert!(screen.text().trim_end().ends_with("building 2"), "{}", screen.text());
        }
    }

    #[test]
    fn a_line_that_the_app_has_not_ended_stays() {
        let (mut line, mut screen) = (LiveLine::default(), Screen::new());
        screen.write(&line.show("building 1", SIZE, None));
        screen.write("your name? ");
        line.show("", SIZE, Some("your name? "));
        for _ in 0..=QUIET_LOOKS_COUNT {
            screen.write(&line.show("building 2", SIZE, None));
        }
        assert_eq!(screen.text().trim_end(), "your name? \nbuilding 2");
    }

    #[test]
    fn an_app_that_prints_all_the_time_is_not_interrupted() {
        let (mut line, mut screen) = (LiveLine::default(), Screen::new());
        screen.write(&line.show("building", SIZE, None));
        let mut expected = String::new();
        for at in 0..1_000 {
            let printed = format!("line {at}\n");
            screen.write(&printed);
            screen.write(&line.show("building", SIZE, Some(&printed)));
            expected = printed;
        }
        screen.write(&line.end(SIZE, Some("x\n")));
        assert!(screen.text().trim_end().ends_with(expected.trim_end()));
        assert!(!screen.text().contains("building"), "it has scrolled away");
    }

    #[test]
    fn output_that_has_scrolled_the_copy_away_deletes_nothing() {
        let (mut line, mut screen) = (LiveLine::default(), Screen::new());
        screen.write(&line.show("building 1", SIZE, None));
        let printed: String = (0..SIZE.rows).map(|at| format!("line {at}\n")).collect();
        screen.write(&printed);
        line.show("", SIZE, Some(&printed));
        for _ in 0..=QUIET_LOOKS_COUNT {
            screen.write(&line.show("building 2", SIZE, None));
        }
        let last: String = printed.lines().skip(1).collect::<Vec<_>>().join("\n");
        assert_eq!(screen.text().trim_end(), format!("{last}\nbuilding 2"));
    }
}
