//! cargo's output for people: what of it matters, and its text without colours. Pure.

/// Prefixes of cargo's lines about slow steps.
pub(crate) const PROGRESS_WORDS: &[&str] =
    &["Updating ", "Downloading ", "Downloaded ", "Locking ", "Adding "];

/// Prefixes of cargo's lines not worth showing.
pub(crate) const SILENT_WORDS: &[&str] = &["Finished ", "Fresh ", "Dirty "];

/// How many of the first lines of cargo's error are shown. The last lines have the causes.
const COMPLAINT_FIRST_LINES_MAX: usize = 24;

/// How many of the last lines are shown.
const COMPLAINT_LAST_LINES_MAX: usize = 12;

/// cargo's error without colours, progress, and anything before it.
pub(crate) fn essence(said: &str) -> String {
    let plain = strip_colours(said);
    let is_progress = |line: &&str| {
        let words = line.trim_start();
        PROGRESS_WORDS.iter().chain(SILENT_WORDS).any(|word| words.starts_with(word))
    };
    let lines: Vec<&str> = plain.lines().map(str::trim_end).filter(|line| !is_progress(line)).collect();
    let error = lines.iter().position(|line| line.starts_with("error"));
    let lines = &lines[error.unwrap_or(0)..];
    let kept = COMPLAINT_FIRST_LINES_MAX + COMPLAINT_LAST_LINES_MAX;
    // Leaving out a single line gains nothing.
    let text = if lines.len() <= kept + 1 {
        lines.join("\n")
    } else {
        let (first, rest) = lines.split_at(COMPLAINT_FIRST_LINES_MAX);
        let (left_out, last) = rest.split_at(rest.len() - COMPLAINT_LAST_LINES_MAX);
        format!("{}\n… {} more lines …\n{}", first.join("\n"), left_out.len(), last.join("\n"))
    };
    text.trim().to_owned()
}

pub(crate) fn strip_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            if characters.next() == Some('[') {
                characters.by_ref().find(|character| ('\u{40}'..='\u{7e}').contains(character));
            }
        } else {
            plain.push(character);
        }
    }
    plain
}

/// A build script's warning as passed on by cargo: `warning: NAME@VERSION: TEXT`.
pub(crate) fn script_warning(line: &str) -> Option<&str> {
    let message = line.strip_prefix("warning: ")?;
    let (name, rest) = message.split_once('@')?;
    let (version, _) = rest.split_once(": ")?;
    let is_word = |text: &str| !text.is_empty() && !text.contains(char::is_whitespace);
    (is_word(name) && is_word(version)).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_told_in_its_essence() {
        let said = "\u{1b}[33mwarning\u{1b}[0m: unused\n    Updating index\n\u{1b}[1m\u{1b}[31merror\u{1b}[0m: no\n\nCaused by:\n  it\n";
        assert_eq!(essence(said), "error: no\n\nCaused by:\n  it");
        assert_eq!(essence("no word of an error\n"), "no word of an error");
        let long: String = (0..250).map(|number| format!("  line {number}\n")).collect();
        let told = essence(&format!("error: many\n{long}"));
        assert_eq!(told.lines().count(), COMPLAINT_FIRST_LINES_MAX + 1 + COMPLAINT_LAST_LINES_MAX);
        assert!(told.starts_with("error: many\n  line 0\n") && told.ends_with("  line 249"), "{told}");
        assert!(told.contains("… 215 more lines …"), "{told}");
    }
}
