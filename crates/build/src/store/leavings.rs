//! Everything devhost has put into its target directory: how large it is, who uses it, and how to remove it.
//! A directory named by the user (`--target-dir`) may hold other files, which are left alone.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::artifacts::LOCK_NAME;
use crate::paths::entries;

/// Directories of devhost's own.
const DIRECTORIES: &[&str] = &[
    "artifacts",
    "bench",
    "bin",
    "calls",
    "externs",
    "job-sheet",
    "link",
    "memory",
    // The directory of job sheets in earlier versions.
    "order",
    "preload",
    "report",
    "scripts",
    "serving",
    "shadow",
    "tmp",
    "uses",
];

/// Prefixes of files made by devhost or its cargo.
const FILES: &[&str] = &["devhost-port-", ".rustc_info.json", ".future-incompat-report.json", "CACHEDIR.TAG"];

/// Marks cargo's directory of a profile.
const PROFILE_MARK: &str = ".fingerprint";

/// How deep directories are measured.
const DEPTH_MAX: u32 = 100;

/// What devhost has left in its target directory.
#[derive(Debug)]
pub struct Leavings {
    place: PathBuf,
    parts: Vec<(PathBuf, u64)>,
    file_count: u64,
}

/// Keeps others from using the directory while it is removed.
#[derive(Debug)]
pub struct Held(#[expect(dead_code, reason = "held, not used")] Vec<File>);

/// The directory is in use; says by whom.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InUse(String);

impl Leavings {
    /// Inspects devhost's target directory.
    ///
    /// # Errors
    /// It cannot be read. A missing directory counts as empty.
    pub fn look(place: &Path) -> io::Result<Self> {
        let mut leavings = Self { place: place.to_owned(), parts: Vec::new(), file_count: 0 };
        match std::fs::read_dir(place) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(leavings),
            Err(error) => return Err(error),
        }
        // If devhost has never built here, nothing is its own.
        if !place.join("artifacts").is_dir()
            && !place.join("job-sheet").is_dir()
            && !place.join("bench").is_dir()
        {
            return Ok(leavings);
        }
        let mut ours: Vec<PathBuf> = entries(place).filter(|path| is_ours(path)).collect();
        ours.sort();
        let mut links = HashMap::new();
        for path in ours {
            let mut size = 0;
            leavings.measure(&path, &mut links, &mut size, DEPTH_MAX);
            leavings.parts.push((path, size));
        }
        Ok(leavings)
    }

    /// Counts a file with several hard links once, and only if all of them are removed.
    fn measure(&mut self, path: &Path, links: &mut HashMap<(u64, u64), u64>, size: &mut u64, depth: u32) {
        let Ok(metadata) = std::fs::symlink_metadata(path) else { return };
        // The unit of `st_blocks`, see stat(2).
        let bytes = metadata.blocks() * 512;
        if metadata.is_dir() {
            *size += bytes;
            if depth > 0 {
                entries(path).for_each(|path| self.measure(&path, links, size, depth - 1));
            }
            return;
        }
        self.file_count += 1;
        let seen = links.entry((metadata.dev(), metadata.ino())).or_insert(0);
        *seen += 1;
        if *seen == metadata.nlink() {
            *size += bytes;
        }
    }

    /// Whether there is nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// How many bytes its removal frees.
    pub fn size_bytes(&self) -> u64 {
        self.parts.iter().map(|(_, size)| size).sum()
    }

    /// The number of files.
    pub fn file_count(&self) -> u64 {
        self.file_count
    }

    /// The names of its parts and their sizes in bytes.
    pub fn parts(&self) -> impl Iterator<Item = (String, u64)> {
        self.parts
            .iter()
            .map(|(path, size)| (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), *size))
    }

    /// Locks the directory.
    ///
    /// # Errors
    /// The directory is in use.
    pub fn hold(&self) -> Result<Held, InUse> {
        let runs = entries(&self.place.join("artifacts")).map(|path| (path.join(LOCK_NAME), "a devhost"));
        let bench = [(self.place.join("bench").join(LOCK_NAME), "a bench")];
        let builds = self.profile_dirs().map(|path| (path.join(".cargo-lock"), "a build"));
        let mut held = Vec::new();
        for (path, user) in runs.chain(bench).chain(builds) {
            let Ok(file) = File::options().read(true).write(true).open(&path) else { continue };
            match file.try_lock() {
                Ok(()) => held.push(file),
                Err(TryLockError::WouldBlock) => {
                    let pid = std::fs::read_to_string(&path).unwrap_or_default();
                    let pid = pid.trim();
                    let is_pid = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
                    return Err(InUse(if is_pid {
                        format!("{user} (process {pid})")
                    } else {
                        user.to_owned()
                    }));
                }
                // A file system without locks cannot tell.
                Err(TryLockError::Error(_)) => {}
            }
        }
        Ok(Held(held))
    }

    fn profile_dirs(&self) -> impl Iterator<Item = PathBuf> {
        let outer = entries(&self.place);
        outer
            .flat_map(|path| entries(&path).chain([path.clone()]).collect::<Vec<_>>())
            .filter(|path| is_profile(path))
    }

    /// Removes it, and the directory itself if that is then empty.
    ///
    /// # Errors
    /// Something cannot be removed; everything else is.
    pub fn remove(&self) -> io::Result<()> {
        let mut failed = None;
        for (path, _) in &self.parts {
            let is_dir = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
            let removed = if is_dir { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
            if let Err(error) = removed
                && error.kind() != io::ErrorKind::NotFound
            {
                failed = Some(error);
            }
        }
        let _ = std::fs::remove_dir(&self.place);
        failed.map_or(Ok(()), Err)
    }
}

