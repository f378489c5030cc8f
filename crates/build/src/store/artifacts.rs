//! The artifacts of one run, in a directory of their own. If somebody removes it (`cargo clean`), it is
//! created again.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::collect;
use crate::paths::is_same_file;

/// The file locked while the run of an artifact directory is alive.
pub(crate) const LOCK_NAME: &str = "lock";

#[derive(Debug)]
pub(crate) struct ArtifactDirectory {
    /// The directory of all runs' artifacts.
    pub(super) parent: PathBuf,
    pub(super) path: PathBuf,
    /// Locked: other runs remove the directories of ended ones.
    lock: File,
}

impl ArtifactDirectory {
    pub(crate) fn make(target_dir: &Path) -> io::Result<Self> {
        let parent = target_dir.join("artifacts");
        std::fs::create_dir_all(&parent)?;
        let path = tempfile::Builder::new().prefix("run-").tempdir_in(&parent)?.keep();
        let mut lock = File::create(path.join(LOCK_NAME))?;
        lock.lock()?;
        // Tells people, and `Leavings::hold`, who holds the lock.
        let _ = write!(lock, "{}", std::process::id());
        Ok(Self { parent, path, lock })
    }

    /// Its path. Creates another directory if it was removed.
    pub(crate) fn ensure(&mut self) -> io::Result<&Path> {
        if !self.is_there() {
            let target_dir = self.parent.parent().unwrap_or(Path::new("/"));
            let made = Self::make(target_dir)?;
            collect::forget(&self.path);
            *self = made;
        }
        Ok(&self.path)
    }

    pub(crate) fn is_there(&self) -> bool {
        is_same_file(&self.path.join(LOCK_NAME), &self.lock)
    }

    pub(crate) fn remove(&self) {
        collect::forget(&self.path);
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
