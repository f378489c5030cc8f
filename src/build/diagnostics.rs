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

/// Errors first, in the order in which they came.
pub(super) fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by_key(|diagnostic| !diagnostic.level.starts_with("error"));
}
