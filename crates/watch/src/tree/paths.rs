//! Canonical paths, and maps that are ordered by path.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use crate::error::WatchError;

/// Returns the path with its directory made canonical.
pub(crate) fn place_of(path: &Path) -> PathBuf {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => canonical(parent).join(name),
        _ => canonical(path),
    }
}

/// Makes as much of the path canonical as exists.
pub(crate) fn canonical(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut rest: Vec<&OsStr> = Vec::new();
    for ancestor in path.ancestors() {
        if let Ok(mut found) = fs::canonicalize(ancestor) {
            found.extend(rest.iter().rev());
            return found;
        }
        rest.extend(ancestor.file_name());
    }
    path
}

pub(super) fn existing_directory(named: &Path) -> Result<PathBuf, WatchError> {
    let place = fs::canonicalize(named).map_err(|error| WatchError::from_io(&error, named))?;
    fs::read_dir(&place).map_err(|error| WatchError::from_io(&error, named))?;
    Ok(place)
}

/// Returns true if a `Cargo.toml` between the file and the root makes it part of another package.
pub(super) fn is_in_inner_package(place: &Path, root: &Path) -> bool {
    place
        .ancestors()
        .skip(1)
        .take_while(|directory| *directory != root)
        .any(|directory| directory.join("Cargo.toml").is_file())
}

/// Lists the keys at the path or below it. They are neighbours, because paths are ordered by their components.
pub(crate) fn below<'a, T>(
    map: &'a BTreeMap<PathBuf, T>,
    path: &'a Path,
) -> impl Iterator<Item = &'a PathBuf> {
    map.range::<Path, _>((Bound::Included(path), Bound::Unbounded))
        .map(|(key, _)| key)
        .take_while(move |key| key.starts_with(path))
}

pub(super) fn has_below<T>(map: &BTreeMap<PathBuf, T>, path: &Path) -> bool {
    below(map, path).next().is_some()
}

/// Returns the path without a slash at its end, so that two spellings of a directory are equal.
pub(super) fn without_trailing_slash(path: &Path) -> PathBuf {
    path.components().collect()
}
