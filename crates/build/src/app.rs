//! Finds what `devhost run` is to serve: a package, from a directory, a manifest or a name, or a shared
//! library that something else builds. It asks cargo and believes what cargo says; it never reads a manifest
//! itself and never builds anything. Of the sources it reads only whether a library says `export!`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cargo_metadata::{
    DependencyKind, Metadata, MetadataCommand, Node, NodeDep, Package, PackageId, TargetKind,
};
use devhost_model::AppKind;
use devhost_plugin::abi::DESCRIPTOR_SYMBOL;

use crate::cargo;
use crate::environment;
use crate::export;
use crate::inspector;
use crate::job_sheet::ExternKind;
use crate::partial;
use crate::settings::{Choice, Settings, Strategy};
use devhost_model::Error;

/// The name of the package that a plugin app depends on, and which counts as a library wherever it comes from.
pub const PLUGIN_PACKAGE: &str = "devhost-plugin";

/// How many names a message lists before it says "and N more".
const NAMES_LISTED_COUNT_MAX: usize = 40;

/// What to do if what was chosen at the start is gone.
const VANISHED_HINT: &str =
    "devhost stays with what was chosen at the start: bring it back, or start devhost again to choose anew";

/// What is to be served.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
pub enum Target {
    /// A package that devhost builds.
    App(App),
    /// A shared library that something else builds; devhost loads a copy whenever it changes.
    Prebuilt(Prebuilt),
}

impl Target {
    /// The name to show: the package's, or the library's file name without its ending.
    pub fn name(&self) -> &str {
        match self {
            Self::App(app) => &app.package,
            Self::Prebuilt(prebuilt) => &prebuilt.name,
        }
    }

    /// How it is started, as far as is known before it is built.
    pub fn kind(&self) -> AppKind {
        match self {
            Self::App(app) => app.kind,
            Self::Prebuilt(prebuilt) => prebuilt.kind,
        }
    }

    /// The directory that belongs to devhost.
    pub fn target_dir(&self) -> &Path {
        match self {
            Self::App(app) => &app.target_dir,
            Self::Prebuilt(prebuilt) => &prebuilt.target_dir,
        }
    }
}

/// A shared library that something else builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prebuilt {
    /// Its file name without `lib` and `.so`.
    pub name: String,
    /// The library.
    pub path: PathBuf,
    /// Where copies of it go.
    pub target_dir: PathBuf,
    /// How it is started, as it is now.
    pub kind: AppKind,
}

/// An app that cargo builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// The environment variables that `cargo run` would give it.
    pub variables: Vec<(String, String)>,
    /// The package's name.
    pub package: String,
    /// cargo's id of the package.
    pub package_id: String,
    /// What it is.
    pub kind: AppKind,
    /// Which target of the package it is.
    pub choice: Choice,
    /// The name of its library or binary as rustc knows it.
    pub crate_name: String,
    /// Its root source file.
    pub source: PathBuf,
    /// Its `Cargo.toml`.
    pub manifest_path: PathBuf,
    /// The directory of its workspace's `Cargo.toml`.
    pub workspace_root: PathBuf,
    /// devhost's own target directory: cargo's own one is never written to.
    pub target_dir: PathBuf,
    /// Where cargo keeps what it builds for the user, whether it exists or not.
    pub user_build_dir: PathBuf,
    /// The app and every package that it reaches by path dependencies: what a developer may edit.
    pub path_packages: Vec<PathPackage>,
    /// The configuration files that cargo is given by name, and what they include.
    pub(crate) config_files: Vec<PathBuf>,
    /// An estimate of how many messages cargo has for a whole build, for the progress bar.
    pub units_expected: u32,
    /// What each `--extern` of each path package is, by the package's directory.
    pub(crate) externs: BTreeMap<PathBuf, BTreeMap<String, ExternKind>>,
    /// The packages that come from elsewhere, and the names of their libraries as rustc knows them.
    pub(crate) dependencies: BTreeMap<String, String>,
    /// What each package uses, by cargo's ids.
    pub(crate) uses: BTreeMap<String, Vec<String>>,
    /// Packages that build scripts use, directly or not.
    pub(crate) used_by_scripts: BTreeSet<String>,
}

impl App {
    /// The app's package directory.
    pub fn root(&self) -> &Path {
        parent(&self.manifest_path)
    }

    /// Whether a package is one of `others` or uses one, directly or not.
    pub(crate) fn reaches(&self, package: &str, others: &[&str]) -> bool {
        let mut seen = HashSet::new();
        let mut queue = vec![package];
        while let Some(id) = queue.pop() {
            if others.contains(&id) {
                return true;
            }
            if seen.insert(id) {
                queue.extend(self.uses.get(id).into_iter().flatten().map(String::as_str));
            }
        }
        false
    }

