//! What a changed file means, judged from its path alone. Pure: no file system, no state.
//!
//! The caller knows what the last build read (its dep-info) and the manifests; this is about all other files. A file that
//! only a build script or a macro looks for cannot be known before a build has named it; from then on it counts as code.
//!
//! What counts besides is what the compiler read (dep-info) and what build scripts name (`input_directories.rs`). Never: target directories, `.git`, `node_modules`, and what editors and databases keep beside their files.

use std::ffi::OsStr;
use std::path::{Component, Path};

/// What a change of a file leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// A build.
    Code,
    /// A restart: the app may have read the file once, or gets its environment from it.
    Startup,
    /// Swapping stylesheets in place.
    Style,
    /// Reloading pages.
    Static,
}

/// Directories whose files are served as they are, and read for each request.
const SERVED_DIRECTORIES: &[&str] = &["static", "public", "assets", "www", "dist"];

/// Directories whose files an app may read once, when it starts or at first use: templates and translations.
const READ_DIRECTORIES: &[&str] = &["templates", "views", "locales", "i18n", "translations"];

/// Directories of configuration files.
const CONFIG_DIRECTORIES: &[&str] = &["config", "conf", "configuration", "settings"];

/// Extensions that are web assets anywhere. Images, fonts and JSON are not among them: outside an asset directory they may
/// be what the app itself writes (uploads, data), which must not reload pages.
const WEB_EXTENSIONS: &[&str] = &["js", "mjs", "svg", "webmanifest"];

/// Extensions of files that an app may read once, outside directories of served files.
const READ_EXTENSIONS: &[&str] = &[
    "html",
    "htm",
    "xhtml",
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

/// Extensions of configuration files, in a directory of them or with the name of one.
const CONFIG_EXTENSIONS: &[&str] =
    &["toml", "yaml", "yml", "json", "json5", "jsonc", "ron", "ini", "conf", "properties", "kdl"];

/// TOML files that tools read, but no app. Any other TOML file in a package is taken for configuration.
const TOOL_FILES: &[&str] = &[
    "Cargo.toml",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "clippy.toml",
    "deny.toml",
    "taplo.toml",
    "typos.toml",
    "cliff.toml",
    "dist-workspace.toml",
];

/// Directories of a package that are not part of the app.
const SIDE_DIRECTORIES: &[&str] = &["tests", "benches", "examples"];

/// Extensions of databases, which the app writes while it runs.
const DATABASE_EXTENSIONS: &[&str] = &["db", "db3", "sqlite", "sqlite3"];

/// Extensions of other files that programs write while they run: logs, locks.
const SCRATCH_EXTENSIONS: &[&str] = &["log", "tmp", "temp", "pid", "sock", "lock", "part", "crdownload"];

/// Suffixes of the files that a database keeps next to its own.
const WRITTEN_SUFFIXES: &[&str] = &["-wal", "-shm", "-journal"];

/// Classifies a file inside a package by its path relative to the package. `foreign`, called only if it matters, returns true
/// if a nearer `Cargo.toml` makes the file part of a package that the app does not use.
pub(crate) fn classify(relative: &Path, foreign: impl FnOnce() -> bool) -> Option<Class> {
    let name = relative.file_name()?;
    if is_left_alone(name) {
        return None;
    }
    if is_side_file(relative) {
        return None;
    }
    let purpose = innermost(relative);
    match (extension(name), purpose) {
        (Some("rs"), _) => (!foreign()).then_some(Class::Code),
        (_, Some(Purpose::Read)) => Some(Class::Startup),
        (Some("css"), _) => Some(Class::Style),
        (_, Some(Purpose::Served)) => Some(Class::Static),
        (Some(extension), _) if READ_EXTENSIONS.contains(&extension) => Some(Class::Startup),
        (Some(extension), _) if WEB_EXTENSIONS.contains(&extension) => Some(Class::Static),
        (Some(extension), purpose) => is_configuration(name, extension, purpose).then_some(Class::Startup),
        (None, _) => None,
    }
}

/// Returns true for a file of a package's tests, benchmarks and examples, by its path relative to the package.
pub(crate) fn is_side_file(relative: &Path) -> bool {
    let mut parts = relative.components();
    parts.next().is_some_and(|first| is_one_of(first, SIDE_DIRECTORIES)) && parts.next().is_some()
}

/// Classifies a file outside the app's packages, where only what may be served or read at run time counts. `foreign` returns
/// true if it is part of another package, whose templates and configuration are its own.
pub(crate) fn classify_around(relative: &Path, foreign: impl FnOnce() -> bool) -> Option<Class> {
    let is_in_assets = relative.parent().is_some_and(is_asset_directory);
    // An app reads its configuration from its working directory.
    let is_near = relative.components().count() <= 2;
    match classify(relative, || true)? {
        class @ (Class::Style | Class::Static) => is_in_assets.then_some(class),
        Class::Startup => ((is_in_assets || is_near) && !foreign()).then_some(Class::Startup),
        Class::Code => None,
    }
}

/// Returns true if files of the directory are served, rendered or read at run time.
pub(crate) fn is_asset_directory(relative: &Path) -> bool {
    relative.components().any(|part| is_one_of(part, SERVED_DIRECTORIES) || is_one_of(part, READ_DIRECTORIES))
}

/// Returns true if a change of the file may lead to a build or a restart. A quick guess from any path, absolute or relative.
pub(crate) fn may_lead_to_a_start(path: &Path) -> bool {
    let named = path.file_name().map(|name| (name, extension(name)));
    match named {
        Some((_, Some("rs" | "toml"))) => true,
        Some((name, Some(extension))) => {
            let purpose = innermost(path);
            purpose == Some(Purpose::Read)
                || READ_EXTENSIONS.contains(&extension)
                || is_configuration(name, extension, purpose)
        }
        _ => innermost(path) == Some(Purpose::Read),
    }
}

/// What a directory is for, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Served,
    Read,
    Config,
}

