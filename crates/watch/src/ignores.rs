//! Which paths of a directory tree are ignored: by `.gitignore`, `.ignore`, `.git/info/exclude` and git's global excludes, as
//! hidden files, or as directories that never contain sources. Reads ignore files, watches nothing.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use ignore::{IncrementalIgnore, WalkBuilder};

/// The tag of cache directories (<https://bford.info/cachedir/>), with which cargo marks target directories.
const CACHE_TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// The ignore rules of a directory tree, as they were when this was made.
#[derive(Debug)]
pub(crate) struct Ignores {
    /// `None` if no matcher could be made, so that nothing is ignored.
    matcher: Option<IncrementalIgnore>,
}

impl Ignores {
    /// Reads the rules for paths below `root`.
    pub(crate) fn of(root: &Path) -> Self {
        // Outside a repository, ignore files above the root do not belong to the project (a stray one in the home
        // directory may contain `*`), but those inside still count.
        let in_repository = repository_root(root).is_some();
        let matcher = WalkBuilder::new(root)
            .parents(in_repository)
            .require_git(in_repository)
            .hidden(true)
            .build_matchers()
            .into_iter()
            .next();
        Self { matcher }
    }

    /// Returns true if the path, relative to the root, or a directory above it is ignored.
    pub(crate) fn ignores(&mut self, relative: &Path, is_directory: bool) -> bool {
        if relative.as_os_str().is_empty() {
            return false;
        }
        if relative.components().any(|part| part.as_os_str() == "node_modules") {
            return true;
        }
        self.matcher.as_mut().is_some_and(|matcher| matcher.matched(relative, is_directory).is_ignore())
    }
}

/// Returns true for the names of ignore files.
pub(crate) fn is_ignore_file(name: &OsStr) -> bool {
    name == ".gitignore" || name == ".ignore"
}

/// Lists the ignore files that apply to `root` from above, in its repository, whether or not they exist.
pub(crate) fn ignore_files_above(root: &Path) -> Vec<PathBuf> {
    let Some(repository) = repository_root(root) else { return Vec::new() };
    let mut files: Vec<PathBuf> = root
        .ancestors()
        .take_while(|directory| directory.starts_with(repository))
        .flat_map(|directory| [directory.join(".gitignore"), directory.join(".ignore")])
        .collect();
    // In a linked worktree `.git` is a file, and the excludes are in the main repository.
    if repository.join(".git").is_dir() {
        files.push(repository.join(".git/info/exclude"));
    }
    files
}

fn repository_root(directory: &Path) -> Option<&Path> {
    directory.ancestors().find(|directory| directory.join(".git").exists())
}

/// Returns true if the directory is tagged as a cache.
pub(crate) fn is_cache(directory: &Path) -> bool {
    let mut start = [0; CACHE_TAG.len()];
    fs::File::open(directory.join("CACHEDIR.TAG")).is_ok_and(|mut tag| tag.read_exact(&mut start).is_ok())
        && start == CACHE_TAG
}
