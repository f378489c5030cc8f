//! Path helpers shared by several parts of a build.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Whether a change of this file may change the app's packages.
pub(crate) fn concerns_cargo(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    matches!(name, "Cargo.toml" | "Cargo.lock" | "rust-toolchain" | "rust-toolchain.toml")
        || path.parent().is_some_and(|parent| parent.ends_with(".cargo"))
}

/// The absolute path; without a current directory, the path itself.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Removes `.` and `..` lexically: a path that does not exist cannot be resolved.
pub fn normalize(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(normal.pop()),
            other => normal.push(other),
        }
    }
    normal
}

/// Makes `path` a symbolic link to `target`, atomically replacing whatever it was.
pub(crate) fn link(target: &Path, path: &Path) -> io::Result<()> {
    if std::fs::read_link(path).is_ok_and(|current| current == target) {
        return Ok(());
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    let scratch = tempfile::tempdir_in(directory)?;
    let fresh = scratch.path().join("link");
    std::os::unix::fs::symlink(target, &fresh)?;
    std::fs::rename(fresh, path)
}

pub(crate) fn temporary_directory(target_dir: &Path) -> PathBuf {
    target_dir.join("tmp").join("rustc")
}

/// The paths in a directory. Empty if it cannot be read.
pub(crate) fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(directory).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

/// Whether a path leads to the given open file.
pub(crate) fn is_same_file(path: &Path, file: &File) -> bool {
    let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    match (std::fs::metadata(path), file.metadata()) {
        (Ok(there), Ok(held)) => identity(there) == identity(held),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_manifests_are_told_from_others() {
        for path in ["/w/Cargo.toml", "/w/a/Cargo.lock", "/w/.cargo/config.toml", "/w/rust-toolchain"] {
            assert!(concerns_cargo(Path::new(path)), "{path}");
        }
        assert!(!concerns_cargo(Path::new("/w/src/lib.rs")));
    }
}
