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
fn split_escaped(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.peek() == Some(&' ') => word.extend(characters.next()),
            ' ' => words.push(std::mem::take(&mut word)),
            _ => word.push(character),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
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
