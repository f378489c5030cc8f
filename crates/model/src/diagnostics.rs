//! The compiler's messages about a build, bounded: a mistake in a macro can cause tens of thousands of them, and nobody reads
//! more than the first. The rest is counted.

use serde::Serialize;

/// How many messages of a build are kept.
pub const DIAGNOSTICS_COUNT_MAX: usize = 100;

/// How many bytes of messages are kept for a build.
const DIAGNOSTICS_SIZE_MAX: usize = 256 * 1024;

/// How many bytes of each text of a message are kept.
const DIAGNOSTIC_TEXT_SIZE_MAX: usize = 32 * 1024;

/// A message of rustc or cargo.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Diagnostic {
    /// `error`, `warning`, …
    pub level: String,
    /// The message, without its location.
    pub message: String,
    /// The code, such as `E0308`.
    pub code: Option<String>,
    /// The file of the primary span, as rustc names it.
    pub file: Option<String>,
    /// Line of the primary span, from 1.
    pub line: Option<u32>,
    /// Column of the primary span, from 1.
    pub column: Option<u32>,
    /// The message as a terminal shows it, with ANSI colours.
    pub rendered: String,
}

impl Diagnostic {
    /// Returns true for an error, false for a warning or anything else.
    pub fn is_error(&self) -> bool {
        self.level.starts_with("error")
    }

    /// Returns its size in bytes.
    fn size(&self) -> usize {
        self.message.len() + self.rendered.len() + self.file.as_ref().map_or(0, String::len)
    }
}

/// How many messages were not kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Errors.
    pub errors: usize,
    /// Warnings, and whatever else is not an error.
    pub warnings: usize,
}

impl LeftOut {
    /// Describes it: `and 19,900 more errors`. `None` if nothing was left out.
    pub fn describe(self) -> Option<String> {
        let counted = |count: usize, what: &str| match count {
            0 => None,
            1 => Some(format!("one more {what}")),
            _ => Some(format!("{} more {what}s", grouped(count))),
        };
        let parts: Vec<String> = [counted(self.errors, "error"), counted(self.warnings, "warning")]
            .into_iter()
            .flatten()
            .collect();
        (!parts.is_empty()).then(|| format!("and {}", parts.join(" and ")))
    }
}

/// Formats a number with separators for thousands: `19,900`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The messages of a build, up to the limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Diagnostics {
    diagnostics: Vec<Diagnostic>,
    left_out: LeftOut,
}

impl Diagnostics {
    /// Adds a message if there is room; an error replaces messages that are not errors. Returns whether it was kept.
    pub fn add(&mut self, mut new: Diagnostic) -> bool {
        for text in [&mut new.message, &mut new.rendered] {
            clip(text, DIAGNOSTIC_TEXT_SIZE_MAX);
        }
        while !self.has_room_for(&new) {
            let other = self.diagnostics.iter().rposition(|kept| !kept.is_error());
            match other.filter(|_| new.is_error()) {
                Some(at) => {
                    self.diagnostics.remove(at);
                    self.left_out.warnings += 1;
                }
                None => {
                    self.leave_out(&new);
                    return false;
                }
            }
        }
        self.diagnostics.push(new);
        true
    }

    fn has_room_for(&self, new: &Diagnostic) -> bool {
        let size: usize = self.diagnostics.iter().map(Diagnostic::size).sum();
        self.diagnostics.len() < DIAGNOSTICS_COUNT_MAX && size + new.size() <= DIAGNOSTICS_SIZE_MAX
    }

    fn leave_out(&mut self, diagnostic: &Diagnostic) {
        if diagnostic.is_error() {
            self.left_out.errors += 1;
        } else {
            self.left_out.warnings += 1;
        }
    }

    /// Adds messages that were left out elsewhere to the count.
    pub fn add_left_out(&mut self, more: LeftOut) {
        self.left_out.errors += more.errors;
        self.left_out.warnings += more.warnings;
    }

    /// Sorts errors before the rest, otherwise keeping the order.
    pub fn sort(&mut self) {
        self.diagnostics.sort_by_key(|diagnostic| !diagnostic.is_error());
    }

