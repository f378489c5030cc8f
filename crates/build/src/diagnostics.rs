//! Converts rustc's messages, without summaries ("aborting due to 2 previous errors").

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use cargo_metadata::diagnostic::{Diagnostic as Message, DiagnosticLevel};

use devhost_model::{Diagnostic, Diagnostics};

use crate::environment;

/// How many messages are remembered to recognize repetitions.
const SEEN_COUNT_MAX: usize = 1 << 17;

/// Converts a message of rustc. Returns `None` for a summary.
pub(crate) fn convert(message: Message) -> Option<Diagnostic> {
    let level = match message.level {
        DiagnosticLevel::Ice => "error: internal compiler error",
        DiagnosticLevel::Error => "error",
        DiagnosticLevel::Warning => "warning",
        DiagnosticLevel::Note => "note",
        DiagnosticLevel::Help => "help",
        _ => return None,
    };
    let summary = message.spans.is_empty()
        && (message.message.starts_with("aborting due to ")
            || message.message.ends_with(" warning emitted")
            || message.message.ends_with(" warnings emitted"));
    if summary {
        return None;
    }
    let span = message.spans.iter().find(|span| span.is_primary);
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Some(Diagnostic {
        level: level.into(),
        code: message.code.map(|code| code.code),
        file: span.map(|span| span.file_name.clone()),
        line: span.map(|span| number(span.line_start)),
        column: span.map(|span| number(span.column_start)),
        rendered: message.rendered.unwrap_or_else(|| format!("{level}: {}\n", message.message)),
        message: message.message,
    })
}

pub(crate) fn script_warning(message: &str) -> Diagnostic {
    let rendered = if environment::coloured() {
        format!("\u{1b}[1m\u{1b}[33mwarning\u{1b}[0m\u{1b}[1m:\u{1b}[0m {message}\n")
    } else {
        format!("warning: {message}\n")
    };
    Diagnostic {
        level: "warning".into(),
        code: None,
        file: None,
        line: None,
        column: None,
        message: message.into(),
        rendered,
    }
}

/// The messages of a running build, deduplicated: a crate compiled in two ways says everything twice.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    found: Diagnostics,
    /// Hashes of all messages, including those left out.
    seen: HashSet<u64>,
}

impl Collected {
    /// Adds a message. Returns whether it is new and was kept.
    pub(crate) fn add(&mut self, new: &Diagnostic) -> bool {
        let is_new = self.seen.len() >= SEEN_COUNT_MAX || self.seen.insert(hash(new));
        is_new && self.found.add(new.clone())
    }

    pub(crate) fn merge(&mut self, others: &Diagnostics) {
        for other in others {
            self.add(other);
        }
        self.found.add_left_out(others.left_out());
    }

    pub(crate) fn sorted(&self) -> Diagnostics {
        let mut found = self.found.clone();
        found.sort();
        found
    }
}

impl std::ops::Deref for Collected {
    type Target = Diagnostics;

    fn deref(&self) -> &Diagnostics {
        &self.found
    }
}

/// The diagnostics in `now` that are not in `before`. Line numbers are ignored, but repetitions count: a
/// message is new if its file had fewer of it before.
pub fn news<'a>(before: &[Diagnostic], now: &'a [Diagnostic]) -> Vec<&'a Diagnostic> {
    let mut known: Vec<&Diagnostic> = before.iter().collect();
    let mut take = |is_same: &dyn Fn(&Diagnostic) -> bool| {
        let position = known.iter().position(|one| is_same(one));
        position.map(|position| known.swap_remove(position)).is_some()
    };
    // Exact matches first, so that of two similar ones the new one is left.
    let mut moved: Vec<&Diagnostic> = now.iter().filter(|one| !take(&|other| other == *one)).collect();
    moved.retain(|one| {
        !take(&|other| {
            (&other.level, &other.code, &other.file, &other.message)
                == (&one.level, &one.code, &one.file, &one.message)
        })
    });
    moved
}

fn hash(diagnostic: &Diagnostic) -> u64 {
    let mut hasher = DefaultHasher::new();
    diagnostic.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(message: &str, file: &str, line: u32) -> Diagnostic {
        Diagnostic {
            level: "warning".into(),
            code: None,
            file: Some(file.into()),
            line: Some(line),
            column: Some(1),
            message: message.into(),
            rendered: format!("warning: {message} at {file}:{line}"),
        }
    }

    #[test]
    fn a_warning_is_news_once_wherever_its_line_moves() {
        let first = [warning("unused", "a.rs", 1), warning("unused", "b.rs", 1)];
        assert_eq!(news(&[], &first).len(), 2);
        assert!(news(&first, &first).is_empty());
        let moved = [warning("unused", "b.rs", 5), warning("unused", "a.rs", 1)];
        assert!(news(&first, &moved).is_empty());
        let one_more =
            [warning("unused", "a.rs", 3), warning("unused", "a.rs", 1), warning("dead", "b.rs", 1)];
        assert_eq!(news(&first, &one_more), [&one_more[0], &one_more[2]]);
        assert_eq!(news(&[], &first[1..]), [&first[1]], "gone and back is news");
    }

    #[test]
    fn what_is_said_twice_counts_once() {
        let message = |number: usize| Diagnostic {
            level: "error".into(),
            message: format!("{number}"),
            code: None,
            file: None,
            line: None,
            column: None,
            rendered: String::new(),
        };
        let mut collected = Collected::default();
        for number in (0..2_000).chain(0..2_000) {
            collected.add(&message(number));
        }
        assert_eq!(
            (collected.errors_count(), collected.len()),
            (2_000, devhost_model::DIAGNOSTICS_COUNT_MAX)
        );
        let mut whole = Collected::default();
        whole.merge(&collected);
        assert_eq!(whole.sorted().errors_count(), 2_000);
    }
}
