//! cargo's own lock of a target directory.

use std::fs::File;
use std::path::PathBuf;

/// Takes cargo's own lock, so that cargo waits for a replay and no replay runs beside cargo. Returns `None`
/// if it cannot be taken at once.
pub(crate) fn lock(profile_dirs: &[PathBuf]) -> Option<Vec<File>> {
    let mut files = Vec::new();
    for directory in profile_dirs {
        let path = directory.join(".cargo-lock");
        if !path.exists() {
            continue;
        }
        let file = File::options().write(true).open(path).ok()?;
        file.try_lock().ok()?;
        files.push(file);
    }
    Some(files)
}
