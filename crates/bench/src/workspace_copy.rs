//! A copy of a workspace to edit and build: files in version control, or needed besides. The original is only
//! read.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ignore::WalkBuilder;
use toml_edit::{DocumentMut, Item, TableLike};

const TARGET_NAME: &str = "target";

/// The file that marks a directory whose content can be made again (<https://bford.info/cachedir/>).
const CACHE_TAG_NAME: &str = "CACHEDIR.TAG";

/// Sections of a manifest that refer to other packages by path.
const DEPENDENCY_SECTIONS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

#[derive(Debug, Clone, Copy)]
pub(crate) struct Workspace<'a> {
    pub root: &'a Path,
    pub package_dir: &'a Path,
    /// Output directories: that of the copies, and devhost's target directory.
    pub excluded: [&'a Path; 2],
}

impl Workspace<'_> {
    /// Makes or updates a copy, leaving identical files alone, so that cargo need not rebuild them.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub(crate) fn copy_to(&self, to: &Path) -> Result<()> {
        fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
        let mut kept = HashSet::from([to.join(TARGET_NAME)]);
        for from in self.files() {
            let relative = from.strip_prefix(self.root)?;
            if relative.as_os_str().is_empty() || self.is_inherited(relative, to) {
                continue;
            }
            let place = to.join(relative);
            kept.insert(place.clone());
            self.copy_one(&from, &place).with_context(|| format!("cannot copy {}", from.display()))?;
        }
        remove_others(to, &kept)
    }

    /// The workspace's files and directories, each directory before its contents.
    fn files(&self) -> Vec<PathBuf> {
        let excluded = self.excluded.map(Path::to_owned);
        let wanted = move |entry: &ignore::DirEntry| {
            let path = entry.path();
            let is_directory = entry.file_type().is_some_and(|kind| kind.is_dir());
            let is_output = is_directory
                && (entry.file_name() == ".git"
                    || excluded.iter().any(|excluded| path == excluded)
                    || path.join(CACHE_TAG_NAME).exists());
            entry.depth() == 0 || !is_output
        };
        let walk = |builder: &mut WalkBuilder| -> Vec<PathBuf> {
            builder.build().flatten().map(ignore::DirEntry::into_path).collect()
        };
        let root = self.root;
        let in_repository = root.ancestors().any(|directory| directory.join(".git").exists());
        let mut files = walk(
            WalkBuilder::new(root)
                .hidden(false)
                .parents(in_repository)
                .require_git(in_repository)
                .filter_entry(wanted),
        );
        // Not in the repository, but needed to build and run: the settings of this machine.
        let beside = [root, self.package_dir];
        for directory in beside {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            files.extend(
                entries
                    .filter(|entry| {
                        let name = entry.file_name();
                        name.to_string_lossy().starts_with(".env") || name == "Cargo.lock"
                    })
                    .map(|entry| entry.path()),
            );
        }
        files
    }

    /// Whether cargo already finds the file above the copy, and would apply it twice.
    fn is_inherited(&self, relative: &Path, to: &Path) -> bool {
        to.starts_with(self.root)
            && (relative == Path::new(".cargo/config.toml") || relative == Path::new(".cargo/config"))
    }

    fn copy_one(&self, from: &Path, to: &Path) -> Result<()> {
        let metadata = fs::symlink_metadata(from)?;
        if metadata.is_dir() {
            if fs::symlink_metadata(to).is_ok_and(|there| !there.is_dir()) {
                fs::remove_file(to)?;
            }
            fs::create_dir_all(to)?;
            return Ok(());
        }
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        if metadata.is_symlink() {
            let target = self.link_target(from)?;
            if fs::read_link(to).is_ok_and(|there| there == target) {
                return Ok(());
            }
            remove_any(to)?;
            return Ok(std::os::unix::fs::symlink(target, to)?);
        }
        if !metadata.is_file() {
            return Ok(());
        }
        let mut bytes = fs::read(from)?;
        if from.file_name().is_some_and(|name| name == "Cargo.toml") {
            let directory = from.parent().unwrap_or(Path::new("/"));
            if let Ok(text) = std::str::from_utf8(&bytes)
                && let Some(text) = with_outer_paths(text, directory, self.root)
            {
                bytes = text.into_bytes();
            }
        }
        if fs::symlink_metadata(to).is_ok_and(|there| there.is_file())
            && fs::read(to).is_ok_and(|there| there == bytes)
        {
            return Ok(());
        }
        remove_any(to)?;
        fs::write(to, bytes)?;
        fs::set_permissions(to, fs::Permissions::from_mode(metadata.permissions().mode() | 0o200))?;
        Ok(())
    }

    /// The target of a link's copy. A link out of the workspace still leads to the original's target.
    fn link_target(&self, link: &Path) -> io::Result<PathBuf> {
        let target = fs::read_link(link)?;
        let absolute = resolve(&link.parent().unwrap_or(Path::new("/")).join(&target));
        let stays = target.is_relative() && absolute.starts_with(self.root);
        Ok(if stays { target } else { absolute })
    }
}

