//! Lends another build's output to devhost for its first build.

use std::path::{Path, PathBuf};

/// Another build's output, posing as the user's own until devhost's first build is over.
#[derive(Debug)]
pub(crate) struct Seed(Option<PathBuf>);

impl Seed {
    /// Links a directory as a profile's in a copy. A no-op if that exists already.
    pub(crate) fn offer(copy: &Path, built: &Path) -> Self {
        let Some(profile) = built.file_name() else { return Self(None) };
        let place = copy.join("target").join(profile);
        if std::fs::symlink_metadata(&place).is_ok_and(|metadata| metadata.is_symlink()) {
            // Left by an earlier run that was killed.
            let _ = std::fs::remove_file(&place);
        }
        let made = built.is_dir()
            && std::fs::create_dir_all(copy.join("target")).is_ok()
            && std::os::unix::fs::symlink(built, &place).is_ok();
        Self(made.then_some(place))
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if let Some(place) = &self.0 {
            let _ = std::fs::remove_file(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_there_for_a_while() {
        let scratch = tempfile::tempdir().unwrap();
        let (copy, built) = (scratch.path().join("copy"), scratch.path().join("target/debug"));
        assert!(Seed::offer(&copy, &built).0.is_none(), "there is nothing to offer");
        std::fs::create_dir_all(&built).unwrap();
        let seed = Seed::offer(&copy, &built);
        assert_eq!(std::fs::read_link(copy.join("target/debug")).unwrap(), built);
        drop(seed);
        assert!(std::fs::symlink_metadata(copy.join("target/debug")).is_err());
    }
}
