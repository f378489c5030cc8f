//! Finds what `devhost run` should serve: a package, by directory, manifest or name, or a shared library
//! built by something else.

use std::path::{Path, PathBuf};

use cargo_metadata::{Metadata, Package, TargetKind};
use devhost_model::Error;
use devhost_plugin::abi::DESCRIPTOR_SYMBOL;

use super::choose::{package_around, package_at};
use super::describe::{describe, target_dir};
use super::metadata::{Asked, ask, metadata};
use super::names::list_names;
use super::packages::{depends_on_plugin, library, package_of, parent};
use super::partial;
use super::target::{App, Prebuilt, Target};
use super::variables::cargos_own_variables;
use crate::inspector;
use crate::paths::absolute;
use crate::settings::{Choice, Settings};

/// The hint if what was chosen at the start is gone.
const VANISHED_HINT: &str =
    "devhost stays with what was chosen at the start: bring it back, or start devhost again to choose anew";

/// Resolves `argument` in the directory `cwd`.
///
/// # Errors
/// A mistake with a hint if there is no such package, it has neither a binary nor an `export!`, it has
/// several binaries and none is chosen, its manifest is broken, or cargo is missing.
pub fn find(argument: Option<&str>, cwd: &Path, settings: &Settings) -> Result<Target, Error> {
    let resolved = resolve(argument, cwd)?;
    if let Argument::Library(path) = resolved {
        return Ok(Target::Prebuilt(describe_library(path, settings)?));
    }
    // Meanwhile, since each call of cargo takes its time.
    std::thread::scope(|scope| {
        let own = scope.spawn(cargos_own_variables);
        let located = locate_package(resolved, cwd, settings)?;
        let own = own.join().unwrap_or_default();
        describe(&located.metadata, located.package(), settings, own).map(Target::App)
    })
}

/// What an argument refers to.
#[derive(Debug)]
pub enum Location {
    /// A package, servable or not.
    Package(Box<Located>),
    /// A shared library.
    Library(PathBuf),
}

/// A package and its workspace's metadata.
#[derive(Debug)]
pub struct Located {
    /// Everything cargo said.
    pub metadata: Metadata,
    index: usize,
}

impl Located {
    fn new(
        asked: Asked,
        settings: &Settings,
        choose: impl FnOnce(&Metadata) -> Result<&Package, Error>,
    ) -> Result<Self, Error> {
        let chosen = choose(&asked.metadata)?.id.clone();
        let metadata = asked.about(&chosen, settings)?;
        let index = metadata.packages.iter().position(|package| package.id == chosen).unwrap_or_default();
        Ok(Self { metadata, index })
    }

    /// The package.
    pub fn package(&self) -> &Package {
        &self.metadata.packages[self.index]
    }

    /// Describes the package as an app.
    ///
    /// # Errors
    /// A mistake if the package has no app, or one has to be chosen.
    pub fn app(&self, settings: &Settings) -> Result<App, Error> {
        describe(&self.metadata, self.package(), settings, cargos_own_variables())
    }
}

/// Resolves `argument` to a package or library in `cwd`, servable or not.
///
/// # Errors
/// A mistake with a hint if there is no such package, its manifest is broken, or cargo is missing.
pub fn locate(argument: Option<&str>, cwd: &Path, settings: &Settings) -> Result<Location, Error> {
    match resolve(argument, cwd)? {
        Argument::Library(path) => Ok(Location::Library(path)),
        package => locate_package(package, cwd, settings).map(|located| Location::Package(Box::new(located))),
    }
}

fn locate_package(argument: Argument, cwd: &Path, settings: &Settings) -> Result<Located, Error> {
    match argument {
        Argument::Library(path) => Err(Error::fault(format!("{} is no package", path.display()))),
        Argument::Package(manifest, name) => Located::new(ask(&manifest, settings)?, settings, |metadata| {
            if let Some(name) = name {
                refuse_ambiguity(metadata, &name, &manifest, cwd)?;
            }
            package_at(metadata, &manifest, settings)
        }),
        Argument::CurrentDir(manifest) => Located::new(ask(&manifest, settings)?, settings, |metadata| {
            package_around(metadata, &manifest, settings)
        }),
        Argument::Named(manifest, name) => Located::new(ask(&manifest, settings)?, settings, |metadata| {
            let mut members = metadata.workspace_packages().into_iter();
            members
                .find(|package| package.name.as_str() == name)
                .ok_or_else(|| unknown_package(metadata, &name))
        }),
    }
}