fn is_ours(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_dir = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    if is_dir {
        let has_profile = || entries(path).any(|path| is_profile(&path));
        DIRECTORIES.contains(&&*name) || is_profile(path) || has_profile()
    } else {
        FILES.iter().any(|beginning| name.starts_with(beginning))
    }
}

fn is_profile(path: &Path) -> bool {
    path.join(PROFILE_MARK).is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_have_put_there_is_let_be() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("shared");
        let write = |path: &str, length: usize| {
            let path = place.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, vec![b'x'; length]).unwrap();
        };
        assert!(Leavings::look(&place).unwrap().is_empty());
        write("artifacts.txt", 10);
        assert!(Leavings::look(&place).unwrap().is_empty(), "nothing is devhost's there");
        for path in [
            "artifacts/run-1/lock",
            "debug/.fingerprint/a/b",
            "x86_64-a-b/debug/.fingerprint/c",
            "devhost-port-a",
        ] {
            write(path, 10_000);
        }
        write("notes/mine", 10);
        std::fs::hard_link(place.join("debug/.fingerprint/a/b"), place.join("notes/also-mine")).unwrap();
        let leavings = Leavings::look(&place).unwrap();
        let names: Vec<_> = leavings.parts().map(|(name, _)| name).collect();
        assert_eq!(names, ["artifacts", "debug", "devhost-port-a", "x86_64-a-b"]);
        assert_eq!(leavings.file_count(), 4);
        assert!((30_000..90_000).contains(&leavings.size_bytes()), "{}", leavings.size_bytes());
        let lock = File::options().write(true).open(place.join("artifacts/run-1/lock")).unwrap();
        lock.lock().unwrap();
        assert!(leavings.hold().unwrap_err().to_string().starts_with("a devhost"));
        drop(lock);
        let held = leavings.hold().unwrap();
        leavings.remove().unwrap();
        drop(held);
        let left: Vec<_> = entries(&place).map(|path| path.file_name().unwrap().to_owned()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(place.join("notes/also-mine").is_file() && place.join("artifacts.txt").is_file());
        assert!(Leavings::look(&place).unwrap().is_empty());
    }
}
