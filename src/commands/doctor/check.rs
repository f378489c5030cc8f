//! The result of one check.

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mark {
    Ok,
    Warn,
    Fail,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// Stable across versions.
    pub(super) id: &'static str,
    pub(super) mark: Mark,
    /// What was found.
    pub(super) message: String,
    /// What to do about it; empty for nothing.
    pub(super) advice: String,
}

impl Check {
    pub(super) fn ok(id: &'static str, message: impl Into<String>) -> Self {
        Self { id, mark: Mark::Ok, message: message.into(), advice: String::new() }
    }

    pub(super) fn warn(id: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { id, mark: Mark::Warn, message: message.into(), advice: advice.into() }
    }

    pub(super) fn fail(id: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { id, mark: Mark::Fail, message: message.into(), advice: advice.into() }
    }
}