    /// An app that is nowhere.
    #[cfg(test)]
    pub(crate) fn stub() -> Self {
        Self {
            variables: Vec::new(),
            package: "app".into(),
            package_id: "id".into(),
            kind: AppKind::Plugin,
            choice: Choice::Lib,
            crate_name: "app".into(),
            source: PathBuf::new(),
            manifest_path: PathBuf::new(),
            workspace_root: PathBuf::new(),
            target_dir: PathBuf::new(),
            user_build_dir: PathBuf::new(),
            path_packages: Vec::new(),
            config_files: Vec::new(),
            units_expected: 1,
            externs: BTreeMap::new(),
            dependencies: BTreeMap::new(),
            uses: BTreeMap::new(),
            used_by_scripts: BTreeSet::new(),
        }
    }
}

/// A package that comes from a directory, not from a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPackage {
    /// The package's name.
    pub name: String,
    /// cargo's id of it.
    pub(crate) id: String,
    /// The directory of its `Cargo.toml`.
    pub root: PathBuf,
    /// The root source file of its library, where it has one.
    pub lib_source: Option<PathBuf>,
    /// The name of its library as rustc knows it.
    pub(crate) crate_name: Option<String>,
}

/// Finds what `argument` means to somebody in `cwd`.
///
/// # Errors
/// A mistake with a hint where there is no such package, it has neither a binary nor an `export!`, it has several
/// binaries and none is chosen, its manifest is broken, or cargo is missing.
pub fn find(argument: Option<&str>, cwd: &Path, settings: &Settings) -> Result<Target, Error> {
    match locate(argument, cwd, settings)? {
        Location::Library(path) => Ok(Target::Prebuilt(prebuilt(path, settings)?)),
        Location::Package(located) => located.app(settings).map(Target::App),
    }
}

/// What an argument has led to.
#[derive(Debug)]
pub enum Location {
    /// A package, whether it can be served or not.
    Package(Box<Located>),
    /// A shared library.
    Library(PathBuf),
}

/// A package, and what cargo says of its workspace.
#[derive(Debug)]
pub struct Located {
    /// All that cargo said.
    pub metadata: Metadata,
    /// Where in it the package is.
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

    /// The app that it is.
    ///
    /// # Errors
    /// A mistake where it is none, or one has to be chosen.
    pub fn app(&self, settings: &Settings) -> Result<App, Error> {
        describe(&self.metadata, self.package(), settings)
    }
}

/// Finds the package or the library that `argument` means to somebody in `cwd`, whatever it is.
///
/// # Errors
/// A mistake with a hint where there is no such package, its manifest is broken, or cargo is missing.
pub fn locate(argument: Option<&str>, cwd: &Path, settings: &Settings) -> Result<Location, Error> {
    let located = match whereabouts(argument, cwd)? {
        Place::Library(path) => return Ok(Location::Library(path)),
        Place::Package(manifest, name) => Located::new(ask(&manifest, settings)?, settings, |metadata| {
            if let Some(name) = name {
                refuse_ambiguity(metadata, &name, &manifest, cwd)?;
            }
            package_at(metadata, &manifest, settings)
        }),
        Place::Around(manifest) => Located::new(ask(&manifest, settings)?, settings, |metadata| {
            package_around(metadata, &manifest, settings)
        }),
        Place::Named(manifest, name) => Located::new(ask(&manifest, settings)?, settings, |metadata| {
            let mut members = metadata.workspace_packages().into_iter();
            members
                .find(|package| package.name.as_str() == name)
                .ok_or_else(|| unknown_package(metadata, &name))
        }),
    };
    located.map(|located| Location::Package(Box::new(located)))
}

/// Where devhost builds what `argument` means to somebody in `cwd`, whether it can be served or not.
///
/// # Errors
/// As [`locate`]; but cargo need not know what the package uses.
pub fn place_of_builds(argument: Option<&str>, cwd: &Path, settings: &Settings) -> Result<PathBuf, Error> {
    if let Some(target_dir) = &settings.target_dir {
        return Ok(absolute(target_dir));
    }
    let manifest = match whereabouts(argument, cwd)? {
        Place::Library(path) => return prebuilt(path, settings).map(|prebuilt| prebuilt.target_dir),
        Place::Package(manifest, _) | Place::Around(manifest) | Place::Named(manifest, _) => manifest,
    };
    let metadata = match partial::members(&manifest, settings) {
        Some(metadata) => metadata,
        // It knows why not.
        None => metadata(&manifest, settings)?,
    };
    Ok(target_dir(&metadata, settings))
}

