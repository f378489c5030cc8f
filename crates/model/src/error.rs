//! The error that reaches a person: a mistake of theirs (exit code 2) or a fault (exit code 1), with a hint if there is one.

use std::fmt;

/// The exit code after a mistake of the user.
pub const EXIT_MISTAKE: u8 = 2;
/// The exit code after a fault.
pub const EXIT_FAULT: u8 = 1;

/// An error with a message, a hint and an exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// True if it is the user's mistake.
    pub mistake: bool,
    /// What is wrong, and with what.
    pub message: String,
    /// What to do about it, empty if unknown.
    pub hint: String,
}

impl Error {
    /// Makes the error for a mistake of the user.
    pub fn mistake(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { mistake: true, message: message.into(), hint: hint.into() }
    }

    /// Makes the error for a fault, which is not the user's doing.
    pub fn fault(message: impl Into<String>) -> Self {
        Self { mistake: false, message: message.into(), hint: String::new() }
    }

    /// Sets the hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Returns the exit code of a devhost that ends with this error.
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
