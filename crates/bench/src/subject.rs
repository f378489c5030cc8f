//! The app that is measured, and the copies of its workspace in which that happens: one for each strategy, so that no two
//! share what the compiler keeps from one build to the next. The user's own files are only read.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use cargo_metadata::{DependencyKind, Package};
use ignore::WalkBuilder;
use toml_edit::{DocumentMut, Item, TableLike};

use devhost_build::app::{self, App, Location};
use devhost_build::{Choice, Settings};
use devhost_model::AppKind;
use devhost_model::Error;

/// The directory of the bench within devhost's target directory.
const DIRECTORY_NAME: &str = "bench";

/// What cargo keeps in a copy.
const TARGET_NAME: &str = "target";

/// How a directory that holds only what can be made again is marked (<https://bford.info/cachedir/>).
const CACHE_TAG_NAME: &str = "CACHEDIR.TAG";

/// Sections of a manifest that name other packages by their path.
const DEPENDENCY_SECTIONS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// devhost's own repository has this package, and the bench takes it where nothing else is named.
const EXAMPLE_PACKAGE: &str = "example_app";

/// The app that is measured.
#[derive(Debug, Clone)]
pub struct Subject {
    /// What devhost would serve.
    pub(super) app: App,
    /// The arguments for cargo and `devhost run` that choose features and profile.
    pub(super) build_args: Vec<String>,
    /// The profile, where it is not `dev`.
    profile: Option<String>,
    /// The binary or example that cargo starts, as arguments; or why there is none.
    pub(super) program: Result<[String; 2], String>,
    /// The packages that the app's depends on itself.
    pub(super) direct_dependencies: HashSet<String>,
    /// The directory for everything that the bench makes.
    pub(super) place: PathBuf,
    /// Where devhost was started, relative to the workspace.
    pub(super) cwd: PathBuf,
}

impl Subject {
    /// Finds the app as `devhost run` does.
    ///
    /// # Errors
    /// A mistake where there is none, or one has to be chosen.
    pub fn find(argument: Option<&str>, cwd: &Path, settings: &Settings) -> Result<Self, Error> {
        let mut location = app::locate(argument, cwd, settings)?;
        if let (None, Location::Package(located)) = (argument, &location)
            && located.package().name.as_str() == env!("CARGO_PKG_NAME")
            && located
                .metadata
                .workspace_packages()
                .iter()
                .any(|package| package.name.as_str() == EXAMPLE_PACKAGE)
        {
            location = app::locate(Some(EXAMPLE_PACKAGE), cwd, settings)?;
        }
        let located = match location {
            Location::Package(located) => located,
            Location::Library(path) => {
                return Err(Error::mistake(
                    format!("{} is a library that something else builds", path.display()),
                    "give the package that it is built from",
                ));
            }
        };
        let app = located.app(settings)?;
        let program = program(&app, located.package());
        let cwd = cwd.canonicalize().unwrap_or_else(|_| cwd.to_owned());
        let relative = cwd.strip_prefix(&app.workspace_root).unwrap_or(Path::new("")).to_owned();
        let dependencies = located.package().dependencies.iter();
        Ok(Self {
            build_args: build_args(settings),
            profile: settings.profile.clone(),
            program,
            direct_dependencies: dependencies
                .filter(|dependency| dependency.kind == DependencyKind::Normal)
                .map(|dependency| dependency.name.clone())
                .collect(),
            place: app.target_dir.join(DIRECTORY_NAME),
            cwd: relative,
            app,
        })
    }

    /// The package's name.
    pub fn package(&self) -> &str {
        &self.app.package
    }

    /// What the user has built already, by cargo or by devhost: dependencies are taken from there.
    pub(super) fn built(&self) -> Option<PathBuf> {
        let profile = self.profile_directory();
        let places = [self.app.user_build_dir.join(profile), self.app.target_dir.join(profile)];
        places.into_iter().find(|place| place.join(".fingerprint").is_dir())
    }

    /// cargo's directory for what is built with the profile.
    pub(super) fn profile_directory(&self) -> &str {
        match self.profile.as_deref() {
            None | Some("dev" | "test") => "debug",
            Some("bench") => "release",
            Some(profile) => profile,
        }
    }

    /// Where all that the bench makes goes.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Whether it says `export!`.
    pub(super) fn is_plugin(&self) -> bool {
        self.app.kind == AppKind::Plugin
    }

    /// The arguments for `devhost run` that choose what of the package is served.
    pub(super) fn choice_args(&self) -> Vec<String> {
        match &self.app.choice {
            Choice::Lib => vec!["--lib".into()],
            Choice::Bin(name) => vec!["--bin".into(), name.clone()],
            Choice::Example(name) => vec!["--example".into(), name.clone()],
        }
    }

    /// Where a file of the workspace is in a copy.
    pub(super) fn relative(&self, file: &Path) -> Option<PathBuf> {
        file.strip_prefix(&self.app.workspace_root).ok().map(Path::to_owned)
    }

    /// Makes a copy of the workspace, or renews the one that an earlier run has left: what is the same is left alone, so that
    /// cargo need not build it again.
    ///
    /// # Errors
    /// Something cannot be read or written.
    pub(super) fn copy(&self, name: &str) -> Result<PathBuf> {
        let to = self.place.join(name);
        fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
        let mut kept = HashSet::from([to.join(TARGET_NAME)]);
        for from in self.files() {
            let relative = from.strip_prefix(&self.app.workspace_root)?;
            if relative.as_os_str().is_empty() || self.is_inherited(relative) {
                continue;
            }
            let place = to.join(relative);
            kept.insert(place.clone());
            self.copy_one(&from, &place).with_context(|| format!("cannot copy {}", from.display()))?;
        }
        remove_others(&to, &kept)?;
        Ok(to)
    }