fn target_dir(metadata: &Metadata, settings: &Settings) -> PathBuf {
    match &settings.target_dir {
        Some(target_dir) => absolute(target_dir),
        None => metadata.target_directory.as_std_path().join("devhost"),
    }
}

/// Asks cargo again about an app whose manifests may have changed. Package and target stay those that were chosen at the
/// start, whatever else there is by now.
///
/// # Errors
/// A mistake with a hint if they are not there any more, the manifest is broken, or cargo is missing.
pub fn refresh(app: &App, settings: &Settings) -> Result<App, Error> {
    let located = Located::new(ask(&app.manifest_path, settings)?, settings, |metadata| {
        package_of(metadata, &app.manifest_path).ok_or_else(|| {
            Error::mistake(format!("{} has no package any more", app.manifest_path.display()), VANISHED_HINT)
        })
    })?;
    let (metadata, package) = (&located.metadata, located.package());
    let choice = choice_again(metadata, package, app)?;
    describe(metadata, package, &Settings { choice: Some(choice), ..settings.clone() })
}

/// The target that an app is, which may have another name by now.
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

/// What an argument points at.
enum Place {
    /// A shared library.
    Library(PathBuf),
    /// A manifest, with the name that was typed where it also could be a package's.
    Package(PathBuf, Option<String>),
    /// The manifest of the current directory: of a package or of a workspace.
    Around(PathBuf),
    /// A package name, to be looked up in the workspace of a manifest.
    Named(PathBuf, String),
}

fn whereabouts(argument: Option<&str>, cwd: &Path) -> Result<Place, Error> {
    let Some(argument) = argument else {
        let manifest = manifest_above(cwd).ok_or_else(|| {
            Error::mistake(
                format!("no Cargo.toml in {} or above it", cwd.display()),
                "run devhost in the directory of a package, or give it one: `devhost run PATH`",
            )
        })?;
        return Ok(Place::Around(manifest));
    };
    place(argument, cwd)
}

