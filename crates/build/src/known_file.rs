//! A file that can be recognized: whether it is still the one that was looked at.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Tells a file from every other that has existed while somebody holds on to it, and from itself before it was
/// written to. Leaves out the ctime, which a hard link changes, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Identity {
    device: u64,
    pub inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Identity {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

/// A file, and what it was when it was last looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub path: PathBuf,
    identity: Identity,
}

impl Known {
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: Identity::of(path)? })
    }

    pub(crate) fn is_unchanged(&self) -> bool {
        Identity::of(&self.path).is_ok_and(|now| now == self.identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_again_is_another_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("one.o");
        std::fs::write(&path, "one").unwrap();
        let known = Known::new(&path).unwrap();
        let link = directory.path().join("two.o");
        std::fs::hard_link(&path, &link).unwrap();
        assert!(known.is_unchanged());
        assert_eq!(Identity::of(&path).unwrap(), Identity::of(&link).unwrap());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "one").unwrap();
        assert!(!known.is_unchanged());
    }
}
