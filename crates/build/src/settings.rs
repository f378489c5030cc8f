//! The build options a user can choose, and what cargo's configuration files add to them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The build options a user can choose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Features of the app to enable.
    pub features: Vec<String>,
    /// Enables all features of the app.
    pub all_features: bool,
    /// Disables the app's default features.
    pub no_default_features: bool,
    /// The profile, if not `dev`.
    pub profile: Option<String>,
    /// The target to serve; devhost chooses if there is none.
    pub choice: Option<Choice>,
    /// How the app is linked to its dependencies.
    pub deps: Deps,
    /// How much debug information workspace crates get.
    pub debug_info: DebugInfo,
    /// devhost's own target directory, if not `devhost` in cargo's.
    pub target_dir: Option<PathBuf>,
    /// How a new generation comes to be.
    pub strategy: Strategy,
    /// Whether a plain app that cannot be a library becomes its own program without being asked.
    pub may_fall_back: bool,
    /// Options passed on to cargo.
    pub cargo: CargoOptions,
}

/// cargo's own options, passed to each of its commands that takes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CargoOptions {
    /// Does not use the network.
    pub offline: bool,
    /// Fails if Cargo.lock would change.
    pub locked: bool,
    /// Both.
    pub frozen: bool,
    /// Ignores the `rust-version` of packages.
    pub ignore_rust_version: bool,
    /// Configuration values, `KEY=VALUE`, or absolute paths of configuration files. The later of two for a
    /// key wins.
    pub config: Vec<String>,
    /// Unstable options.
    pub unstable: Vec<String>,
    /// Limit on concurrent rustcs: a number, a negative one to subtract from the processor count, or
    /// `default`.
    pub jobs: Option<String>,
}

impl CargoOptions {
    /// The arguments for commands that only resolve dependencies.
    pub(crate) fn resolving_args(&self) -> Vec<String> {
        let flags =
            [(self.offline, "--offline"), (self.locked, "--locked"), (self.frozen, "--frozen")].into_iter();
        let mut args: Vec<String> =
            flags.filter(|(is_set, _)| *is_set).map(|(_, flag)| flag.into()).collect();
        args.extend(self.config.iter().flat_map(|config| ["--config".into(), config.clone()]));
        args.extend(self.unstable.iter().map(|option| format!("-Z{option}")));
        args
    }

    /// The arguments for commands that build.
    pub fn building_args(&self) -> Vec<String> {
        let mut args = self.resolving_args();
        args.extend(self.ignore_rust_version.then(|| "--ignore-rust-version".into()));
        args.extend(self.jobs.iter().map(|jobs| format!("--jobs={jobs}")));
        args
    }

    /// What affects compilation, for a hash.
    pub(crate) fn decisive(&self) -> Self {
        Self { config: self.config.clone(), unstable: self.unstable.clone(), ..Self::default() }
    }

    pub(crate) fn config_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for path in self.config.iter().rev().map(Path::new).filter(|path| path.is_absolute()) {
            add_with_included(path.to_owned(), &mut files);
        }
        files
    }
}

/// One target of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Its library, which must have an `export!`.
    Lib,
    /// The binary of this name.
    Bin(String),
    /// The example of this name.
    Example(String),
}

/// How the app is linked to its dependencies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deps {
    /// Against one shared library of them, and statically to what cannot be in it.
    #[default]
    Auto,
    /// Like [`Deps::Auto`], but the build fails if everything would have to be static.
    Shared,
    /// Statically.
    Static,
}

/// How much debug information workspace crates get.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DebugInfo {
    /// Backtraces have files and lines. Variables are left out, which makes a build much faster.
    #[default]
    LineTables,
    /// What the profile says.
    Full,
}

/// How a new generation comes to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// A fork of the zygote, which loads the app as a library.
    #[default]
    Fork,
    /// The app's own program, started afresh.
    Restart,
}

impl Settings {
    /// The arguments that select features, for any cargo command.
    pub(crate) fn feature_args(&self) -> Vec<String> {
        let mut args = Vec::new();
        if self.all_features {
            args.push("--all-features".into());
        }
        if self.no_default_features {
            args.push("--no-default-features".into());
        }
        if !self.features.is_empty() {
            args.push(format!("--features={}", self.features.join(",")));
        }
        args
    }