fn place(argument: &str, cwd: &Path) -> Result<Place, Error> {
    let path = cwd.join(argument);
    if path.extension().is_some_and(|extension| extension == "so") {
        let path = path.canonicalize().map_err(|error| {
            Error::mistake(
                format!("cannot read {}: {error}", path.display()),
                format!("give the path of a shared library that exports {DESCRIPTOR_SYMBOL}"),
            )
        })?;
        return Ok(Place::Library(path));
    }
    let name_like = !argument.contains('/') && argument != "." && argument != "..";
    if path.is_dir() {
        let manifest = path.join("Cargo.toml");
        if manifest.is_file() {
            return Ok(Place::Package(canonical(&manifest), name_like.then(|| argument.to_owned())));
        }
        if !name_like {
            return Err(Error::mistake(
                format!("{} is not a package: it has no Cargo.toml", path.display()),
                "give the directory that holds the app's Cargo.toml, or a package's name",
            ));
        }
    } else if path.is_file() {
        if path.file_name().is_some_and(|name| name == "Cargo.toml") {
            return Ok(Place::Package(canonical(&path), None));
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
        Some(manifest) => Ok(Place::Named(manifest, argument.to_owned())),
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

fn prebuilt(path: PathBuf, settings: &Settings) -> Result<Prebuilt, Error> {
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

/// What cargo says of a workspace.
struct Asked {
    metadata: Metadata,
    /// Why it does not say who uses whom.
    refusal: Option<Error>,
}

impl Asked {
    /// All that is to be known of one of its packages.
    fn about(self, package: &PackageId, settings: &Settings) -> Result<Metadata, Error> {
        match self.refusal {
            None => Ok(self.metadata),
            Some(refusal) => partial::complete(&self.metadata, package, settings).ok_or(refusal),
        }
    }
}

/// Asks cargo about the workspace of a manifest, for the platform that it builds for.
fn ask(manifest: &Path, settings: &Settings) -> Result<Asked, Error> {
    match metadata(manifest, settings) {
        Ok(metadata) => Ok(Asked { metadata, refusal: None }),
        Err(refusal) => match partial::members(manifest, settings) {
            Some(metadata) => Ok(Asked { metadata, refusal: Some(refusal) }),
            None => Err(refusal),
        },
    }
}

/// Runs `cargo metadata` for the platform that cargo builds for.
fn metadata(manifest: &Path, settings: &Settings) -> Result<Metadata, Error> {
    let directory = parent(manifest);
    let host = host_triple(directory)?;
    let mut command = Command::new("cargo");
    command
        .args(["metadata", "--format-version", "1"])
        .arg(format!("--filter-platform={host}"))
        .arg("--manifest-path")
        .arg(manifest)
        .args(settings.feature_args())
        // These decide what the resolver may do, so they concern this call too.
        .args(settings.cargo.resolving_args())
        .current_dir(directory);
    environment::clean(|name| {
        command.env_remove(name);
    });
    command.env("CARGO_TERM_COLOR", "never");
    let output = command.output().map_err(|error| cargo_missing(&error))?;
    let refused = || {
        let text = cargo::essence(&String::from_utf8_lossy(&output.stderr));
        Error::mistake(
            format!("cargo cannot read {}:\n{text}", manifest.display()),
            "fix what cargo complains about; `cargo metadata` in that directory shows the same error",
        )
    };
    if !output.status.success() {
        return Err(refused());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let json = text.lines().find(|line| line.starts_with('{')).ok_or_else(refused)?;
    MetadataCommand::parse(json)
        .map_err(|error| Error::fault(format!("cannot read what `cargo metadata` says: {error}")))
}

/// The platform of the toolchain that `cargo` means in a directory.
///
/// # Errors
/// A mistake where cargo is missing or does not say it.
pub fn host_triple(directory: &Path) -> Result<String, Error> {
    let mut command = Command::new("cargo");
    command.arg("-vV").current_dir(directory);
    environment::clean(|name| {
        command.env_remove(name);
    });
    let output = command.output().map_err(|error| cargo_missing(&error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned).ok_or_else(|| {
        Error::mistake(
            format!(
                "`cargo -vV` does not say its host platform:\n{}",
                String::from_utf8_lossy(&output.stderr).trim_end()
            ),
            "check the Rust installation: `cargo -vV` must work in that directory",
        )
    })
}

fn cargo_missing(error: &std::io::Error) -> Error {
    Error::mistake(
        format!("cannot run `cargo`: {error}"),
        "install Rust (https://rustup.rs), or put the directory that holds cargo into PATH",
    )
}

/// The package of a manifest, or the one that a workspace's manifest leaves no choice but.
fn package_at<'m>(
    metadata: &'m Metadata,
    manifest: &Path,
    settings: &Settings,
) -> Result<&'m Package, Error> {
    match package_of(metadata, manifest) {
        Some(package) => Ok(package),
        None => package_of_workspace(metadata, settings),
    }
}

/// As [`package_at`], for a directory that nobody has named: there the workspace's default members count, as they do
/// for cargo.
fn package_around<'m>(
    metadata: &'m Metadata,
    manifest: &Path,
    settings: &Settings,
) -> Result<&'m Package, Error> {
    let at_root = manifest == metadata.workspace_root.as_std_path().join("Cargo.toml");
    match package_of(metadata, manifest) {
        Some(package) if !at_root || default_members(metadata).contains(&package) => Ok(package),
        _ => package_of_workspace(metadata, settings),
    }
}

fn package_of<'m>(metadata: &'m Metadata, manifest: &Path) -> Option<&'m Package> {
    metadata.packages.iter().find(|package| package.manifest_path == manifest)
}

fn default_members(metadata: &Metadata) -> Vec<&Package> {
    if metadata.workspace_default_members.is_available() {
        metadata.workspace_default_packages()
    } else {
        metadata.workspace_packages()
    }
}

/// The only package of a workspace's default members, or the only one of them that can be served.
fn package_of_workspace<'m>(metadata: &'m Metadata, settings: &Settings) -> Result<&'m Package, Error> {
    let defaults = default_members(metadata);
    if let [only] = defaults.as_slice() {
        return Ok(only);
    }
    let of = |wanted: &dyn Fn(&Package) -> bool| -> Vec<&'m Package> {
        defaults.iter().copied().filter(|package| wanted(package)).collect()
    };
    let root = metadata.workspace_root.as_str();
    let (apps, what) = match &settings.choice {
        Some(Choice::Lib) => {
            (of(&|package| is_plugin(metadata, package)), "apps with an `export!`".to_owned())
        }
        Some(Choice::Bin(name)) => {
            (of(&|package| has_target(package, &TargetKind::Bin, name)), format!("binaries `{name}`"))
        }
        Some(Choice::Example(name)) => {
            (of(&|package| has_target(package, &TargetKind::Example, name)), format!("examples `{name}`"))
        }
        None => {
            let plugins = of(&|package| is_plugin(metadata, package));
            if let [_] = plugins.as_slice() {
                (plugins, String::new())
            } else {
                let binary = |package: &Package| package.targets.iter().any(cargo_metadata::Target::is_bin);
                let apps = of(&|package| is_plugin(metadata, package) || binary(package));
                // As cargo: one `default-run` among all of them decides.
                let default: Vec<_> =
                    apps.iter().copied().filter(|package| package.default_run.is_some()).collect();
                (if default.len() == 1 { default } else { apps }, "apps".to_owned())
            }
        }
    };
    match apps.as_slice() {
        [only] => Ok(only),
        [] => Err(Error::mistake(
            match settings.choice {
                None => format!("no package of the workspace {root} can be served: none has a binary"),
                Some(_) => format!("the workspace {root} has no {what}"),
            },
            format!("{} Its packages: {}.", adoption_hint(), list_names(&metadata.workspace_packages())),
        )),
        several => Err(Error::mistake(
            format!("the workspace {root} has several {what}"),
            format!("say which: `devhost run NAME` with one of {}", list_names(several)),
        )),
    }
}

