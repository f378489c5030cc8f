//! Colours, and text that is safe to print.

use std::io::IsTerminal;

use crate::label::Label;

/// How text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether to write colours.
    pub colours: bool,
}

impl Style {
    /// Returns the style for a stream.
    pub fn of(stream: &impl IsTerminal) -> Self {
        Self { colours: wants_colours(stream.is_terminal(), &environment) }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Returns the text in bold.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Returns the text dimmed.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// Returns the text in the colour of success.
    pub fn good(self, text: &str) -> String {
        self.paint("1;32", text)
    }

    /// Returns the text in the colour of failure.
    pub fn bad(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// Returns the text in the colour of a warning.
    pub fn doubtful(self, text: &str) -> String {
        self.paint("1;33", text)
    }

    /// Returns the text in the colour of names and addresses.
    pub fn notable(self, text: &str) -> String {
        self.paint("36", text)
    }

    /// Returns what stands before a side process's lines.
    pub(crate) fn label(self, label: &Label) -> String {
        /// The colours of labels, in turn. Red is for what is wrong.
        const CODES: [&str; 5] = ["36", "35", "33", "34", "32"];
        let Label { name, width, place } = label;
        self.paint(CODES[place % CODES.len()], &format!("{name:width$} |"))
    }

    /// Returns coloured text, without its colours if they are off.
    pub(crate) fn coloured(self, text: &str) -> String {
        if self.colours { text.to_owned() } else { anstream::adapter::strip_str(text).to_string() }
    }
}

/// Replaces control characters: a file may have any name, and a terminal obeys what it is shown.
pub fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// Follows <https://no-color.org>, then <https://bixense.com/clicolors>, then whether there is a capable
/// terminal.
fn wants_colours(is_terminal: bool, environment: &impl Fn(&str) -> Option<String>) -> bool {
    let is_set = |name: &str| environment(name).is_some_and(|value| !value.is_empty());
    let forces = |name: &str| environment(name).is_some_and(|value| !value.is_empty() && value != "0");
    if is_set("NO_COLOR") {
        return false;
    }
    if forces("CLICOLOR_FORCE") || forces("FORCE_COLOR") {
        return true;
    }
    let is_switched_off = environment("CLICOLOR").as_deref() == Some("0");
    is_terminal && !is_switched_off && environment("TERM").as_deref() != Some("dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_follow_the_environment() {
        let wants = |is_terminal: bool, variables: &[(&str, &str)]| {
            wants_colours(is_terminal, &|name: &str| {
                variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(wants(true, &[]));
        assert!(!wants(false, &[]));
        assert!(!wants(true, &[("NO_COLOR", "1")]));
        assert!(wants(true, &[("NO_COLOR", "")]));
        assert!(!wants(true, &[("TERM", "dumb")]));
        assert!(!wants(true, &[("CLICOLOR", "0")]));
        assert!(wants(false, &[("CLICOLOR", "0"), ("CLICOLOR_FORCE", "1")]));
        assert!(wants(false, &[("CLICOLOR_FORCE", "1")]));
        assert!(wants(false, &[("FORCE_COLOR", "1")]));
        assert!(!wants(false, &[("CLICOLOR_FORCE", "0")]));
        assert!(!wants(false, &[("FORCE_COLOR", "1"), ("NO_COLOR", "1")]));
    }
}
