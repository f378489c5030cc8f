//! What a changed file means, from its path alone. Pure: it reads no file system and keeps no state.
//!
//! What the last build read (its dep-info) and the manifests are known to the caller; everything here is about the
//! other files. A file that only a build script or a macro looks for in a directory cannot be known before a build
//! has named it: it counts as code from then on.

use std::ffi::OsStr;
use std::path::{Component, Path};

/// What a change of a file leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// A build.
    Code,
    /// A fork with the new environment.
    Env,
    /// Stylesheets swapped in place.
    Style,
    /// A page load.
    Static,
}

/// Directories whose files are served or rendered at run time.
const ASSET_DIRECTORIES: &[&str] =
    &["static", "public", "assets", "templates", "views", "www", "dist", "locales"];

/// Extensions that are web assets wherever they lie. Images, fonts and JSON are not among them: outside of an asset
/// directory they may as well be what the app itself writes (uploads, data), and that must not load pages again.
const WEB_EXTENSIONS: &[&str] = &[
    "html",
    "htm",
    "xhtml",
    "js",
    "mjs",
    "svg",
    "webmanifest",
    "j2",
    "jinja",
    "jinja2",
    "tera",
    "hbs",
    "handlebars",
    "mustache",
    "liquid",
    "askama",
    "ftl",
];

/// Directories of a package that the app is not built from.
const SIDE_DIRECTORIES: &[&str] = &["tests", "benches", "examples"];

/// Extensions of what programs write while they run: databases, logs, locks.
const WRITTEN_EXTENSIONS: &[&str] =
    &["db", "db3", "sqlite", "sqlite3", "log", "tmp", "temp", "pid", "sock", "lock", "part", "crdownload"];

/// Ends of the names of what a database writes beside its file.
const WRITTEN_SUFFIXES: &[&str] = &["-wal", "-shm", "-journal"];

/// Classifies a file inside a package by its path relative to the package's root. `foreign` says whether a nearer
/// `Cargo.toml` makes it part of a package that is none of the app's; it is asked only where it matters.
pub(super) fn classify(relative: &Path, foreign: impl FnOnce() -> bool) -> Option<Class> {
    let name = relative.file_name()?;
    if is_editor_file(name) || is_written_at_run_time(name) {
        return None;
    }
    let first = relative.components().next();
    if first.is_some_and(|first| is_one_of(first, SIDE_DIRECTORIES)) && relative.components().count() > 1 {
        return None;
    }
    match extension(name) {
        Some("rs") => (!foreign()).then_some(Class::Code),
        Some("css") => Some(Class::Style),
        other => {
            let in_assets = relative.parent().is_some_and(is_asset_directory);
            let is_web = other.is_some_and(|extension| WEB_EXTENSIONS.contains(&extension));
            (in_assets || is_web).then_some(Class::Static)
        }
    }
}

/// Whether the files of a directory are served or rendered at run time.
pub(super) fn is_asset_directory(relative: &Path) -> bool {
    relative.components().any(|part| is_one_of(part, ASSET_DIRECTORIES))
}

/// The names under which editors keep what is no saved file.
fn is_editor_file(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name == b"4913" // vim's probe whether it can write into the directory
        || name.ends_with(b"~")
        || name.starts_with(b".#") // emacs' lock
        || (name.starts_with(b"#") && name.ends_with(b"#")) // emacs' autosave
        || name.starts_with(b".goutputstream-") // GLib
        || name.ends_with(b"___jb_tmp___")
        || name.ends_with(b"___jb_old___")
        || has_vim_swap_extension(name)
}

/// `.swp`, `.swo`, `.swx`, `.swpx` …: with or without vim's leading dot.
fn has_vim_swap_extension(name: &[u8]) -> bool {
    let Some(dot) = name.iter().rposition(|byte| *byte == b'.') else { return false };
    let extension = &name[dot + 1..];
    matches!(extension, [b's', b'w', b'a'..=b'z'] | b"swpx")
}

fn is_written_at_run_time(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    WRITTEN_SUFFIXES.iter().any(|suffix| bytes.ends_with(suffix.as_bytes()))
        || extension(name).is_some_and(|extension| WRITTEN_EXTENSIONS.contains(&extension))
}

fn extension(name: &OsStr) -> Option<&str> {
    Path::new(name).extension().and_then(OsStr::to_str)
}

fn is_one_of(component: Component<'_>, names: &[&str]) -> bool {
    component.as_os_str().to_str().is_some_and(|part| names.contains(&part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(path: &str) -> Option<Class> {
        classify(Path::new(path), || false)
    }

    #[test]
    fn rust_of_the_package_is_code_and_its_tests_are_not() {
        assert_eq!(class("src/main.rs"), Some(Class::Code));
        assert_eq!(class("src/tests/helper.rs"), Some(Class::Code));
        assert_eq!(class("examples.rs"), Some(Class::Code));
        for side in ["tests/it.rs", "benches/b.rs", "examples/e/main.rs", "tests/page.html"] {
            assert_eq!(class(side), None, "{side}");
        }
        assert_eq!(classify(Path::new("other/src/lib.rs"), || true), None);
    }

    #[test]
    fn stylesheets_are_swapped_wherever_they_are() {
        assert_eq!(class("static/style.css"), Some(Class::Style));
        assert_eq!(class("style.css"), Some(Class::Style));
    }

    #[test]
    fn asset_directories_hold_static_files_of_any_kind() {
        for path in
            ["static/logo.png", "a/public/x/y.json", "templates/page", "locales/de.toml", "dist/app.wasm"]
        {
            assert_eq!(class(path), Some(Class::Static), "{path}");
        }
    }

    #[test]
    fn outside_of_asset_directories_only_web_files_count() {
        for path in ["pages/index.html", "a.js", "icons/a.svg", "x.j2", "x.tera"] {
            assert_eq!(class(path), Some(Class::Static), "{path}");
        }
        for path in ["README.md", "uploads/cat.png", "data.json", "notes.txt", "static"] {
            assert_eq!(class(path), None, "{path}");
        }
    }

    #[test]
    fn what_the_app_writes_never_loads_pages() {
        for path in [
            "static/guests.db",
            "data/guests.sqlite",
            "static/guests.sqlite3-wal",
            "assets/guests.db-shm",
            "assets/guests.db-journal",
            "public/server.log",
            "public/x.tmp",
        ] {
            assert_eq!(class(path), None, "{path}");
        }
    }

    #[test]
    fn editors_temporary_files_are_nothing() {
        for path in [
            "src/4913",
            "src/main.rs~",
            "static/.style.css.swp",
            "src/.#main.rs",
            "src/#main.rs#",
            "src/main.rs___jb_tmp___",
            "src/main.rs___jb_old___",
            "static/.goutputstream-ABC",
            "static/a.swx",
        ] {
            assert_eq!(class(path), None, "{path}");
        }
    }
}