/// `devhost run foo` where `foo` is a directory with a package of another name, and another package is `foo`.
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

fn list_names(packages: &[&Package]) -> String {
    list(packages.iter().map(|package| package.name.as_str()))
}

fn list<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: BTreeSet<&str> = names.collect();
    let listed: Vec<&str> = names.iter().copied().take(NAMES_LISTED_COUNT_MAX).collect();
    match names.len() - listed.len() {
        0 => listed.join(", "),
        more => format!("{} and {more} more", listed.join(", ")),
    }
}

fn adoption_hint() -> String {
    format!(
        "devhost serves a package with a binary that listens, or with a library that says \
         `devhost_plugin::export!(app);` and has `{PLUGIN_PACKAGE}` in its [dependencies]."
    )
}

fn depends_on_plugin(metadata: &Metadata, package: &Package) -> bool {
    if metadata.resolve.is_none() {
        let mut said = package.dependencies.iter();
        return said.any(|dependency| {
            dependency.name == PLUGIN_PACKAGE && dependency.kind == DependencyKind::Normal
        });
    }
    let plugin: HashSet<&PackageId> = metadata
        .packages
        .iter()
        .filter(|package| package.name.as_str() == PLUGIN_PACKAGE)
        .map(|package| &package.id)
        .collect();
    node(metadata, &package.id).is_some_and(|node| {
        node.deps.iter().any(|dep| {
            plugin.contains(&dep.pkg) && dep.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
        })
    })
}

fn node<'m>(metadata: &'m Metadata, id: &PackageId) -> Option<&'m Node> {
    metadata.resolve.as_ref()?.nodes.iter().find(|node| node.id == *id)
}

/// The library of a package.
pub fn library(package: &Package) -> Option<&cargo_metadata::Target> {
    package.targets.iter().find(|target| is_library(&target.kind))
}

/// The library of a package, which may be a procedural macro.
pub(crate) fn library_or_macro(package: &Package) -> Option<&cargo_metadata::Target> {
    package.targets.iter().find(|target| is_library(&target.kind) || target.is_kind(TargetKind::ProcMacro))
}

/// Whether a package is a plugin app. One that has a binary as well has to say so in its library.
fn is_plugin(metadata: &Metadata, package: &Package) -> bool {
    let Some(library) = library(package).filter(|_| depends_on_plugin(metadata, package)) else {
        return false;
    };
    !package.targets.iter().any(cargo_metadata::Target::is_bin)
        || export::is_said_by(library.src_path.as_std_path())
}

fn has_target(package: &Package, kind: &TargetKind, name: &str) -> bool {
    package.targets.iter().any(|target| target.is_kind(kind.clone()) && target.name == name)
}

