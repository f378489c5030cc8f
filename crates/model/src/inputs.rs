//! What a build depends on: said by the builder, followed by the watcher.

use std::path::PathBuf;

/// What a build depends on: absolute paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildInputs {
    /// What the compiler has read.
    pub files: Vec<PathBuf>,
    /// What build scripts have named: files and directories, whether they exist or not.
    pub named: Vec<PathBuf>,
    /// The directories of packages whose build script names nothing: each of their files is an input.
    pub packages: Vec<PathBuf>,
}
