//! The files whose change makes cargo rerun a build script. Inspects only their metadata.

use std::path::{Path, PathBuf};

use crate::app::{App, PathPackage};
use crate::directives::Directives;
use crate::paths::{entries, normalize};
use devhost_sys::content::Content;

/// Limit on a build script's input files.
const INPUT_FILES_COUNT_MAX: usize = 5_000;

/// A file and its stamp. A directory counts as an absent file.
pub(super) type Stamped = (PathBuf, Content);

/// What a build script reads, as cargo sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Inputs {
    /// Every file of the package, except below `without`: the script names none.
    Package { root: PathBuf, without: Vec<PathBuf> },
    /// The files and directories it names.
    Named(Vec<PathBuf>),
}

impl Inputs {
    /// The inputs of a script with these directives.
    pub(super) fn of(app: &App, package: &PathPackage, said: &Directives) -> Self {
        if said.names_inputs {
            return Self::Named(said.inputs.iter().map(|path| package.root.join(path)).collect());
        }
        let without = vec![
            app.target_dir.clone(),
            app.user_build_dir.clone(),
            package.root.join("target"),
            package.root.join(".git"),
        ];
        Self::Package { root: package.root.clone(), without }
    }

    /// Whether a named one is missing or made by the build, so that cargo always runs the script.
    pub(super) fn lack_one(&self, app: &App) -> bool {
        match self {
            Self::Package { .. } => false,
            Self::Named(paths) => {
                paths.iter().any(|path| path.starts_with(&app.target_dir) || !path.exists())
            }
        }
    }

    /// Whether a file is one of them, or would be if it existed.
    pub(super) fn cover(&self, path: &Path) -> bool {
        match self {
            // Reported changes have no `..` in their path.
            Self::Named(paths) => {
                paths.iter().any(|input| path.starts_with(input) || path.starts_with(normalize(input)))
            }
            Self::Package { root, without } => {
                path.starts_with(root)
                    && !without.iter().any(|other| path.starts_with(other))
                    && !path
                        .ancestors()
                        .skip(1)
                        .take_while(|directory| directory != root)
                        .any(|directory| directory.join("Cargo.toml").is_file())
            }
        }
    }

    /// All inputs at present. Returns `None` if there are too many.
    pub(super) fn stamps(&self) -> Option<Vec<Stamped>> {
        let mut stamps = Vec::new();
        match self {
            Self::Package { root, without } => {
                // A package below it is another one.
                let is_in = |path: &Path| {
                    !without.iter().any(|other| path == other) && !path.join("Cargo.toml").is_file()
                };
                add_tree(root, &is_in, &mut stamps)?;
            }
            Self::Named(paths) => {
                for path in paths {
                    if path.is_dir() {
                        add_tree(path, &|_| true, &mut stamps)?;
                    } else {
                        stamps.push((path.clone(), Content::notice(path)));
                    }
                }
            }
        }
        stamps.sort_by(|(one, _), (other, _)| one.cmp(other));
        Some(stamps)
    }
}

/// Adds what is below a directory. Follows symbolic links, as cargo does; a cycle ends at the limit.
fn add_tree(root: &Path, is_in: &dyn Fn(&Path) -> bool, stamps: &mut Vec<Stamped>) -> Option<()> {
    let mut queue = vec![root.to_owned()];
    while let Some(directory) = queue.pop() {
        for path in entries(&directory) {
            if stamps.len() >= INPUT_FILES_COUNT_MAX {
                return None;
            }
            if !path.is_dir() {
                let content = Content::notice(&path);
                stamps.push((path, content));
            } else if is_in(&path) {
                stamps.push((path.clone(), Content::Absent));
                queue.push(path);
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(target_dir: &Path) -> App {
        App { target_dir: target_dir.to_owned(), user_build_dir: target_dir.to_owned(), ..App::stub() }
    }

    fn package(root: &Path) -> PathPackage {
        PathPackage {
            name: "part".into(),
            id: "part".into(),
            root: root.to_owned(),
            lib_source: None,
            crate_name: None,
        }
    }

    fn write(root: &Path, path: &str) -> PathBuf {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "").unwrap();
        path
    }

    #[test]
    fn a_script_that_names_nothing_reads_the_package_and_none_below_it() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let app = app(&root.join("elsewhere"));
        for path in
            ["Cargo.toml", "src/lib.rs", "inner/Cargo.toml", "inner/src/lib.rs", "target/x", ".git/HEAD"]
        {
            write(root, path);
        }
        let inputs = Inputs::of(&app, &package(root), &Directives::default());
        let names: Vec<PathBuf> = inputs.stamps().unwrap().into_iter().map(|(path, _)| path).collect();
        assert_eq!(names, ["Cargo.toml", "src", "src/lib.rs"].map(|path| root.join(path)));
        assert!(inputs.cover(&root.join("README.md")) && inputs.cover(&root.join("src/new.rs")));
        for path in ["inner/src/lib.rs", "target/x", ".git/HEAD", "../other.rs"] {
            assert!(!inputs.cover(&normalize(&root.join(path))), "{path}");
        }
        assert!(!inputs.lack_one(&app));
    }

    #[test]
    fn what_is_named_is_read_at_any_depth() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        write(root, "names/a/b.txt");
        let said = Directives::read(b"cargo:rerun-if-changed=names\ncargo:rerun-if-changed=one.txt");
        let app = app(&root.join("target"));
        let inputs = Inputs::of(&app, &package(root), &said);
        assert!(inputs.lack_one(&app), "one.txt is missing");
        let before = inputs.stamps().unwrap();
        write(root, "one.txt");
        assert!(!inputs.lack_one(&app));
        let after = inputs.stamps().unwrap();
        assert_ne!(before, after);
        std::fs::create_dir(root.join("names/a/empty")).unwrap();
        assert_ne!(inputs.stamps().unwrap(), after, "an empty directory is something, too");
        assert!(inputs.cover(&root.join("names/new")) && !inputs.cover(&root.join("other")));
    }

    #[test]
    fn a_link_that_leads_back_is_too_much() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            std::os::unix::fs::symlink(".", directory.path().join(name)).unwrap();
        }
        let inputs = Inputs::Named(vec![directory.path().to_owned()]);
        assert_eq!(inputs.stamps(), None);
    }
}
