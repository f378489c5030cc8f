//! What a worker loads.

use std::path::{Path, PathBuf};

use super::load::{self, LoadError};

/// The exit code of a worker that failed before it served, and has said why.
pub(super) const EXIT_FAILED: i32 = 1;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Code<'a> {
    /// Libraries that its zygote has not loaded, in order.
    pub(crate) before: &'a [PathBuf],
    pub(crate) artifact: &'a Path,
}

impl Code<'_> {
    /// Loads the libraries that come before the app.
    pub(super) fn load_before(&self) -> Result<(), LoadError> {
        self.before.iter().try_for_each(|library| load::load_global(library))
    }
}
