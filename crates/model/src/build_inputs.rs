//! What a build depends on: found out by the builder, watched by the watcher.

use std::path::PathBuf;

/// What a build depends on, as absolute paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildInputs {
    /// The files that the compiler read.
    pub files: Vec<PathBuf>,
    /// The files and directories that build scripts named, whether or not they exist.
    pub named: Vec<PathBuf>,
    /// The directories of packages whose build script named nothing, so that each of their files is an input.
    pub packages: Vec<PathBuf>,
}
