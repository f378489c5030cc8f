//! What an entry is and which ones the book accepts. Knows neither HTTP nor SQL.

use serde::{Deserialize, Serialize};

/// The longest name, in characters.
pub(crate) const NAME_MAX_CHARS: usize = 60;

/// The longest message, in characters.
pub(crate) const MESSAGE_MAX_CHARS: usize = 1_000;

/// An entry in the book.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    /// Counts up from 1 in the order of writing.
    pub id: i64,
    /// Who wrote it.
    pub name: String,
    /// What they wrote; may have several lines.
    pub message: String,
    /// When, as `2026-11-24T23:31:00Z`.
    pub written_at: String,
}

/// What a visitor sent, not validated yet. A missing field is empty.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Draft {
    /// The name as typed.
    pub name: String,
    /// The message as typed.
    pub message: String,
}

/// A valid draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checked {
    name: String,
    message: String,
}

impl Checked {
    /// The name: trimmed, not empty, one line.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The message: trimmed, not empty.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

/// What is wrong with a draft, by field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Complaints {
    /// About the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// About the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Draft {
    /// Accepts the draft or says what is wrong with it.
    pub(crate) fn check(&self) -> Result<Checked, Complaints> {
        let name = self.name.trim();
        // Browsers send line ends in forms as CR LF, scripts as LF. Keeps LF only.
        let message = self.message.trim().replace("\r\n", "\n");
        let complaints = Complaints { name: complain_of_name(name), message: complain_of_message(&message) };
        if complaints == Complaints::default() {
            Ok(Checked { name: name.to_owned(), message })
        } else {
            Err(complaints)
        }
    }
}

fn complain_of_name(name: &str) -> Option<String> {
    if name.is_empty() {
        Some("Please leave a name.".into())
    } else if name.chars().count() > NAME_MAX_CHARS {
        Some(format!("A name has at most {NAME_MAX_CHARS} characters."))
    } else if name.chars().any(char::is_control) {
        Some("A name is one line of text.".into())
    } else {
        None
    }
}

fn complain_of_message(message: &str) -> Option<String> {
    if message.is_empty() {
        Some("Please write a few words.".into())
    } else if message.chars().count() > MESSAGE_MAX_CHARS {
        Some(format!("A message has at most {MESSAGE_MAX_CHARS} characters."))
    } else if message.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        Some("A message is plain text.".into())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(name: &str, message: &str) -> Draft {
        Draft { name: name.into(), message: message.into() }
    }

    #[test]
    fn good_draft_is_trimmed_and_its_line_ends_are_unified() {
        let checked = draft("  Ada ", "one\r\ntwo\n").check().expect("a good draft");
        assert_eq!(checked.name(), "Ada");
        assert_eq!(checked.message(), "one\ntwo");
    }

    #[test]
    fn empty_fields_are_both_complained_of() {
        let complaints = draft(" ", "\n\t").check().expect_err("an empty draft");
        assert!(complaints.name.is_some() && complaints.message.is_some());
    }

    #[test]
    fn lengths_are_counted_in_characters_and_not_in_bytes() {
        assert!(draft(&"ü".repeat(NAME_MAX_CHARS), &"字".repeat(MESSAGE_MAX_CHARS)).check().is_ok());
        assert!(draft(&"ü".repeat(NAME_MAX_CHARS + 1), "hello").check().is_err());
        assert!(draft("Ada", &"字".repeat(MESSAGE_MAX_CHARS + 1)).check().is_err());
    }

    #[test]
    fn control_characters_are_refused() {
        assert!(draft("A\nda", "hello").check().is_err());
        assert!(draft("Ada", "bell \u{7}").check().is_err());
    }
}
