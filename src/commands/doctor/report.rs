//! The results of an examination, and how to print them.

use std::io::{self, Write as _};

use devhost_model::counted;
use serde::Serialize;

use super::check::{Check, Mark};

#[derive(Debug, Serialize)]
pub(super) struct Examination {
    pub(super) package: String,
    /// `plugin`, `plain`, or `None` if it is no app.
    pub(super) kind: Option<&'static str>,
    pub(super) framework: Option<&'static str>,
    /// Crates in the shared library of dependencies.
    pub(super) shared: Vec<String>,
    /// Path crates, linked into the app's own library.
    pub(super) path: Vec<String>,
    /// Procedural macros, run in the compiler.
    pub(super) macros: Vec<String>,
    pub(super) checks: Vec<Check>,
}

/// Prints the result, for people or as JSON.
pub(super) fn print(examination: &Examination, json: bool) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    if json {
        let text = serde_json::to_string_pretty(examination)?;
        return writeln!(out, "{text}");
    }
    for Check { mark, message, advice, .. } in &examination.checks {
        let mark = match mark {
            Mark::Ok => "\x1b[1;32m  ok\x1b[0m",
            Mark::Warn => "\x1b[1;33mwarn\x1b[0m",
            Mark::Fail => "\x1b[1;31mfail\x1b[0m",
        };
        writeln!(out, "{mark}  {message}")?;
        if !advice.is_empty() {
            writeln!(out, "      → {advice}")?;
        }
    }
    let count = |mark| examination.checks.iter().filter(|check| check.mark == mark).count();
    let (warnings, failures) = (count(Mark::Warn), count(Mark::Fail));
    writeln!(out, "\n{}", summary(warnings, failures))
}

fn summary(warnings: usize, failures: usize) -> String {
    let failures = match failures {
        0 => "nothing stands in the way".to_owned(),
        count => counted(count, "thing stands in the way", "things stand in the way"),
    };
    let warnings = match warnings {
        0 => "no warnings".to_owned(),
        count => counted(count, "warning", "warnings"),
    };
    format!("{failures}; {warnings}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts() {
        assert_eq!(summary(0, 0), "nothing stands in the way; no warnings");
        assert_eq!(summary(1, 2), "2 things stand in the way; 1 warning");
    }
}
