//! The kinds of apps.

use serde::{Deserialize, Serialize};

/// The kind of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppKind {
    /// A library with an `export!`, which gets its requests over the link.
    Plugin,
    /// Any binary that listens on its own.
    Plain,
}

/// The symbol of the function that calls `main` in the library of a plain app.
pub const PLAIN_MAIN_SYMBOL: &str = "devhost_plain_main";
