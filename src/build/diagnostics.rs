//! Turns what rustc says into what devhost shows. It drops rustc's summaries ("aborting due to 2 previous
//! errors"), which say nothing that is not there already.

use cargo_metadata::diagnostic::{Diagnostic as Message, DiagnosticLevel};

use crate::model::Diagnostic;

/// A message of rustc, unless it is a mere summary.
pub(super) fn convert(message: Message) -> Option<Diagnostic> {
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

/// Adds a message, unless it is there already: a crate that is compiled in two ways says everything twice.
pub(super) fn add(diagnostics: &mut Vec<Diagnostic>, new: &Diagnostic) -> bool {
    let is_new = !diagnostics.contains(new);
    if is_new {
        diagnostics.push(new.clone());
    }
    is_new
}

/// Those of `now` that say something which nothing in `before` has said. Lines may have moved: the same words about the
/// same file, as often as before, are nothing new.
pub(crate) fn news<'a>(before: &[Diagnostic], now: &'a [Diagnostic]) -> Vec<&'a Diagnostic> {
    let mut known: Vec<&Diagnostic> = before.iter().collect();
    let mut take = |is_same: &dyn Fn(&Diagnostic) -> bool| {
        let position = known.iter().position(|one| is_same(one));
        position.map(|position| known.swap_remove(position)).is_some()
    };
    // What is the same to the letter goes first, so that of two alike the new one is left.
    let mut moved: Vec<&Diagnostic> = now.iter().filter(|one| !take(&|other| other == *one)).collect();
    moved.retain(|one| {
        !take(&|other| {
            (&other.level, &other.code, &other.file, &other.message)
                == (&one.level, &one.code, &one.file, &one.message)
        })
    });
    moved
}

/// Errors first, in the order in which they came.
pub(super) fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by_key(|diagnostic| !diagnostic.level.starts_with("error"));
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
}