/// The manifest with absolute paths for what is outside of the workspace. Returns `None` if it has no such
/// path.
fn with_outer_paths(text: &str, directory: &Path, root: &Path) -> Option<String> {
    let mut document: DocumentMut = text.parse().ok()?;
    let mut changed = false;
    let mut fix = |table: &mut dyn TableLike| {
        for (_, dependency) in table.iter_mut() {
            let Some(path) = dependency.as_table_like_mut().and_then(|dependency| dependency.get_mut("path"))
            else {
                continue;
            };
            let Some(text) = path.as_str() else { continue };
            let absolute = resolve(&directory.join(text));
            if !absolute.starts_with(root) {
                *path = Item::Value(absolute.to_string_lossy().into_owned().into());
                changed = true;
            }
        }
    };
    let mut fix_sections = |table: &mut dyn TableLike| {
        for section in DEPENDENCY_SECTIONS {
            if let Some(section) = table.get_mut(section).and_then(Item::as_table_like_mut) {
                fix(section);
            }
        }
    };
    fix_sections(document.as_table_mut());
    if let Some(workspace) = document.get_mut("workspace").and_then(Item::as_table_like_mut) {
        fix_sections(workspace);
    }
    if let Some(targets) = document.get_mut("target").and_then(Item::as_table_like_mut) {
        for (_, target) in targets.iter_mut() {
            if let Some(target) = target.as_table_like_mut() {
                fix_sections(target);
            }
        }
    }
    if let Some(registries) = document.get_mut("patch").and_then(Item::as_table_like_mut) {
        for (_, patches) in registries.iter_mut() {
            if let Some(patches) = patches.as_table_like_mut() {
                fix(patches);
            }
        }
    }
    if let Some(replaced) = document.get_mut("replace").and_then(Item::as_table_like_mut) {
        fix(replaced);
    }
    changed.then(|| document.to_string())
}

/// Resolves links; removes `.` and `..` lexically if the file does not exist.
fn resolve(path: &Path) -> PathBuf {
    let path = devhost_build::normalize(path);
    path.canonicalize().unwrap_or(path)
}

/// Removes from a copy what is no longer in the original.
fn remove_others(directory: &Path, kept: &HashSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name == TARGET_NAME) && kept.contains(&path) {
            continue;
        }
        if !kept.contains(&path) {
            remove_any(&path)?;
        } else if fs::symlink_metadata(&path)?.is_dir() {
            remove_others(&path, kept)?;
        }
    }
    Ok(())
}

fn remove_any(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_out_of_the_workspace_become_absolute() {
        let manifest = "[package]\nname = \"a\" # kept\n\n[dependencies]\nin = { path = \"../in\" }\nout = { path = \"../../out\" }\n\n\
                        [target.'cfg(unix)'.build-dependencies.far]\npath = \"/far\"\n\n[patch.crates-io]\np = { path = \"../../p\" }\n";
        let text = with_outer_paths(manifest, Path::new("/nowhere/w/a"), Path::new("/nowhere/w")).unwrap();
        assert!(text.contains("in = { path = \"../in\" }"), "{text}");
        assert!(text.contains("out = { path = \"/nowhere/out\""), "{text}");
        assert!(text.contains("p = { path = \"/nowhere/p\""), "{text}");
        assert!(text.contains("path = \"/far\"") && text.contains("# kept"), "{text}");
        assert_eq!(with_outer_paths("[dependencies]\na = \"1\"\n", Path::new("/w"), Path::new("/w")), None);
    }
}
