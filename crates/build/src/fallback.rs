//! Reasons, other than the app's own code, why an app cannot be a library. Then nothing is shared. If that
//! does not help, a plain app's own program is built and started for each generation. Only the output of a
//! failed build is inspected. The app's own errors are never a reason; if the program does not build either,
//! the first failure counts.

use std::path::{Path, PathBuf};

use devhost_model::{Diagnostic, Failure};

use crate::helper_error::NO_LIBRARY_MESSAGE;
use crate::{cargo, cargo_text, deps};

/// Part of rustc's message if two shared libraries contain the same crate.
const DUPLICATE_MESSAGE: &str = "only shows up once";

/// Parts of linkers' lines about what they cannot do.
const LINKER_WORDS: &[&str] = &["error:", "undefined ", "relocation ", "cannot ", "multiple definition"];

/// Parts of linkers' lines about missing symbols.
const SYMBOL_WORDS: &[&str] =
    &["undefined symbol", "undefined hidden", "undefined reference", "hidden symbol"];

/// How much of a linker's line is shown.
const REASON_CHARACTERS_MAX: usize = 200;

/// The note for an app that is its own program.
pub fn note(reason: &str) -> String {
    format!("each reload starts the app's own program (as with --strategy restart): {reason}")
}

/// Why the app should be linked statically, if that may help after a failed run of cargo.
pub(crate) fn reason_to_share_nothing(run: &cargo::Run) -> Option<String> {
    let messages = run.diagnostics.iter().map(|diagnostic| diagnostic.message.as_str());
    if let Some(message) = messages.into_iter().find(|message| message.contains(DUPLICATE_MESSAGE)) {
        let name = message.split('`').nth(1).unwrap_or("a dependency");
        return Some(format!("a crate that is a dylib contains `{name}`, too"));
    }
    link_error(&run.diagnostics).map(|reason| format!("the linker refuses it otherwise: {reason}"))
}

/// Whether linking failed for missing symbols, and nothing else is wrong.
pub(crate) fn misses_symbols(run: &cargo::Run) -> bool {
    let said = |diagnostic: &Diagnostic| cargo_text::strip_colours(&diagnostic.rendered);
    link_error(&run.diagnostics).is_some()
        && run
            .diagnostics
            .iter()
            .filter(|diagnostic| is_link_error(diagnostic))
            .map(said)
            .any(|said| said.lines().any(|line| SYMBOL_WORDS.iter().any(|words| line.contains(words))))
}

/// Why a plain app should run as its own program, if that may help after a failed build.
pub(crate) fn reason_to_restart(failure: &Failure) -> Option<String> {
    match failure {
        Failure::Build { diagnostics, output } => {
            let output = cargo_text::strip_colours(output);
            let said = output.lines().find_map(|line| line.split_once(NO_LIBRARY_MESSAGE));
            said.map(|(_, reason)| format!("it cannot be made a library: {reason}")).or_else(|| {
                let reason = link_error(diagnostics)?;
                Some(format!("it cannot be linked as a library: {reason}"))
            })
        }
        // The library was built, but lacks something.
        Failure::Start { message, .. } => Some(format!("it cannot be a library: {message}")),
        Failure::Process { .. } | Failure::Crash { .. } => None,
    }
}

/// The linker's error in one line, if only linking failed and no library is missing.
fn link_error(diagnostics: &[Diagnostic]) -> Option<String> {
    let mut errors = diagnostics.iter().filter(|diagnostic| diagnostic.level.starts_with("error"));
    let error = errors.next().filter(|error| is_link_error(error))?;
    if errors.any(|error| !is_link_error(error)) {
        return None;
    }
    let rendered = cargo_text::strip_colours(&error.rendered);
    let mut lines = rendered.lines().map(str::trim);
    if lines.clone().any(|line| deps::missing_library(line).is_some()) {
        return None;
    }
    let line = lines
        .find(|line| {
            !line.starts_with("error: linking with") && LINKER_WORDS.iter().any(|word| line.contains(word))
        })
        .unwrap_or(error.message.as_str());
    // Drop the path of a linker inside of the toolchain.
    let line = line.trim_start_matches("= note: ");
    let line = line.split_once("error: ").map_or(line, |(_, rest)| rest);
    Some(line.chars().take(REASON_CHARACTERS_MAX).collect())
}

/// As rustc says it: ``linking with `cc` failed: exit status: 1``.
fn is_link_error(diagnostic: &Diagnostic) -> bool {
    diagnostic.message.starts_with("linking with ") && diagnostic.message.contains(" failed")
}

/// A decision reverted on drop unless the following build proves it right. A cancelled build proves nothing.
#[derive(Debug)]
pub(crate) struct Doubt(Option<PathBuf>);

impl Doubt {
    /// Doubts the decision this marker file stands for.
    pub(crate) fn of(marker: &Path) -> Self {
        Self(Some(marker.to_owned()))
    }

    pub(crate) fn decide(mut self, right: bool) {
        if right {
            self.0 = None;
        }
    }
}

impl Drop for Doubt {
    fn drop(&mut self) {
        if let Some(marker) = self.0.take() {
            let _ = std::fs::remove_file(marker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use devhost_model::Diagnostics;

    fn error(message: &str, rendered: &str) -> Diagnostic {
        Diagnostic {
            level: "error".into(),
            code: None,
            file: None,
            line: None,
            column: None,
            message: message.into(),
            rendered: rendered.into(),
        }
    }

    fn link(said: &str) -> Diagnostic {
        let message = "linking with `cc` failed: exit status: 1";
        error(
            message,
            &format!("error: {message}\n  |\n  = note:  \"cc\" \"-m64\" \"a.o\"\n  = note: {said}\n"),
        )
    }

    fn reason(diagnostics: Vec<Diagnostic>) -> Option<String> {
        reason_to_restart(&Failure::Build { diagnostics: diagnostics.into(), output: String::new() })
    }

    #[test]
    fn a_refusal_of_the_linker_is_a_reason() {
        let said = "rust-lld: error: relocation R_X86_64_TPOFF32 against counter cannot be used with -shared";
        assert!(
            reason(vec![link(said)])
                .unwrap()
                .ends_with(": relocation R_X86_64_TPOFF32 against counter cannot be used with -shared")
        );
        let said = "/usr/bin/ld: a.o: relocation R_X86_64_TPOFF32 against symbol `counter' can not be used";
        assert!(reason(vec![link(said)]).unwrap().contains("relocation R_X86_64_TPOFF32"));
    }

    #[test]
    fn an_error_of_the_user_is_none() {
        assert_eq!(reason(vec![error("mismatched types", "error[E0308]: mismatched types")]), None);
        assert_eq!(reason(vec![link("ld: error: x"), error("mismatched types", "")]), None);
        assert_eq!(reason(vec![link("/usr/bin/ld: cannot find -lnosuch: No such file")]), None);
        assert_eq!(reason(Vec::new()), None);
    }

    #[test]
    fn a_word_of_the_wrapper_is_a_reason() {
        let output = format!("error: {NO_LIBRARY_MESSAGE}cannot find macro\nerror: could not compile\n");
        let failure = Failure::Build { diagnostics: Diagnostics::default(), output };
        assert_eq!(reason_to_restart(&failure).unwrap(), "it cannot be made a library: cannot find macro");
    }

    #[test]
    fn a_doubt_is_kept_only_if_it_was_right() {
        let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        Doubt::of(&file).decide(true);
        assert!(file.exists());
        drop(Doubt::of(&file));
        assert!(!file.exists());
    }
}