    /// The limit on concurrent rustcs: as given to cargo, or one per processor.
    pub(crate) fn jobs(&self, configuration: &[PathBuf]) -> usize {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let variable = || count_jobs(&std::env::var("CARGO_BUILD_JOBS").ok()?, processors);
        let told = self.cargo.jobs.as_deref().and_then(|jobs| count_jobs(jobs, processors));
        // Precedence: command line, variable, files.
        let values = || {
            self.cargo.config.iter().rev().find_map(|config| match Path::new(config) {
                file if file.is_absolute() => {
                    let mut files = Vec::new();
                    add_with_included(file.to_owned(), &mut files);
                    configured_jobs(&files, processors)
                }
                _ => jobs_in(config, processors),
            })
        };
        told.or_else(values)
            .or_else(variable)
            .or_else(|| configured_jobs(configuration, processors))
            .unwrap_or(processors)
            .max(1)
    }

    /// For a hash of what affects compilation and is unknown to cargo.
    pub(crate) fn decisive(&self) -> Self {
        Self { cargo: self.cargo.decisive(), ..self.clone() }
    }

    /// cargo's name of the profile.
    pub fn profile(&self) -> &str {
        self.profile.as_deref().unwrap_or("dev")
    }

    /// cargo's directory for the profile in a target directory.
    pub(crate) fn profile_directory(&self) -> &str {
        match self.profile() {
            "dev" | "test" => "debug",
            "bench" => "release",
            other => other,
        }
    }
}

/// The configuration files cargo reads in a directory, existing or not, in descending precedence. Included
/// files follow the including one.
pub(crate) fn config_files(directory: &Path) -> Vec<PathBuf> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    // Of two in one directory cargo prefers the one without an extension.
    let directories = directory.ancestors().map(|directory| directory.join(".cargo")).chain(home);
    let mut files = Vec::new();
    for directory in directories {
        for name in ["config", "config.toml"] {
            add_with_included(directory.join(name), &mut files);
        }
    }
    files
}

fn add_with_included(file: PathBuf, files: &mut Vec<PathBuf>) {
    // An include cycle is for cargo to report.
    if files.contains(&file) {
        return;
    }
    let document = std::fs::read_to_string(&file).ok();
    let document = document.and_then(|text| text.parse::<toml_edit::DocumentMut>().ok());
    let included: Vec<PathBuf> = document.iter().flat_map(|document| included(document, &file)).collect();
    files.push(file);
    // Later ones win.
    for file in included.into_iter().rev() {
        add_with_included(file, files);
    }
}

/// The files a configuration file includes: names, or tables with a `path`, relative to itself.
fn included(document: &toml_edit::DocumentMut, file: &Path) -> Vec<PathBuf> {
    let Some(include) = document.get("include") else { return Vec::new() };
    let tables = include.as_array_of_tables().into_iter().flat_map(|tables| tables.iter());
    let paths = tables.filter_map(|table| table.get("path")?.as_str());
    let values = include.as_array().into_iter().flat_map(|array| array.iter()).chain(include.as_value());
    let path_of = |value: &toml_edit::Value| {
        let path = value.as_inline_table().and_then(|table| table.get("path")).unwrap_or(value);
        path.as_str().map(str::to_owned)
    };
    let names = paths.map(str::to_owned).chain(values.filter_map(path_of));
    names.map(|name| crate::paths::normalize(&file.parent().unwrap_or(Path::new("/")).join(name))).collect()
}

/// `build.jobs` of the first file that has it.
fn configured_jobs(files: &[PathBuf], processor_count: usize) -> Option<usize> {
    files.iter().find_map(|file| jobs_in(&std::fs::read_to_string(file).ok()?, processor_count))
}

fn jobs_in(text: &str, processor_count: usize) -> Option<usize> {
    let document: toml_edit::DocumentMut = text.parse().ok()?;
    let jobs = document.get("build")?.get("jobs")?;
    let text = jobs.as_integer().map(|count| count.to_string());
    count_jobs(&text.or_else(|| jobs.as_str().map(str::to_owned))?, processor_count)
}

