//! The devhost executable a build runs.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::paths::is_same_file;

/// The devhost executable as it was at the start, even if its file is replaced or removed: it may itself be
/// in a target directory.
#[derive(Debug)]
pub(crate) struct Tool {
    path: PathBuf,
    file: File,
    stamp: String,
}

impl Tool {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let time = metadata.modified()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let stamp = format!("{} {} {}", env!("CARGO_PKG_VERSION"), metadata.len(), time.as_nanos());
        Ok(Self { path: path.to_owned(), file, stamp })
    }

    /// A path by which it can be run while this process lives: its own, or that of the open file if its own
    /// leads elsewhere now.
    pub(crate) fn path(&self) -> PathBuf {
        if is_same_file(&self.path, &self.file) {
            return self.path.clone();
        }
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }

    /// A stamp of its version, size and modification time.
    pub(crate) fn stamp(&self) -> &str {
        &self.stamp
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_can_be_run_after_its_file_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tool");
        std::fs::copy("/bin/true", &path).unwrap();
        let tool = Tool::open(&path).unwrap();
        assert_eq!(tool.path(), path);
        for other in [None, Some("another one")] {
            let _ = std::fs::remove_file(&path);
            if let Some(text) = other {
                std::fs::write(&path, text).unwrap();
            }
            assert!(std::process::Command::new(tool.path()).status().unwrap().success(), "{other:?}");
        }
    }
}
