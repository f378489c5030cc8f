//! Dependencies that make system calls of their own, past the C library and so past the interposer.

use std::path::Path;

/// Crates that open files in ways that are not seen. `rustix`, on which many of them are built, is not among them: most apps have
/// it, through crates that open no files of the app.
const CRATES: &[&str] = &[
    "cap-primitives",
    "compio-driver",
    "glommio",
    "io-uring",
    "monoio",
    "rio",
    "rustix-uring",
    "tokio-uring",
    "uring-sys",
];

/// Returns the name of a crate in a workspace's lock file that opens files in ways that are not seen.
pub fn crate_that_bypasses_libc(workspace_root: &Path) -> Option<&'static str> {
    let lock = std::fs::read_to_string(workspace_root.join("Cargo.lock")).ok()?;
    let names = lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    let mut known = names.filter_map(|name| CRATES.iter().copied().find(|known| *known == name));
    known.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_names_them() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(crate_that_bypasses_libc(dir.path()), None);
        let lock = "[[package]]\nname = \"rustix\"\n[[package]]\nname = \"io-uring\"\n";
        std::fs::write(dir.path().join("Cargo.lock"), lock).unwrap();
        assert_eq!(crate_that_bypasses_libc(dir.path()), Some("io-uring"));
    }
}
