//! Which paths a directory tree ignores: `.gitignore`, `.ignore`, `.git/info/exclude`, git's global excludes, hidden
//! names, and a few directories that hold no sources whatever the ignore files say. Reads ignore files, watches
//! nothing.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use ignore::{IncrementalIgnore, WalkBuilder};

/// How a directory that holds only what can be made again is marked (<https://bford.info/cachedir/>): cargo marks
/// target directories so.
const CACHE_TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// The ignore rules of one directory tree. A snapshot: made anew when an ignore file changes.
#[derive(Debug)]
pub(crate) struct Ignores {
    /// `None` for a root that no matcher could be made for: nothing is ignored then.
    matcher: Option<IncrementalIgnore>,
}

impl Ignores {
    /// Rules for paths below `root`.
    pub(crate) fn of(root: &Path) -> Self {
        // Without a repository around it, ignore files above the root are not this project's (a stray one in the
        // home directory may say `*`), but those inside still mean what they say.
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

    /// Whether the path (relative to the root) is ignored, itself or through a directory above it.
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

/// Files that say what is ignored, by their name.
pub(crate) fn is_ignore_file(name: &OsStr) -> bool {
    name == ".gitignore" || name == ".ignore"
}

/// The ignore files above `root` (in its repository) that rule over it, whether they exist or not.
pub(crate) fn ignore_files_above(root: &Path) -> Vec<PathBuf> {
    let Some(repository) = repository_root(root) else { return Vec::new() };
    let mut files: Vec<PathBuf> = root
        .ancestors()
        .take_while(|directory| directory.starts_with(repository))
        .flat_map(|directory| [directory.join(".gitignore"), directory.join(".ignore")])
        .collect();
    // In a linked worktree `.git` is a file, and the excludes lie in the main repository.
    if repository.join(".git").is_dir() {
        files.push(repository.join(".git/info/exclude"));
    }
    files
}

fn repository_root(directory: &Path) -> Option<&Path> {
    directory.ancestors().find(|directory| directory.join(".git").exists())
}

/// Whether the directory is marked as a cache.
pub(crate) fn is_cache(directory: &Path) -> bool {
    let mut start = [0; CACHE_TAG.len()];
    fs::File::open(directory.join("CACHEDIR.TAG")).is_ok_and(|mut tag| tag.read_exact(&mut start).is_ok())
        && start == CACHE_TAG
}