/// Where devhost builds what `argument` means in `cwd`, servable or not.
///
/// # Errors
/// As [`locate`], except that cargo need not know the package's dependencies.
pub fn place_of_builds(argument: Option<&str>, cwd: &Path, settings: &Settings) -> Result<PathBuf, Error> {
    if let Some(target_dir) = &settings.target_dir {
        return Ok(absolute(target_dir));
    }
    let manifest = match resolve(argument, cwd)? {
        Argument::Library(path) => {
            return describe_library(path, settings).map(|prebuilt| prebuilt.target_dir);
        }
        Argument::Package(manifest, _) | Argument::CurrentDir(manifest) | Argument::Named(manifest, _) => {
            manifest
        }
    };
    let metadata = match partial::members(&manifest, settings) {
        Some(metadata) => metadata,
        // Fails with cargo's reason.
        None => metadata(&manifest, settings)?,
    };
    Ok(target_dir(&metadata, settings))
}

/// Asks cargo again about an app whose manifests may have changed. Keeps the package and target chosen at the
/// start.
///
/// # Errors
/// A mistake with a hint if they are gone, the manifest is broken, or cargo is missing.
pub(crate) fn refresh(app: &App, settings: &Settings) -> Result<App, Error> {
    let located = Located::new(ask(&app.manifest_path, settings)?, settings, |metadata| {
        package_of(metadata, &app.manifest_path).ok_or_else(|| {
            Error::mistake(format!("{} has no package any more", app.manifest_path.display()), VANISHED_HINT)
        })
    })?;
    let (metadata, package) = (&located.metadata, located.package());
    let choice = choice_again(metadata, package, app)?;
    describe(
        metadata,
        package,
        &Settings { choice: Some(choice), ..settings.clone() },
        cargos_own_variables(),
    )
}

/// The app's target, which may have been renamed.
fn choice_again(metadata: &Metadata, package: &Package, app: &App) -> Result<Choice, Error> {
    let again = |kind: TargetKind, name: &String| {
        let of_kind = || package.targets.iter().filter(|target| target.is_kind(kind.clone()));
        let by_name = of_kind().find(|target| target.name == *name);
        let same = by_name.or_else(|| of_kind().find(|target| target.src_path == *app.source));
        same.map(|target| target.name.clone())
    };
    let (choice, what) = match &app.choice {
        Choice::Lib => (
            depends_on_plugin(metadata, package).then(|| library(package)).flatten().map(|_| Choice::Lib),
            "library with an `export!`".to_owned(),
        ),
        Choice::Bin(name) => (again(TargetKind::Bin, name).map(Choice::Bin), format!("binary `{name}`")),
        Choice::Example(name) => {
            (again(TargetKind::Example, name).map(Choice::Example), format!("example `{name}`"))
        }
    };
    choice.ok_or_else(|| {
        Error::mistake(format!("the package `{}` has no {what} any more", package.name), VANISHED_HINT)
    })
}

#[derive(Debug)]
pub(super) enum Argument {
    Library(PathBuf),
    /// A manifest, and the argument if it could also be a package name.
    Package(PathBuf, Option<String>),
    /// The manifest of the current directory, of a package or a workspace.
    CurrentDir(PathBuf),
    /// A package name to look up in a manifest's workspace.
    Named(PathBuf, String),
}

pub(super) fn resolve(argument: Option<&str>, cwd: &Path) -> Result<Argument, Error> {
    let Some(argument) = argument else {
        let manifest = manifest_above(cwd).ok_or_else(|| {
            Error::mistake(
                format!("no Cargo.toml in {} or above it", cwd.display()),
                "run devhost in the directory of a package, or give it one: `devhost run PATH`",
            )
        })?;
        return Ok(Argument::CurrentDir(manifest));
    };
    resolve_given(argument, cwd)
}

