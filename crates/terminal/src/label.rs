//! What stands before a line that a side process has written, or that is about one of several apps.

use serde::Serialize;

/// A side process or an app, as its lines name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: String,
    /// How wide the longest name is.
    pub width: usize,
    /// Its place among all of them, which chooses its colour.
    pub place: usize,
}

/// Which of its streams a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How much the user has to know of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Only if details were asked for.
    Detail,
    /// Worth knowing.
    Note,
    /// Something is probably wrong.
    Warning,
}
