//! Reads dep-info files, in which rustc and cargo list a target's sources as make rules.

use std::path::{Path, PathBuf};

use devhost_model::AppKind;

use crate::app::App;

/// The files in a dep-info file, resolved against `base`. Empty if it is missing.
pub(crate) fn read_sources(dep_info: &Path, base: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(dep_info).unwrap_or_default();
    let mut sources: Vec<PathBuf> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(": ").map(|(_, files)| files))
        .flat_map(split_escaped)
        .map(|file| base.join(file))
        .collect();
    sources.sort();
    sources.dedup();
    sources
}

/// The dep-info file of the app's library.
pub(crate) fn path_of(app: &App, library: &Path) -> PathBuf {
    match app.kind {
        AppKind::Plugin => library.with_extension("d"),
        AppKind::Plain => {
            let mut path = library.as_os_str().to_owned();
            path.push(".d");
            path.into()
        }
    }
}

/// Splits at spaces; `\ ` is a space within a word.
fn split_escaped(text: &str) -> impl Iterator<Item = String> {
    let words = words(text.as_bytes()).filter(|word| !word.starts_with(b" "));
    words.map(|word| unescape(&String::from_utf8_lossy(word)))
}

/// Writes a path as the files do.
pub(crate) fn escape(path: &str) -> String {
    path.replace(' ', "\\ ")
}

pub(crate) fn unescape(path: &str) -> String {
    path.replace("\\ ", " ")
}

/// Splits a file's text into words and what separates them. A space behind a backslash separates nothing.
pub(crate) fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let is_gap = |at: usize| match rest[at] {
            b'\n' => true,
            b' ' => at == 0 || rest[at - 1] != b'\\',
            _ => false,
        };
        let first = *rest.first()?;
        let of_gap = matches!(first, b' ' | b'\n');
        let end = (1..rest.len()).find(|at| is_gap(*at) != of_gap).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        Some(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_sources_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("libapp.d");
        let text = "/t/libapp.so: /w/a\\ b.rs /w/src/lib.rs src/c.rs\n\nsrc/c.rs:\n# env-dep:A=x: y\n";
        std::fs::write(&file, text).unwrap();
        let sources = read_sources(&file, Path::new("/w"));
        assert_eq!(sources, ["/w/a b.rs", "/w/src/c.rs", "/w/src/lib.rs"].map(PathBuf::from));
        assert!(read_sources(&directory.path().join("missing.d"), Path::new("/w")).is_empty());
    }
}
