//! The artifacts of one run, in a directory of their own. Somebody else may remove it at any moment (`cargo clean`);
//! then it is made again.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::paths::is_same_file;

/// The file whose lock says that the run that an artifact directory belongs to is alive.
pub(crate) const LOCK_NAME: &str = "lock";

/// Where the artifacts of one run go.
#[derive(Debug)]
pub(crate) struct ArtifactDirectory {
    /// That of the artifacts of all runs.
    pub(super) parent: PathBuf,
    pub(super) path: PathBuf,
    /// Locked: other runs remove the directories of runs that are over.
    lock: File,
}

impl ArtifactDirectory {
    /// Makes one in devhost's target directory.
    pub(crate) fn make(target_dir: &Path) -> io::Result<Self> {
        let parent = target_dir.join("artifacts");
        std::fs::create_dir_all(&parent)?;
        let path = tempfile::Builder::new().prefix("run-").tempdir_in(&parent)?.keep();
        let mut lock = File::create(path.join(LOCK_NAME))?;
        lock.lock()?;
        // For people who wonder who it is.
        let _ = write!(lock, "{}", std::process::id());
        Ok(Self { parent, path, lock })
    }

    /// Its path. If it was removed, another one is made.
    pub(crate) fn ensure(&mut self) -> io::Result<&Path> {
        if !self.is_there() {
            let target_dir = self.parent.parent().unwrap_or(Path::new("/"));
            *self = Self::make(target_dir)?;
        }
        Ok(&self.path)
    }

    /// False if it was removed.
    pub(crate) fn is_there(&self) -> bool {
        is_same_file(&self.path.join(LOCK_NAME), &self.lock)
    }

    /// Removes it with all that is in it.
    pub(crate) fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
