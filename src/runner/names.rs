//! The file names sent with a reload: open pages match them against the URLs they have loaded. No I/O.

use std::path::PathBuf;

/// The most file names in one reload; checking out another branch may change thousands.
const NAMES_COUNT_MAX: usize = 64;

/// Returns the files' names, with U+FFFD for what is not UTF-8.
pub(super) fn file_names(files: &[PathBuf]) -> Vec<String> {
    let names = files.iter().filter_map(|file| file.file_name());
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

/// Returns the names of the files that pages are reloaded for. None if there are too many, which means that
/// any file may have changed.
pub(super) fn names_for_reload(files: &[PathBuf]) -> Vec<String> {
    if files.len() > NAMES_COUNT_MAX { Vec::new() } else { file_names(files) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_told_of_all_files_or_of_none() {
        let files: Vec<PathBuf> = (0..NAMES_COUNT_MAX).map(|n| format!("/a/static/{n}.js").into()).collect();
        assert_eq!(names_for_reload(&files)[..2], ["0.js", "1.js"]);
        assert_eq!(names_for_reload(&files).len(), NAMES_COUNT_MAX);
        let more = [files, vec!["/a/b.js".into()]].concat();
        assert!(names_for_reload(&more).is_empty());
    }
}