    /// The workspace's files and directories, each directory before what is in it.
    fn files(&self) -> Vec<PathBuf> {
        let place = self.place.clone();
        let target = self.app.target_dir.clone();
        let wanted = move |entry: &ignore::DirEntry| {
            let path = entry.path();
            let is_directory = entry.file_type().is_some_and(|kind| kind.is_dir());
            let is_output = is_directory
                && (entry.file_name() == ".git"
                    || path == place
                    || path == target
                    || path.join(CACHE_TAG_NAME).exists());
            entry.depth() == 0 || !is_output
        };
        let walk = |builder: &mut WalkBuilder| -> Vec<PathBuf> {
            builder.build().flatten().map(ignore::DirEntry::into_path).collect()
        };
        let root = &self.app.workspace_root;
        let in_repository = root.ancestors().any(|directory| directory.join(".git").exists());
        let mut files = walk(
            WalkBuilder::new(root)
                .hidden(false)
                .parents(in_repository)
                .require_git(in_repository)
                .filter_entry(wanted),
        );
        // Not in the repository, but needed to build and run: the settings of this machine.
        let beside = [root.clone(), self.app.manifest_path.parent().unwrap_or(root).to_owned()];
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

    /// cargo finds it above the copy as it does above the original, and would add the one to the other.
    fn is_inherited(&self, relative: &Path) -> bool {
        self.place.starts_with(&self.app.workspace_root)
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
                && let Some(text) = with_outer_paths(text, directory, &self.app.workspace_root)
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

    /// Where a link's copy leads: out of the workspace to where the original leads.
    fn link_target(&self, link: &Path) -> io::Result<PathBuf> {
        let target = fs::read_link(link)?;
        let absolute = resolve(&link.parent().unwrap_or(Path::new("/")).join(&target));
        let stays = target.is_relative() && absolute.starts_with(&self.app.workspace_root);
        Ok(if stays { target } else { absolute })
    }
}

fn build_args(settings: &Settings) -> Vec<String> {
    let mut args: Vec<String> = Vec::new();
    if !settings.features.is_empty() {
        args.extend(["--features".into(), settings.features.join(",")]);
    }
    if settings.all_features {
        args.push("--all-features".into());
    }
    if settings.no_default_features {
        args.push("--no-default-features".into());
    }
    if let Some(profile) = &settings.profile {
        args.extend(["--profile".into(), profile.clone()]);
    }
    args.extend(settings.cargo.building_args());
    args
}

/// What `cargo run` would start.
fn program(app: &App, package: &Package) -> Result<[String; 2], String> {
    match &app.choice {
        Choice::Bin(name) => Ok(["--bin".into(), name.clone()]),
        Choice::Example(name) => Ok(["--example".into(), name.clone()]),
        Choice::Lib => {
            let binaries: Vec<&str> =
                package.targets.iter().filter(|target| target.is_bin()).map(|target| &*target.name).collect();
            let chosen = match (&package.default_run, &binaries[..]) {
                (Some(name), _) => Some(name.as_str()),
                (None, [name]) => Some(*name),
                (None, _) => None,
            };
            let reason = if binaries.is_empty() {
                "the package has no binary: give it a `src/main.rs` that serves the same app"
            } else {
                "the package has several binaries: name one as `default-run` in its Cargo.toml"
            };
            chosen.map(|name| ["--bin".into(), name.to_owned()]).ok_or_else(|| reason.to_owned())
        }
    }
}

/// The manifest with absolute paths for what is outside of the workspace; nothing where there is no such path.
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

/// The file itself, whatever leads to it; what does not exist is named without `.` and `..`.
fn resolve(path: &Path) -> PathBuf {
    let path = devhost_build::normalize(path);
    path.canonicalize().unwrap_or(path)
}

/// Removes from a copy what is not in the original any more.
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

    #[test]
    fn a_copy_follows_its_original_and_keeps_what_was_built() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("w");
        let package = "[package]\nname = \"one\"\nedition = \"2024\"\n";
        for (file, text) in [
            ("Cargo.toml", package),
            ("src/main.rs", "fn main() {}"),
            (".gitignore", "/target\nsecret.txt\n/.env\n"),
            (".env", "A=1"),
            ("secret.txt", "no"),
            ("gone.txt", "soon"),
        ] {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let subject = Subject::find(None, &root, &Settings::default()).unwrap();
        let copy = subject.copy("fork").unwrap();
        assert!(copy.starts_with(root.join("target/devhost/bench")));
        assert_eq!(fs::read_to_string(copy.join(".env")).unwrap(), "A=1");
        assert!(!copy.join("secret.txt").exists());
        fs::create_dir_all(copy.join("target/debug")).unwrap();
        let time = |path: &str| fs::metadata(copy.join(path)).unwrap().modified().unwrap();
        let unchanged = time("Cargo.toml");
        fs::write(copy.join("src/main.rs"), "edited").unwrap();
        fs::remove_file(root.join("gone.txt")).unwrap();
        assert_eq!(subject.copy("fork").unwrap(), copy);
        assert_eq!(fs::read_to_string(copy.join("src/main.rs")).unwrap(), "fn main() {}");
        assert!(!copy.join("gone.txt").exists() && copy.join("target/debug").exists());
        assert_eq!(time("Cargo.toml"), unchanged);
    }
}
