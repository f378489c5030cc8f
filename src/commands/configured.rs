//! Finds the devhost.toml that concerns a command, and which apps are meant. What it says then completes the command line.

use std::path::{Path, PathBuf};

use devhost_build::app::{Members, Place};
use devhost_config::{App, Config, Settings, closest, did_you_mean};
use devhost_model::Error;

use super::line::{self, Line};
use super::package;
use crate::cli::{Command, Selection};

/// An app that a command is about.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    /// Its name, if it is one of the file's.
    pub name: Option<String>,
    /// What names its package on the command line; `None` for the directory that devhost is in.
    pub argument: Option<PathBuf>,
    /// Where its files are.
    directories: Vec<PathBuf>,
    cwd: PathBuf,
    config: Config,
}

impl Chosen {
    /// What a command line means that no file concerns.
    fn unconfigured(argument: Option<PathBuf>, cwd: &Path) -> Self {
        Self { name: None, argument, directories: Vec::new(), cwd: cwd.to_owned(), config: Config::default() }
    }

    fn read(
        name: Option<String>,
        argument: Option<PathBuf>,
        directories: &[&Path],
        cwd: &Path,
    ) -> Result<Self, Error> {
        let directories: Vec<PathBuf> = directories.iter().map(|directory| (*directory).to_owned()).collect();
        let config = read(&directories, cwd)?;
        Ok(Self { name, argument, directories, cwd: cwd.to_owned(), config })
    }

    /// Returns the paths of the files, including those that do not exist.
    pub(super) fn paths(&self) -> &[PathBuf] {
        self.config.paths()
    }

    /// Returns what the files say, as far as the command line does not.
    pub(super) fn settings(&self, line: &Line) -> Settings {
        self.config.settings(self.name.as_deref(), line)
    }

    /// Reads the files again.
    pub(super) fn read_again(&self) -> Result<Self, Error> {
        read(&self.directories, &self.cwd).map(|config| Self { config, ..self.clone() })
    }

    /// Returns what people call it.
    pub(super) fn title(&self) -> String {
        let argument = || self.argument.as_ref().map(|argument| argument.display().to_string());
        self.name.clone().or_else(argument).unwrap_or_else(|| ".".into())
    }

    /// Completes the command line.
    pub(super) fn command(&self, line: &Line) -> Result<Command, Error> {
        let mut command = line.with(&self.settings(line))?;
        line::set_app(&mut command, self.argument.clone());
        Ok(command)
    }
}

fn read(directories: &[PathBuf], cwd: &Path) -> Result<Config, Error> {
    let config = Config::read(directories.iter().map(PathBuf::as_path), cwd)?;
    line::check(&config)?;
    Ok(config)
}

/// Finds the apps that a command line names: those of the file by their name or package, and packages that it does not
/// name. Without names, it is the app of the package around; at the workspace's root, all that the file names.
///
/// # Errors
/// A mistake in a file, with its place, or a name that nothing has.
pub(super) fn choose(line: &Line, names: &[PathBuf], cwd: &Path) -> Result<Vec<Chosen>, Error> {
    if names.is_empty() {
        return of(line, None, cwd);
    }
    let mut all: Vec<Chosen> = Vec::new();
    for name in names {
        for chosen in of(line, Some(name), cwd)? {
            let is_known = |known: &Chosen| known.name == chosen.name && known.argument == chosen.argument;
            if !all.iter().any(is_known) {
                all.push(chosen);
            }
        }
    }
    Ok(all)
}

/// As [`choose`], for a command that is about one package: if that has several apps in the file, about none of them.
pub(super) fn choose_one(line: &Line, name: Option<&PathBuf>, cwd: &Path) -> Result<Chosen, Error> {
    let mut all = of(line, name, cwd)?;
    match (all.pop(), all.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(Chosen { directories, .. }), false) => {
            let root = directories.last().map(PathBuf::as_path);
            Chosen::read(None, name.cloned(), root.as_slice(), cwd)
        }
        (None, _) => Ok(Chosen::unconfigured(name.cloned(), cwd)),
    }
}

