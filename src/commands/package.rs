//! Finds the package that a command is about, of whatever kind it is. Asks cargo, and reads nothing itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{Metadata, MetadataCommand, Package, Target, TargetKind};
use syn::visit::Visit;

use crate::build::app::PLUGIN_PACKAGE;
use crate::error::Error;

/// How many source files are read.
const SOURCES_COUNT_MAX: usize = 10_000;

/// A package, and what cargo says of its workspace.
#[derive(Debug)]
pub(super) struct Found {
    /// All that cargo said.
    pub metadata: Metadata,
    /// Where in it the package is.
    index: usize,
    /// The platform that cargo builds on.
    pub host: String,
}

impl Found {
    pub fn package(&self) -> &Package {
        &self.metadata.packages[self.index]
    }

    /// The directory of the package's Cargo.toml.
    pub fn root(&self) -> &Path {
        self.package().manifest_path.as_std_path().parent().unwrap_or(Path::new("/"))
    }

    pub fn library(&self) -> Option<&Target> {
        let kinds =
            [TargetKind::Lib, TargetKind::RLib, TargetKind::DyLib, TargetKind::CDyLib, TargetKind::StaticLib];
        self.package().targets.iter().find(|target| kinds.iter().any(|kind| target.is_kind(kind.clone())))
    }

    pub fn binaries(&self) -> Vec<&Target> {
        self.package().targets.iter().filter(|target| target.is_bin()).collect()
    }

    /// Whether its library says `export!`.
    pub fn exports_app(&self) -> bool {
        let sources = self.library().and_then(|library| library.src_path.parent());
        self.depends_on(PLUGIN_PACKAGE) && sources.is_some_and(|directory| exports(directory.as_std_path()))
    }

    /// Whether the package itself depends on another one, by name.
    pub fn depends_on(&self, name: &str) -> bool {
        self.package().dependencies.iter().any(|dependency| dependency.name == name)
    }
}

/// Whether a source file in a directory has a line that exports an app.
fn exports(directory: &Path) -> bool {
    let files = ignore::WalkBuilder::new(directory).follow_links(true).build().flatten();
    files
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "rs"))
        .take(SOURCES_COUNT_MAX)
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
        .any(|text| text.contains("export!") && says_export(&text))
}

/// Whether a source file exports an app: a line of it in a text or a comment does not.
fn says_export(text: &str) -> bool {
    struct Search(bool);
    impl Visit<'_> for Search {
        fn visit_item_macro(&mut self, item: &syn::ItemMacro) {
            let names: Vec<_> = item.mac.path.segments.iter().map(|part| part.ident.to_string()).collect();
            self.0 |= names == ["export"] || names == ["devhost_plugin", "export"];
        }
    }
    let Ok(file) = syn::parse_file(text) else { return false };
    let mut search = Search(false);
    search.visit_file(&file);
    search.0
}

/// Finds what `argument` (a directory, a manifest or a package's name; nothing for here) means to somebody in `cwd`.
pub(super) fn find(argument: Option<&Path>, cwd: &Path) -> Result<Found, Error> {
    let given = argument.map_or_else(|| cwd.to_owned(), |argument| cwd.join(argument));
    let (manifest, name) = if given.file_name().is_some_and(|name| name == "Cargo.toml") && given.is_file() {
        (given, None)
    } else if given.join("Cargo.toml").is_file() {
        (given.join("Cargo.toml"), None)
    } else if argument.is_none() {
        (manifest_above(cwd)?, None)
    } else if let Some(name) = argument.and_then(Path::to_str).filter(|name| !name.contains('/')) {
        (manifest_above(cwd)?, Some(name))
    } else {
        return Err(Error::mistake(
            format!("{} is no package: it has no Cargo.toml", given.display()),
            "give the directory that holds the app's Cargo.toml, or a package's name",
        ));
    };
    let manifest = manifest.canonicalize().unwrap_or(manifest);
    let directory = manifest.parent().unwrap_or(Path::new("/"));
    let host = first_line_after("cargo", directory, "host: ")?;
    let metadata = metadata(&manifest, &host)?;
    let index = index_of(&metadata, &manifest, name)?;
    Ok(Found { metadata, index, host })
}

fn manifest_above(directory: &Path) -> Result<PathBuf, Error> {
    directory
        .ancestors()
        .map(|directory| directory.join("Cargo.toml"))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Error::mistake(
                format!("no Cargo.toml in {} or above it", directory.display()),
                "run devhost in the directory of a package, or give it one",
            )
        })
}

fn metadata(manifest: &Path, host: &str) -> Result<Metadata, Error> {
    let command = MetadataCommand::new()
        .cargo_path("cargo")
        .manifest_path(manifest)
        .current_dir(manifest.parent().unwrap_or(Path::new("/")))
        .other_options(vec![format!("--filter-platform={host}")])
        .exec();
    command.map_err(|error| {
        Error::mistake(
            format!("cargo cannot read {}: {error}", manifest.display()),
            "mend what cargo complains about; `cargo metadata` in that directory says the same",
        )
    })
}

fn index_of(metadata: &Metadata, manifest: &Path, name: Option<&str>) -> Result<usize, Error> {
    let position = |wanted: &dyn Fn(&Package) -> bool| metadata.packages.iter().position(wanted);
    let members = metadata.workspace_packages();
    let names = || members.iter().map(|package| package.name.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(name) = name {
        return members
            .iter()
            .find(|package| package.name.as_str() == name)
            .and_then(|found| position(&|package| package.id == found.id))
            .ok_or_else(|| {
                Error::mistake(
                    format!("there is neither a directory nor a package `{name}`"),
                    format!("the packages here: {}", names()),
                )
            });
    }
    if let Some(index) = position(&|package| package.manifest_path == manifest) {
        return Ok(index);
    }
    let defaults = if metadata.workspace_default_members.is_available() {
        metadata.workspace_default_packages()
    } else {
        members.clone()
    };
    match defaults.as_slice() {
        [only] => Ok(position(&|package| package.id == only.id).unwrap_or_default()),
        _ => Err(Error::mistake(
            format!("{} is a workspace with several packages", manifest.display()),
            format!("say which one: {}", names()),
        )),
    }
}

/// What a tool says of itself when it is asked `-vV`, after the given words.
pub(super) fn first_line_after(tool: &str, directory: &Path, words: &str) -> Result<String, Error> {
    let output = Command::new(tool).arg("-vV").current_dir(directory).output().map_err(|error| {
        Error::mistake(
            format!("cannot run `{tool}`: {error}"),
            "install Rust (https://rustup.rs), or put the directory that holds it into PATH",
        )
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().find_map(|line| line.strip_prefix(words)).map(str::to_owned).ok_or_else(|| {
        Error::mistake(
            format!(
                "`{tool} -vV` has no line with `{}`:\n{}",
                words.trim(),
                String::from_utf8_lossy(&output.stderr)
            ),
            format!("check the Rust installation: `{tool} -vV` must work in that directory"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::says_export;

    #[test]
    fn an_export_is_told_from_a_mention() {
        assert!(says_export("pub fn app() {}\n\ndevhost_plugin::export!(app);"));
        assert!(says_export("use devhost_plugin::export;\nmod m { export!(app); }"));
        assert!(!says_export(
            "// devhost_plugin::export!(app);\nconst HINT: &str = \"\ndevhost_plugin::export!(app);\";"
        ));
        assert!(!says_export("wit_bindgen::export!(app);"));
    }
}
