//! The error that reaches a person: a mistake of theirs (exit code 2) or a fault (exit code 1), always with
//! what to do about it where that is known.

use std::fmt;

/// The exit code for a mistake of the user's.
pub const EXIT_MISTAKE: u8 = 2;
/// The exit code for a fault.
pub const EXIT_FAULT: u8 = 1;

/// An error with its text, its hint and its exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// True where the user can mend it.
    pub mistake: bool,
    /// What is wrong, naming the thing.
    pub message: String,
    /// What to do about it, empty where unknown.
    pub hint: String,
}

impl Error {
    /// A mistake of the user's, and how to mend it.
    pub fn mistake(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { mistake: true, message: message.into(), hint: hint.into() }
    }

    /// A fault: not the user's doing.
    pub fn fault(message: impl Into<String>) -> Self {
        Self { mistake: false, message: message.into(), hint: String::new() }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The exit code of a devhost that ends with this error.
    pub fn exit_code(&self) -> u8 {
        if self.mistake { EXIT_MISTAKE } else { EXIT_FAULT }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
