//! Which of the paths that an app uses are followed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::classify::is_left_alone;

/// How many directories outside the project are followed.
const OUTSIDE_DIRECTORIES_COUNT_MAX: usize = 64;

/// Directories of the system, which nobody edits while developing. A project inside one of them is followed all the same.
const SYSTEM_DIRECTORIES: &[&str] = &[
    "/bin", "/boot", "/dev", "/etc/ssl", "/lib", "/lib32", "/lib64", "/nix", "/proc", "/run", "/sbin",
    "/sys", "/usr", "/var",
];

/// The same, in the home directory: what tools keep there.
const TOOL_DIRECTORIES: &[&str] = &[".cache", ".cargo", ".rustup", ".npm"];

/// Directories of a target directory that cargo or devhost writes, besides those of profiles.
const OUTPUT_DIRECTORIES: &[&str] = &["devhost", "doc", "package", "tmp"];

/// Decides which paths are followed. All paths are canonical.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    /// The workspace, the repository around it, and the working directory.
    project: Vec<PathBuf>,
    /// Target directories.
    targets: Vec<PathBuf>,
    home: Option<PathBuf>,
    /// Directories outside the project that the app has named.
    outside: BTreeSet<PathBuf>,
}

impl Bounds {
    pub(crate) fn new(project: Vec<PathBuf>, targets: Vec<PathBuf>) -> Self {
        Self { project, targets, home: std::env::home_dir(), outside: BTreeSet::new() }
    }

    /// Returns true if changes of the place are followed.
    pub(crate) fn hold(&mut self, place: &Path) -> bool {
        if place.file_name().is_none_or(is_left_alone)
            || place.components().any(|part| part.as_os_str() == ".git")
        {
            return false;
        }
        if let Some(target) = self.targets.iter().find(|target| place.starts_with(target)) {
            return place != target && !is_build_output(place, target);
        }
        if self.project.iter().any(|directory| place.starts_with(directory)) {
            return true;
        }
        let is_of_system = SYSTEM_DIRECTORIES.iter().any(|directory| place.starts_with(directory));
        let is_of_tool = self
            .home
            .as_ref()
            .and_then(|home| place.strip_prefix(home).ok())
            .is_some_and(|inside| TOOL_DIRECTORIES.iter().any(|directory| inside.starts_with(directory)));
        // The directories around the project are looked into by whoever searches for a file upwards.
        let is_above = self.project.iter().any(|directory| directory.starts_with(place));
        if is_of_system || is_of_tool || is_above {
            return false;
        }
        let Some(directory) = place.parent() else { return false };
        if self.outside.contains(directory) {
            return true;
        }
        let has_room = self.outside.len() < OUTSIDE_DIRECTORIES_COUNT_MAX;
        if has_room {
            self.outside.insert(directory.to_owned());
        }
        has_room
    }
}

/// Returns true if cargo or devhost writes the file. Other things in a target directory are what tools generate for the app.
fn is_build_output(place: &Path, target: &Path) -> bool {
    let Ok(inside) = place.strip_prefix(target) else { return false };
    let mut directory = target.to_owned();
    for (depth, part) in inside.components().enumerate().take(2) {
        directory.push(part);
        let is_profile =
            || ["deps", ".fingerprint", ".cargo-lock"].iter().any(|name| directory.join(name).exists());
        let is_named = depth == 0 && OUTPUT_DIRECTORIES.iter().any(|name| part.as_os_str() == *name);
        if is_named || is_profile() {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_is_followed_but_for_what_tools_keep_in_it() {
        let mut bounds = Bounds::new(vec!["/usr/src/app".into()], vec!["/usr/src/app/target".into()]);
        for place in
            ["/usr/src/app/config.toml", "/usr/src/app/dist/app.css", "/usr/src/app/target/site/app.css"]
        {
            assert!(bounds.hold(Path::new(place)), "{place}");
        }
        for place in [
            "/usr/src/app/.git/HEAD",
            "/usr/src/app/target/devhost/x",
            "/usr/src/app/target",
            "/usr/src/app/data/app.sqlite",
            "/usr/src/app/log/server.log",
            "/usr/src/app/.config.toml.swp",
            "/usr/share/zoneinfo/UTC",
            "/usr/src",
        ] {
            assert!(!bounds.hold(Path::new(place)), "{place}");
        }
    }

    #[test]
    fn profiles_are_known_by_what_cargo_keeps_in_them() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        std::fs::create_dir_all(target.join("x86_64-unknown-linux-musl/release/deps")).unwrap();
        std::fs::create_dir_all(target.join("debug/.fingerprint")).unwrap();
        let mut bounds = Bounds::new(vec![dir.path().to_owned()], vec![target.clone()]);
        assert!(!bounds.hold(&target.join("debug/app")));
        assert!(!bounds.hold(&target.join("x86_64-unknown-linux-musl/release/app")));
        assert!(bounds.hold(&target.join("site/pkg/app.js")));
    }

    #[test]
    fn few_directories_elsewhere_are_followed() {
        let mut bounds = Bounds::new(vec!["/home/me/app".into()], vec![]);
        bounds.home = Some("/home/me".into());
        assert!(bounds.hold(Path::new("/home/me/.config/app/app.toml")));
        assert!(!bounds.hold(Path::new("/home/me/.cargo/config.toml")));
        assert!(!bounds.hold(Path::new("/home/me")), "above the project");
        let held = (0..200).filter(|number| bounds.hold(&PathBuf::from(format!("/srv/{number}/a"))));
        assert_eq!(held.count(), OUTSIDE_DIRECTORIES_COUNT_MAX - 1);
    }
}