/// Decides which target of a package is the app.
fn choose(metadata: &Metadata, package: &Package, settings: &Settings) -> Result<(AppKind, Choice), Error> {
    let plain = |kind: TargetKind, name: &str, choice: &Choice| {
        if has_target(package, &kind, name) {
            return Ok((AppKind::Plain, choice.clone()));
        }
        let (what, flag) =
            if kind == TargetKind::Bin { ("binary", "--bin") } else { ("example", "--example") };
        let known: Vec<&str> = package
            .targets
            .iter()
            .filter(|target| target.is_kind(kind.clone()))
            .map(|target| target.name.as_str())
            .collect();
        let hint = if known.is_empty() {
            format!("it has none; leave {flag} out")
        } else {
            format!("it has {}", list(known.into_iter()))
        };
        Err(Error::mistake(format!("the package `{}` has no {what} `{name}`", package.name), hint))
    };
    match &settings.choice {
        Some(choice @ Choice::Bin(name)) => return plain(TargetKind::Bin, name, choice),
        Some(choice @ Choice::Example(name)) => return plain(TargetKind::Example, name, choice),
        Some(Choice::Lib) => {
            return if library(package).is_none() {
                Err(Error::mistake(format!("the package `{}` has no library", package.name), adoption_hint()))
            } else if depends_on_plugin(metadata, package) {
                Ok((AppKind::Plugin, Choice::Lib))
            } else {
                Err(without_export(package))
            };
        }
        // A library cannot be started as a program.
        None if is_plugin(metadata, package) && settings.strategy != Strategy::Restart => {
            return Ok((AppKind::Plugin, Choice::Lib));
        }
        None => {}
    }
    let binaries: Vec<&str> =
        package.targets.iter().filter(|target| target.is_bin()).map(|target| target.name.as_str()).collect();
    let default = package.default_run.as_deref().filter(|name| binaries.contains(name));
    match (default, binaries.as_slice()) {
        (Some(name), _) | (None, &[name]) => Ok((AppKind::Plain, Choice::Bin(name.to_owned()))),
        (None, []) if package.targets.iter().any(|target| target.is_kind(TargetKind::ProcMacro)) => {
            Err(Error::mistake(
                format!("the package `{}` is a procedural macro", package.name),
                "give the package of the app that uses it",
            ))
        }
        (None, []) => Err(without_export(package)),
        (None, several) => Err(Error::mistake(
            format!("the package `{}` has several binaries", package.name),
            format!(
                "say which: `--bin NAME` with one of {}, or set `default-run` in its Cargo.toml",
                list(several.iter().copied())
            ),
        )),
    }
}

/// The root source file of a target.
fn source(package: &Package, choice: &Choice) -> PathBuf {
    let target = match choice {
        Choice::Lib => library(package),
        Choice::Bin(name) => package.targets.iter().find(|target| target.is_bin() && target.name == *name),
        Choice::Example(name) => {
            package.targets.iter().find(|target| target.is_example() && target.name == *name)
        }
    };
    target.map_or_else(PathBuf::new, |target| target.src_path.clone().into_std_path_buf())
}

fn without_export(package: &Package) -> Error {
    let examples = package.targets.iter().filter(|target| target.is_example());
    let examples: Vec<&str> = examples.map(|target| target.name.as_str()).collect();
    let name = &package.name;
    if !examples.is_empty() {
        return Error::mistake(
            format!("the package `{name}` has no binary, only examples"),
            format!("serve one of them with `--example NAME`; it has {}", list(examples.into_iter())),
        );
    }
    Error::mistake(
        format!(
            "the package `{name}` has neither a binary nor an `export!` (it does not depend on {PLUGIN_PACKAGE})"
        ),
        adoption_hint(),
    )
}

/// Checks that a package can be served, and collects what the builder and the watcher need to know of it.
fn describe(metadata: &Metadata, package: &Package, settings: &Settings) -> Result<App, Error> {
    let (kind, choice) = choose(metadata, package, settings)?;
    let crate_name = match &choice {
        Choice::Lib => library(package).map_or(package.name.as_str(), |library| library.name.as_str()),
        Choice::Bin(name) | Choice::Example(name) => name,
    };
    let closure = Closure::of(metadata, &package.id);
    Ok(App {
        variables: run_variables(package),
        package: package.name.to_string(),
        package_id: package.id.repr.clone(),
        kind,
        crate_name: crate_name.replace('-', "_"),
        source: source(package, &choice),
        choice,
        manifest_path: package.manifest_path.clone().into_std_path_buf(),
        workspace_root: metadata.workspace_root.clone().into_std_path_buf(),
        target_dir: target_dir(metadata, settings),
        user_build_dir: metadata
            .build_directory
            .as_ref()
            .unwrap_or(&metadata.target_directory)
            .clone()
            .into_std_path_buf(),
        config_files: settings.cargo.config_files(),
        units_expected: closure.units_expected(),
        externs: closure.externs(),
        dependencies: closure.dependencies(),
        uses: closure.uses(),
        used_by_scripts: closure.used_by_scripts(),
        path_packages: closure.path_packages(&package.id),
    })
}

