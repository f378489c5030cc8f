//! What kinds of package a crate is compiled against.

use serde::{Deserialize, Serialize};

/// What an `--extern` of a path package is, according to cargo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExternKind {
    /// A package a developer may edit: linked statically into the app.
    Path,
    /// A dependency: goes into the shared library.
    Library,
    /// Runs in rustc, not in the app.
    Macro,
}