fn resolve_given(argument: &str, cwd: &Path) -> Result<Argument, Error> {
    let path = cwd.join(argument);
    if path.extension().is_some_and(|extension| extension == "so") {
        let path = path.canonicalize().map_err(|error| {
            Error::mistake(
                format!("cannot read {}: {error}", path.display()),
                format!("give the path of a shared library that exports {DESCRIPTOR_SYMBOL}"),
            )
        })?;
        return Ok(Argument::Library(path));
    }
    let name_like = !argument.contains('/') && argument != "." && argument != "..";
    if path.is_dir() {
        let manifest = path.join("Cargo.toml");
        if manifest.is_file() {
            return Ok(Argument::Package(canonical(&manifest), name_like.then(|| argument.to_owned())));
        }
        if !name_like {
            return Err(Error::mistake(
                format!("{} is not a package: it has no Cargo.toml", path.display()),
                "give the directory that holds the app's Cargo.toml, or a package's name",
            ));
        }
    } else if path.is_file() {
        if path.file_name().is_some_and(|name| name == "Cargo.toml") {
            return Ok(Argument::Package(canonical(&path), None));
        }
        return Err(Error::mistake(
            format!("{} is neither a package nor a shared library", path.display()),
            "give a directory with a Cargo.toml, the Cargo.toml itself, a package's name, or a .so file",
        ));
    } else if !name_like {
        return Err(Error::mistake(
            format!("{} does not exist", path.display()),
            "give the directory that holds the app's Cargo.toml, or a package's name",
        ));
    }
    match manifest_above(cwd) {
        Some(manifest) => Ok(Argument::Named(manifest, argument.to_owned())),
        None if path.is_dir() => Err(Error::mistake(
            format!("{} is not a package: it has no Cargo.toml", path.display()),
            "give the directory that holds the app's Cargo.toml",
        )),
        None => Err(Error::mistake(
            format!("there is no directory `{argument}` in {}, and no workspace around it", cwd.display()),
            "give the directory that holds the app's Cargo.toml",
        )),
    }
}

fn describe_library(path: PathBuf, settings: &Settings) -> Result<Prebuilt, Error> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = name.strip_prefix("lib").unwrap_or(&name).to_owned();
    let target_dir = match &settings.target_dir {
        Some(target_dir) => target_dir.clone(),
        None => {
            let cache = std::env::var_os("XDG_CACHE_HOME")
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
                .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
                .ok_or_else(|| {
                    Error::mistake(
                        "nowhere to put copies of the library: neither HOME nor XDG_CACHE_HOME is set",
                        "set one of them, or give --target-dir",
                    )
                })?;
            let hash = blake3::hash(path.as_os_str().as_encoded_bytes()).to_hex();
            cache.join("devhost").join(format!("{name}-{}", &hash[..16]))
        }
    };
    let kind = inspector::kind_of(&path);
    Ok(Prebuilt { name, path, target_dir, kind })
}

fn manifest_above(directory: &Path) -> Option<PathBuf> {
    let directory = canonical(directory);
    directory.ancestors().map(|directory| directory.join("Cargo.toml")).find(|manifest| manifest.is_file())
}

fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Fails for `devhost run foo` if the directory `foo` holds another package, and a package `foo` exists
/// elsewhere.
fn refuse_ambiguity(metadata: &Metadata, name: &str, manifest: &Path, cwd: &Path) -> Result<(), Error> {
    let namesake = metadata.workspace_packages().into_iter().find(|package| package.name.as_str() == name);
    match namesake {
        Some(package)
            if package.manifest_path != manifest
                && canonical(cwd).starts_with(metadata.workspace_root.as_std_path()) =>
        {
            Err(Error::mistake(
                format!(
                    "`{name}` is both the directory {} and the package in {}",
                    parent(manifest).display(),
                    parent(package.manifest_path.as_std_path()).display()
                ),
                format!("give a path: `devhost run ./{name}`, or the other directory"),
            ))
        }
        _ => Ok(()),
    }
}

fn unknown_package(metadata: &Metadata, name: &str) -> Error {
    Error::mistake(
        format!("the workspace {} has no package `{name}`", metadata.workspace_root.as_str()),
        format!("its packages: {}", list_names(&metadata.workspace_packages())),
    )
}