fn count_jobs(text: &str, processor_count: usize) -> Option<usize> {
    match text.parse::<i32>() {
        Ok(0) => None,
        Ok(count) if count < 0 => {
            Some(processor_count.saturating_sub(usize::try_from(count.unsigned_abs()).ok()?).max(1))
        }
        Ok(count) => usize::try_from(count).ok(),
        Err(_) => (text == "default").then_some(processor_count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn included_configuration_files_count() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join(".cargo");
        std::fs::create_dir_all(&place).unwrap();
        let write = |name: &str, text: &str| std::fs::write(place.join(name), text).unwrap();
        write("one.toml", "include = '../two.toml'\n[build]\njobs = 4\n");
        write("three.toml", "include = ['config.toml']\n");
        for include in [
            "include = ['one.toml', { path = 'three.toml', optional = true }, 'gone.toml']\n",
            "[[include]]\npath = 'one.toml'\n[[include]]\npath = 'three.toml'\n[[include]]\npath = 'gone.toml'\n",
        ] {
            write("config.toml", include);
            let files = config_files(directory.path());
            let names =
                ["config", "config.toml", "gone.toml", "three.toml", "one.toml"].map(|name| place.join(name));
            let two = directory.path().join("two.toml");
            assert!(files.iter().take(6).eq(names.iter().chain([&two])), "{files:?}");
            assert_eq!(configured_jobs(&files, 8), Some(4));
        }
    }

    #[test]
    fn options_reach_the_commands_that_take_them() {
        let options = CargoOptions {
            offline: true,
            locked: true,
            ignore_rust_version: true,
            config: vec!["build.jobs=2".into()],
            unstable: vec!["one".into()],
            jobs: Some("3".into()),
            ..CargoOptions::default()
        };
        let resolving = ["--offline", "--locked", "--config", "build.jobs=2", "-Zone"];
        assert_eq!(options.resolving_args(), resolving);
        let building: Vec<_> = resolving.into_iter().chain(["--ignore-rust-version", "--jobs=3"]).collect();
        assert_eq!(options.building_args(), building);
    }

    #[test]
    fn the_command_line_tells_how_many_jobs() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("more.toml");
        std::fs::write(&file, "[build]\njobs = 7\n").unwrap();
        let jobs = |config: &[String], jobs: Option<&str>| {
            let cargo =
                CargoOptions { config: config.to_vec(), jobs: jobs.map(str::to_owned), ..Default::default() };
            Settings { cargo, ..Settings::default() }.jobs(&[])
        };
        let value = "build.jobs=5".to_owned();
        let file = file.to_str().unwrap().to_owned();
        assert_eq!(jobs(std::slice::from_ref(&value), None), 5);
        assert_eq!(jobs(&[value.clone(), file.clone()], None), 7, "the later one wins");
        assert_eq!(jobs(&[file, value], Some("3")), 3);
        assert_eq!(jobs(&[], Some("-1000")), 1);
    }

    #[test]
    fn the_nearest_configuration_file_tells_how_many_jobs() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("a/b");
        std::fs::create_dir_all(inner.join(".cargo")).unwrap();
        std::fs::create_dir_all(directory.path().join(".cargo")).unwrap();
        let write =
            |place: &Path, text: &str| std::fs::write(place.join(".cargo/config.toml"), text).unwrap();
        let jobs = || configured_jobs(&config_files(&inner), 8);
        write(directory.path(), "[build]\njobs = 3\n");
        assert_eq!(jobs(), Some(3));
        for (text, count) in [
            ("[build]\njobs = 5\n", 5),
            ("build.jobs = -2\n", 6),
            ("build.jobs = -20\n", 1),
            ("[build]\njobs = 'default'\n", 8),
            ("[build]\nincremental = true\n", 3),
            ("no TOML", 3),
        ] {
            write(&inner, text);
            assert_eq!(jobs(), Some(count), "{text}");
        }
    }
}
