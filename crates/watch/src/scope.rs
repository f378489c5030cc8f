//! What is watched, and how.

use std::path::PathBuf;

/// What is watched.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// The directories of the app's path packages.
    pub roots: Vec<PathBuf>,
    /// The workspace's root. Only its manifests and its `.env` are watched, unless it is a root too.
    pub workspace_root: PathBuf,
    /// Directories around the packages, in which served files are looked for.
    pub surroundings: Vec<Surroundings>,
    /// Target directories: nothing in them counts, even if a build names it.
    pub exclude: Vec<PathBuf>,
    /// Files that mean a build or a new load whatever they are and wherever they lie.
    pub extra_files: Vec<PathBuf>,
}

/// A directory from which the app may serve or read files that are in none of its packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// The directory. It need not exist.
    pub path: PathBuf,
    /// How many levels of directories below it are looked at.
    pub depth_max: usize,
}

/// How changes are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The kernel tells (inotify).
    Native,
    /// Everything is looked at twice a second: for file systems that tell nothing (network and container mounts).
    Poll,
}
