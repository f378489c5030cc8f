//! What is watched, and how.

use std::path::PathBuf;

use devhost_model::Rules;

/// What is watched.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// The directories of the app's path packages.
    pub roots: Vec<PathBuf>,
    /// The workspace's root. Only its manifests and `.env` files are watched, unless it is also in `roots`.
    pub workspace_root: PathBuf,
    /// Directories outside the packages that may contain served files.
    pub surroundings: Vec<Surroundings>,
    /// Target directories. Nothing in them counts, even if a build names it.
    pub exclude: Vec<PathBuf>,
    /// Files with environment variables for the app, besides `.env` and its like.
    pub env_files: Vec<PathBuf>,
    /// Files that devhost itself reads. They ask for a build whatever they are and wherever they are.
    pub own_files: Vec<PathBuf>,
    /// What the user says of files.
    pub rules: Rules,
}

/// A directory outside the packages from which the app may serve or read files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// The directory, which need not exist.
    pub path: PathBuf,
    /// How many levels of subdirectories are watched.
    pub depth_max: usize,
}

/// How changes are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The kernel reports them (inotify).
    Native,
    /// Everything is looked at twice a second, for file systems without events (network and container mounts).
    Poll,
}
