//! A place in a file, and how an error shows it.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use devhost_model::Error;

use crate::fault::Fault;

/// The longest line that an error shows.
const EXCERPT_CHARS_MAX: usize = 160;

/// A file's text.
#[derive(Debug)]
pub(crate) struct Source {
    /// The file's name in messages.
    pub shown: String,
    pub text: String,
    /// The directory that relative paths in it start from.
    pub directory: PathBuf,
}

impl Source {
    /// Turns a fault in a source into an error that shows the place.
    pub(crate) fn error(self: &Arc<Self>, fault: Fault) -> Error {
        let message = fault.message();
        self.place(fault.span).error(&message, fault.hint)
    }

    pub(crate) fn place(self: &Arc<Self>, span: Range<usize>) -> Place {
        Place { source: Arc::clone(self), span }
    }
}

/// A place in a file.
#[derive(Debug, Clone)]
pub struct Place {
    source: Arc<Source>,
    span: Range<usize>,
}

impl Place {
    /// Makes the error of a mistake at this place.
    pub fn error(&self, message: &str, hint: impl Into<String>) -> Error {
        Error::mistake(format!("{self}: {message}{}", self.excerpt()), hint)
    }

    /// Returns the text at this place.
    pub fn text(&self) -> &str {
        self.source.text.get(self.span.clone()).unwrap_or_default()
    }

    /// Returns the line, counted from 1, where it starts, and the column in characters, counted from 0.
    fn line(&self) -> (usize, usize, usize) {
        let text = &self.source.text;
        let start = text.floor_char_boundary(self.span.start.min(text.len()));
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, line_start, before[line_start..].chars().count())
    }

    /// Returns the line, marked, on lines of its own; nothing if it is too long to be shown.
    fn excerpt(&self) -> String {
        let (number, line_start, column) = self.line();
        let line = self.source.text[line_start..].lines().next().unwrap_or_default();
        if line.chars().count() > EXCERPT_CHARS_MAX {
            return String::new();
        }
        let number = number.to_string();
        let margin = " ".repeat(number.len());
        // A tab is as wide below as above.
        let indent: String = line.chars().take(column).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let marked = self.text().lines().next().unwrap_or_default().chars().count();
        let rest = line.chars().count().saturating_sub(column);
        let marks = "^".repeat(marked.min(rest).max(1));
        format!("\n{margin} |\n{number} | {line}\n{margin} | {indent}{marks}")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, _, column) = self.line();
        write!(f, "{}:{line}:{}", self.source.shown, column + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, span: Range<usize>) -> Place {
        let source = Source { shown: "devhost.toml".into(), text: text.into(), directory: "/".into() };
        Arc::new(source).place(span)
    }

    #[test]
    fn the_place_is_marked_below_its_line() {
        let place = place("a = 1\n\tb = \"ä\" # é\n", 11..15);
        assert_eq!(place.to_string(), "devhost.toml:2:6");
        assert_eq!(place.text(), "\"ä\"");
        assert_eq!(place.excerpt(), "\n  |\n2 | \tb = \"ä\" # é\n  | \t    ^^^");
    }

    #[test]
    fn a_place_at_the_end_or_over_several_lines_is_shown_at_its_start() {
        assert_eq!(place("a", 1..1).excerpt(), "\n  |\n1 | a\n  |  ^");
        assert_eq!(place("", 0..0).to_string(), "devhost.toml:1:1");
        assert_eq!(place("a = [\n1]", 4..8).excerpt(), "\n  |\n1 | a = [\n  |     ^");
        assert_eq!(place(&"a".repeat(1000), 3..4).excerpt(), "");
    }
}
