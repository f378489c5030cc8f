//! What is wrong in a file, and where.

use std::ops::Range;

/// What is wrong in a file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub span: Range<usize>,
    /// The key that it is about, from the inside out; empty until it is known.
    key: Vec<String>,
    what: String,
    /// What to do about it, empty if the message says it all.
    pub hint: String,
}

impl Fault {
    pub(crate) fn new(span: Range<usize>, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { span, key: Vec::new(), what: what.into(), hint: hint.into() }
    }

    /// Says of which key's value it is about.
    pub(crate) fn below(mut self, key: &str) -> Self {
        self.key.push(key.to_owned());
        self
    }

    pub(crate) fn message(&self) -> String {
        if self.key.is_empty() {
            return self.what.clone();
        }
        let key: Vec<&str> = self.key.iter().rev().map(String::as_str).collect();
        format!("`{}`: {}", key.join("."), self.what)
    }
}