    /// Returns the messages with `change` applied to each.
    #[must_use]
    pub fn map(&self, change: impl FnMut(&Diagnostic) -> Diagnostic) -> Self {
        Self { diagnostics: self.diagnostics.iter().map(change).collect(), left_out: self.left_out }
    }

    /// Returns how many messages were left out.
    pub fn left_out(&self) -> LeftOut {
        self.left_out
    }

    /// Returns the number of errors, including those left out.
    pub fn errors_count(&self) -> usize {
        self.left_out.errors + self.diagnostics.iter().filter(|one| one.is_error()).count()
    }

    /// Returns the number of messages that are not errors, including those left out.
    pub fn warnings_count(&self) -> usize {
        self.left_out.warnings + self.diagnostics.iter().filter(|one| !one.is_error()).count()
    }
}

impl std::ops::Deref for Diagnostics {
    type Target = [Diagnostic];

    fn deref(&self) -> &[Diagnostic] {
        &self.diagnostics
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.diagnostics.iter()
    }
}

impl FromIterator<Diagnostic> for Diagnostics {
    fn from_iter<I: IntoIterator<Item = Diagnostic>>(messages: I) -> Self {
        let mut diagnostics = Self::default();
        for message in messages {
            diagnostics.add(message);
        }
        diagnostics
    }
}

impl From<Vec<Diagnostic>> for Diagnostics {
    fn from(messages: Vec<Diagnostic>) -> Self {
        messages.into_iter().collect()
    }
}

/// Truncates a text to the limit, and appends how much was cut.
pub fn clip(text: &mut String, size_max: usize) {
    if text.len() > size_max {
        let end = text.floor_char_boundary(size_max);
        let more = text.len() - end;
        text.truncate(end);
        text.push_str(&format!("\u{1b}[0m\n… ({} more bytes are left out)\n", grouped(more)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(level: &str, rendered: String) -> Diagnostic {
        Diagnostic {
            level: level.into(),
            message: "m".into(),
            code: None,
            file: None,
            line: None,
            column: None,
            rendered,
        }
    }

    #[test]
    fn twenty_thousand_errors_are_counted_and_a_hundred_kept() {
        let errors = (0..20_000).map(|number| message("error", format!("error {number}")));
        let mut found: Diagnostics = errors.collect();
        found.add(message("warning", "late".into()));
        assert_eq!((found.len(), found.errors_count()), (DIAGNOSTICS_COUNT_MAX, 20_000));
        assert_eq!((found[0].rendered.as_str(), found[99].rendered.as_str()), ("error 0", "error 99"));
        assert_eq!(found.left_out().describe().unwrap(), "and 19,900 more errors and one more warning");
        assert!(serde_json::to_string(&found).unwrap().len() < 20_000);
        assert_eq!(found.map(Clone::clone), found);
    }

    #[test]
    fn an_error_takes_the_place_of_a_warning() {
        let mut found: Diagnostics = (0..300).map(|_| message("warning", String::new())).collect();
        assert!(found.add(message("error", "e".into())));
        found.sort();
        assert_eq!((found.len(), found[0].rendered.as_str()), (DIAGNOSTICS_COUNT_MAX, "e"));
        assert_eq!((found.errors_count(), found.warnings_count()), (1, 300));
    }

    #[test]
    fn long_messages_are_bounded_alone_and_together() {
        let long = "é".repeat(DIAGNOSTICS_SIZE_MAX);
        let found: Diagnostics = (0..50).map(|_| message("error", long.clone())).collect();
        assert!(found.len() > 3 && found.errors_count() == 50);
        let size: usize = found.iter().map(Diagnostic::size).sum();
        assert!(size <= DIAGNOSTICS_SIZE_MAX);
        assert!(found[0].rendered.contains("more bytes are left out"));
    }

    #[test]
    fn what_is_left_out_is_said_in_words() {
        assert_eq!(LeftOut::default().describe(), None);
        assert_eq!(LeftOut { errors: 1, warnings: 0 }.describe().unwrap(), "and one more error");
        assert_eq!(
            LeftOut { errors: 0, warnings: 1_234_567 }.describe().unwrap(),
            "and 1,234,567 more warnings"
        );
    }
}