/// What cargo sets for a program that it runs
/// (<https://doc.rust-lang.org/cargo/reference/environment-variables.html>).
fn run_variables(package: &Package) -> Vec<(String, String)> {
    let path = |path: Option<&cargo_metadata::camino::Utf8PathBuf>| {
        path.map(ToString::to_string).unwrap_or_default()
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let version = &package.version;
    let mut variables = vec![
        ("CARGO_MANIFEST_DIR", parent(package.manifest_path.as_std_path()).display().to_string()),
        ("CARGO_MANIFEST_PATH", package.manifest_path.to_string()),
        ("CARGO_PKG_NAME", package.name.to_string()),
        ("CARGO_PKG_VERSION", version.to_string()),
        ("CARGO_PKG_VERSION_MAJOR", version.major.to_string()),
        ("CARGO_PKG_VERSION_MINOR", version.minor.to_string()),
        ("CARGO_PKG_VERSION_PATCH", version.patch.to_string()),
        ("CARGO_PKG_VERSION_PRE", version.pre.to_string()),
        ("CARGO_PKG_AUTHORS", package.authors.join(":")),
        ("CARGO_PKG_DESCRIPTION", text(&package.description)),
        ("CARGO_PKG_HOMEPAGE", text(&package.homepage)),
        ("CARGO_PKG_REPOSITORY", text(&package.repository)),
        ("CARGO_PKG_LICENSE", text(&package.license)),
        ("CARGO_PKG_LICENSE_FILE", path(package.license_file.as_ref())),
        ("CARGO_PKG_README", path(package.readme.as_ref())),
        (
            "CARGO_PKG_RUST_VERSION",
            package.rust_version.as_ref().map(ToString::to_string).unwrap_or_default(),
        ),
    ];
    let own = cargos_own_variables();
    if own.iter().all(|(name, _)| name != "CARGO")
        && let Some(cargo) = cargo_path()
    {
        variables.push(("CARGO", cargo));
    }
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(own).collect()
}

/// What cargo, and rustup before it, set for whatever they run: found out by having cargo run something.
fn cargos_own_variables() -> Vec<(String, String)> {
    asked_variables().unwrap_or_else(|error| {
        tracing::debug!("cargo's own variables are unknown: {error}");
        Vec::new()
    })
}

fn asked_variables() -> std::io::Result<Vec<(String, String)>> {
    const SUBCOMMAND: &str = "devhost-variables";
    let directory = tempfile::tempdir()?;
    let script = directory.path().join(format!("cargo-{SUBCOMMAND}"));
    std::fs::write(&script, "#!/bin/sh\nexec env -0\n")?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700))?;
    let own = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(directory.path().to_owned()).chain(std::env::split_paths(&own));
    let path = std::env::join_paths(path).map_err(std::io::Error::other)?;
    let mut command = Command::new("cargo");
    environment::clean(|name| {
        command.env_remove(name);
    });
    let output = command.arg(SUBCOMMAND).env("PATH", path).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(std::io::Error::other(output.status.to_string()));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let variables = text.split('\0').filter_map(|variable| variable.split_once('='));
    let is_theirs = |name: &str| {
        ["CARGO", "CARGO_HOME", "RUST_RECURSION_COUNT"].contains(&name) || name.starts_with("RUSTUP_")
    };
    let variables = variables.filter(|(name, _)| is_theirs(name));
    Ok(variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// The `cargo` that PATH has.
fn cargo_path() -> Option<String> {
    let path = std::env::var_os("PATH")?;
    let found =
        std::env::split_paths(&path).map(|directory| directory.join("cargo")).find(|path| path.is_file())?;
    found.to_str().map(str::to_owned)
}

fn is_library(kinds: &[TargetKind]) -> bool {
    kinds.iter().any(|kind| {
        matches!(
            kind,
            TargetKind::Lib
                | TargetKind::RLib
                | TargetKind::DyLib
                | TargetKind::CDyLib
                | TargetKind::StaticLib
        )
    })
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn parent(manifest: &Path) -> &Path {
    manifest.parent().unwrap_or(Path::new("/"))
}

/// The packages that a build of the app compiles.
struct Closure<'m> {
    packages: HashMap<&'m PackageId, &'m Package>,
    nodes: Vec<&'m Node>,
}

impl<'m> Closure<'m> {
    fn of(metadata: &'m Metadata, app: &PackageId) -> Self {
        let packages: HashMap<_, _> =
            metadata.packages.iter().map(|package| (&package.id, package)).collect();
        let nodes: HashMap<_, _> =
            metadata.resolve.iter().flat_map(|resolve| &resolve.nodes).map(|node| (&node.id, node)).collect();
        let mut seen = HashSet::new();
        let mut queue = VecDeque::from([app]);
        let mut reached = Vec::new();
        while let Some(id) = queue.pop_front() {
            let Some(node) = nodes.get(id) else { continue };
            if !seen.insert(&node.id) {
                continue;
            }
            reached.push(*node);
            // Development dependencies are for tests, which devhost does not build.
            queue.extend(
                node.deps
                    .iter()
                    .filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind != DependencyKind::Development))
                    .map(|dep| &dep.pkg),
            );
        }
        Self { packages, nodes: reached }
    }

    fn package(&self, id: &PackageId) -> Option<&'m Package> {
        self.packages.get(id).copied()
    }

    /// A library or macro for each package, and a build script to be compiled where it has one.
    fn units_expected(&self) -> u32 {
        let units = self.nodes.iter().filter_map(|node| self.package(&node.id)).map(|package| {
            1 + package.targets.iter().filter(|target| target.is_kind(TargetKind::CustomBuild)).count()
        });
        u32::try_from(units.sum::<usize>()).unwrap_or(u32::MAX)
    }

    fn path_packages(&self, app: &PackageId) -> Vec<PathPackage> {
        let mut packages: Vec<_> = self
            .nodes
            .iter()
            .filter_map(|node| self.package(&node.id))
            .filter(|package| package.source.is_none())
            .collect();
        packages.sort_by_key(|package| (package.id != *app, package.name.to_string()));
        packages
            .into_iter()
            .map(|package| {
                let library = library_or_macro(package);
                PathPackage {
                    name: package.name.to_string(),
                    id: package.id.repr.clone(),
                    root: parent(package.manifest_path.as_std_path()).to_owned(),
                    lib_source: library.map(|target| target.src_path.clone().into_std_path_buf()),
                    crate_name: library.map(|target| target.name.replace('-', "_")),
                }
            })
            .collect()
    }

    fn dependencies(&self) -> BTreeMap<String, String> {
        let packages = self.nodes.iter().filter_map(|node| self.package(&node.id));
        packages
            .filter(|package| package.source.is_some())
            .map(|package| {
                let library = library_or_macro(package);
                let name = library.map_or(package.name.as_str(), |target| target.name.as_str());
                (package.name.to_string(), name.replace('-', "_"))
            })
            .collect()
    }

    fn uses(&self) -> BTreeMap<String, Vec<String>> {
        let used = |node: &Node| node.dependencies.iter().map(|id| id.repr.clone()).collect();
        self.nodes.iter().map(|node| (node.id.repr.clone(), used(node))).collect()
    }

    /// Directly or not: cargo compiles a crate once for a script and for the app, where its features are the same.
    fn used_by_scripts(&self) -> BTreeSet<String> {
        let uses = |node: &'m Node, wanted: fn(DependencyKind) -> bool| {
            let is_wanted = move |dep: &&NodeDep| dep.dep_kinds.iter().any(|kind| wanted(kind.kind));
            node.deps.iter().filter(is_wanted).map(|dep| &dep.pkg)
        };
        let mut queue: Vec<&PackageId> =
            self.nodes.iter().flat_map(|node| uses(node, |kind| kind == DependencyKind::Build)).collect();
        let mut used = BTreeSet::new();
        while let Some(id) = queue.pop() {
            if used.insert(id.repr.clone())
                && let Some(node) = self.nodes.iter().find(|node| node.id == *id)
            {
                queue.extend(uses(node, |kind| kind != DependencyKind::Development));
            }
        }
        used
    }

    fn externs(&self) -> BTreeMap<PathBuf, BTreeMap<String, ExternKind>> {
        let mut externs = BTreeMap::new();
        for node in &self.nodes {
            let Some(package) = self.package(&node.id).filter(|package| package.source.is_none()) else {
                continue;
            };
            let mut known: BTreeMap<String, ExternKind> = node
                .deps
                .iter()
                // An example has the development dependencies too.
                .filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind != DependencyKind::Build))
                .filter_map(|dep| Some((dep.name.clone(), extern_kind(self.package(&dep.pkg)?))))
                .collect();
            if let Some(library) = library(package) {
                // The package's own binaries use it.
                known.insert(library.name.replace('-', "_"), ExternKind::Path);
            }
            externs.insert(parent(package.manifest_path.as_std_path()).to_owned(), known);
        }
        externs
    }
}

fn extern_kind(package: &Package) -> ExternKind {
    if package.targets.iter().any(|target| target.is_kind(TargetKind::ProcMacro)) {
        ExternKind::Macro
    } else if package.source.is_none() && package.name.as_str() != PLUGIN_PACKAGE {
        ExternKind::Path
    } else {
        ExternKind::Library
    }
}