/// Finds the innermost directory with a known purpose. Inside one that is served or rendered, nothing is configuration.
fn innermost(path: &Path) -> Option<Purpose> {
    let directory = path.parent()?;
    let innermost = directory.components().rev().find_map(|part| {
        let known = [(SERVED_DIRECTORIES, Purpose::Served), (READ_DIRECTORIES, Purpose::Read)];
        known.into_iter().find(|(names, _)| is_one_of(part, names)).map(|(_, purpose)| purpose)
    });
    let is_config = || directory.components().any(|part| is_one_of(part, CONFIG_DIRECTORIES));
    innermost.or_else(|| is_config().then_some(Purpose::Config))
}

fn is_configuration(name: &OsStr, extension: &str, purpose: Option<Purpose>) -> bool {
    if !CONFIG_EXTENSIONS.contains(&extension) || TOOL_FILES.iter().any(|tool| name == *tool) {
        return false;
    }
    let stem = Path::new(name).file_stem().and_then(OsStr::to_str).unwrap_or_default().to_lowercase();
    extension == "toml"
        || purpose == Some(Purpose::Config)
        || ["config", "conf", "settings", "appsettings", "log4rs"].iter().any(|start| stem.starts_with(start))
}

/// Returns true for a file that open pages can swap in place.
pub fn is_stylesheet(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "css")
}

/// Returns true for names under which editors keep temporary files.
pub(crate) fn is_editor_file(name: &OsStr) -> bool {
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

/// Returns true for `.swp`, `.swo`, `.swx`, `.swpx` …, with or without vim's leading dot.
fn has_vim_swap_extension(name: &[u8]) -> bool {
    let Some(dot) = name.iter().rposition(|byte| *byte == b'.') else { return false };
    let extension = &name[dot + 1..];
    matches!(extension, [b's', b'w', b'a'..=b'z'] | b"swpx")
}

/// Returns true if a change of a file with this name means nothing: editors and running programs write it.
pub(crate) fn is_left_alone(name: &OsStr) -> bool {
    is_editor_file(name) || is_written_at_run_time(name)
}

/// Returns true for files that come and go with a running program.
pub(crate) fn is_scratch_file(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    WRITTEN_SUFFIXES.iter().any(|suffix| bytes.ends_with(suffix.as_bytes()))
        || extension(name).is_some_and(|extension| SCRATCH_EXTENSIONS.contains(&extension))
}

fn is_written_at_run_time(name: &OsStr) -> bool {
    is_scratch_file(name) || extension(name).is_some_and(|extension| DATABASE_EXTENSIONS.contains(&extension))
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
    fn served_directories_hold_static_files_of_any_kind() {
        for path in
            ["static/logo.png", "a/public/x/y.json", "dist/app.wasm", "static/index.html", "www/config.json"]
        {
            assert_eq!(class(path), Some(Class::Static), "{path}");
        }
    }

    #[test]
    fn what_an_app_may_have_read_once_starts_it_anew() {
        for path in [
            "templates/page",
            "templates/style.css",
            "src/views/x.html",
            "locales/de.toml",
            "pages/index.html",
            "x.j2",
            "x.tera",
            "config.toml",
            "Rocket.toml",
            "config/default.yaml",
            "configuration/base.json",
            "settings.json",
            "appsettings.Development.json",
        ] {
            assert_eq!(class(path), Some(Class::Startup), "{path}");
            assert!(may_lead_to_a_start(&Path::new("/home/user").join(path)), "{path}");
        }
    }

    #[test]
    fn around_the_packages_only_what_may_be_served_or_read_counts() {
        let class = |path: &str, foreign| classify_around(Path::new(path), || foreign);
        assert_eq!(class("frontend/static/a.css", true), Some(Class::Style));
        assert_eq!(class("frontend/dist/a.wasm", true), Some(Class::Static));
        assert_eq!(class("templates/page.html", false), Some(Class::Startup));
        assert_eq!(class("other/templates/page.html", true), None);
        assert_eq!(class("config/default.toml", false), Some(Class::Startup));
        for path in ["other/src/lib.rs", "other/style.css", "docs/index.js", "a/b/c.toml"] {
            assert_eq!(class(path, false), None, "{path}");
        }
    }

    #[test]
    fn the_innermost_directory_that_says_something_decides() {
        assert_eq!(class("templates/assets/logo.png"), Some(Class::Static));
        assert_eq!(class("assets/templates/page.html"), Some(Class::Startup));
        assert_eq!(class("static/config/x.json"), Some(Class::Static));
    }

    #[test]
    fn outside_of_known_directories_only_web_files_count() {
        for path in ["a.js", "icons/a.svg"] {
            assert_eq!(class(path), Some(Class::Static), "{path}");
        }
        for path in [
            "README.md",
            "uploads/cat.png",
            "data.json",
            "data/state.yaml",
            "notes.txt",
            "static",
            "rustfmt.toml",
            "other/Cargo.toml",
        ] {
            assert_eq!(class(path), None, "{path}");
            assert!(
                !may_lead_to_a_start(Path::new(path))
                    || Path::new(path).extension().is_some_and(|extension| extension == "toml"),
                "{path}"
            );
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