fn of(line: &Line, name: Option<&PathBuf>, cwd: &Path) -> Result<Vec<Chosen>, Error> {
    let argument = name.map(|name| name.to_string_lossy());
    let alone = || Ok(vec![Chosen::unconfigured(name.cloned(), cwd)]);
    let own = package::settings(selection(&line.alone()?), cwd);
    // What cannot be found, the command reports.
    let Some(place) = Place::of(argument.as_deref(), cwd) else { return alone() };
    let Some(members) = place.members(&own) else { return alone() };
    let (here, root) = (place.directory(), members.root());
    let config = read(&[here.to_owned(), root.to_owned()], cwd)?;
    let completed = line.with(&config.settings(None, line))?;
    let package = members.package(&package::settings(selection(&completed), cwd));
    let meant = meant(
        &config,
        &members,
        argument.as_deref(),
        here == root,
        package.as_ref().map(|(name, _)| name.as_str()),
    )?;
    if meant.is_empty() {
        if let Some(name) = members.unknown_name() {
            return Err(unknown_name(name, &config, &members));
        }
        let directory = package.as_ref().map_or(here, |(_, directory)| directory);
        return Ok(vec![Chosen::read(None, name.cloned(), &[directory, root], cwd)?]);
    }
    let of_app = |(app, directory): (&App, PathBuf)| {
        Chosen::read(Some(app.name.clone()), Some(directory.clone()), &[&directory, root], cwd)
    };
    meant.into_iter().map(of_app).collect()
}

/// Returns those of a file's apps that are meant, each with its package's directory.
fn meant<'c>(
    config: &'c Config,
    members: &Members<'_>,
    name: Option<&str>,
    at_root: bool,
    package: Option<&str>,
) -> Result<Vec<(&'c App, PathBuf)>, Error> {
    let apps = config.apps();
    let mut all = Vec::new();
    for app in apps {
        let directory = members.directory_of(app.package()).ok_or_else(|| unknown_package(app, members))?;
        all.push((app, directory));
    }
    let by_name = all.iter().position(|(app, _)| Some(app.name.as_str()) == name);
    Ok(match (by_name, name) {
        (Some(index), _) => vec![all.swap_remove(index)],
        (None, None) if at_root => all,
        (None, _) => all.into_iter().filter(|(app, _)| Some(app.package()) == package).collect(),
    })
}

/// Refuses a name that neither an app nor a package has.
fn unknown_name(name: &str, config: &Config, members: &Members<'_>) -> Error {
    let packages = members.names();
    let apps: Vec<&str> = config.apps().iter().map(|app| app.name.as_str()).collect();
    let root = members.root().display();
    let (kinds, list) = if apps.is_empty() {
        ("package", format!("its packages: {}", members.list()))
    } else {
        ("app or package", format!("its apps: {}; its packages: {}", apps.join(", "), members.list()))
    };
    let known = apps.into_iter().chain(packages.iter().map(String::as_str));
    let hint = suggest(name, known, &list);
    Error::mistake(format!("the workspace {root} has no {kinds} `{name}`"), hint)
}

/// Puts the known name that was probably meant before the list of all.
fn suggest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>, list: &str) -> String {
    closest(name, known).map_or_else(|| list.to_owned(), |meant| format!("{} {list}", did_you_mean(meant)))
}

fn unknown_package(app: &App, members: &Members<'_>) -> Error {
    let names = members.names();
    let list = format!("the packages here: {}", names.join(", "));
    let hint = suggest(app.package(), names.iter().map(String::as_str), &list);
    app.place.error(&format!("`apps.{}`: the workspace has no package `{}`", app.name, app.package()), hint)
}

fn selection(command: &Command) -> &Selection {
    static NONE: std::sync::LazyLock<Selection> = std::sync::LazyLock::new(Selection::default);
    match command {
        Command::Run(args) => &args.selection,
        Command::Bench(args) => &args.selection,
        Command::Doctor(args) => &args.selection,
        Command::Clean(_) => &NONE,
    }
}
