//! Whether directories a build needs are still there. Anything below the target directory may be removed at
//! any moment, even while cargo runs (`cargo clean`, `rm -rf target`); errors of cargo and rustc are then not
//! the code's fault. A build that failed while something was removed is repeated.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::paths::entries;

/// Where the wrapper records what path crates are compiled against, and by which calls. cargo knows of
/// neither.
const RECORDS: [&str; 2] = ["externs", "calls"];

/// How deep directories are inspected: those of cargo and devhost are at most this deep, what comes and goes
/// in a build lies deeper.
const DEPTH_MAX: u32 = 2;

/// A snapshot of directories a build does not remove.
#[derive(Debug, Default)]
pub(crate) struct Footing(Vec<(PathBuf, Identity)>);

/// Device, inode, and creation time, as inodes are soon reused.
type Identity = (u64, u64, Option<SystemTime>);

impl Footing {
    pub(crate) fn look(target_dir: &Path) -> Self {
        let mut footing = Self::default();
        footing.add(target_dir.to_owned(), DEPTH_MAX);
        footing
    }

    fn add(&mut self, directory: PathBuf, depth: u32) {
        let Some(identity) = identity(&directory) else { return };
        if depth > 0 {
            for path in entries(&directory).filter(|path| is_lasting(path)) {
                self.add(path, depth - 1);
            }
        }
        self.0.push((directory, identity));
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.0.iter().any(|(path, known)| identity(path).as_ref() != Some(known))
    }
}

/// False for what builds, of this run or another, create and remove themselves.
fn is_lasting(path: &Path) -> bool {
    let parent = path.parent().and_then(Path::file_name).unwrap_or_default();
    let is_temporary = ["artifacts", "preload", "bench"].iter().any(|name| parent == *name);
    path.is_dir() && !path.is_symlink() && !is_temporary
}

fn identity(directory: &Path) -> Option<Identity> {
    let metadata = std::fs::metadata(directory).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.created().ok()))
}

/// Whether records of the wrapper are gone that cargo will not recreate.
pub(crate) fn lacks_records(target_dir: &Path) -> bool {
    RECORDS.iter().any(|name| !target_dir.join(name).is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_directory_is_noticed_and_a_file_is_none() {
        let target = tempfile::tempdir().unwrap();
        let make = |path: &str| std::fs::create_dir_all(target.path().join(path)).unwrap();
        let remove = |path: &str| std::fs::remove_dir_all(target.path().join(path)).unwrap();
        for path in ["debug/deps", "debug/incremental/app-1", "artifacts/run-1", "tmp/rustc/rustcABC"] {
            make(path);
        }
        let footing = Footing::look(target.path());
        for path in ["debug/incremental/app-1", "artifacts/run-1", "tmp/rustc/rustcABC"] {
            remove(path);
        }
        make("debug/examples");
        assert!(!footing.is_lost(), "a build does that itself");
        remove("debug/deps");
        assert!(footing.is_lost());
        std::fs::rename(target.path().join("debug/examples"), target.path().join("debug/deps")).unwrap();
        assert!(footing.is_lost(), "another one has taken its place");
    }
}
