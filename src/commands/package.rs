//! The package that a command is about, found as `devhost run` finds it, and examined.

use std::path::Path;
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata, Package, Target};

use crate::cli::{self, Selection};
use devhost_build::app::{self, App, Located, Location, PLUGIN_PACKAGE};
use devhost_build::export;
use devhost_build::{CargoOptions, Choice, Settings};
use devhost_model::Error;

/// A package and its workspace's metadata.
#[derive(Debug)]
pub(super) struct Found {
    located: Box<Located>,
    /// The app that `devhost run` would serve, or why it would not.
    pub app: Result<App, Error>,
    /// The platform cargo builds on.
    pub host: String,
}

impl Found {
    pub(super) fn metadata(&self) -> &Metadata {
        &self.located.metadata
    }

    pub(super) fn package(&self) -> &Package {
        self.located.package()
    }

    /// Returns the directory of the package's Cargo.toml.
    pub(super) fn root(&self) -> &Path {
        self.package().manifest_path.as_std_path().parent().unwrap_or(Path::new("/"))
    }

    pub(super) fn library(&self) -> Option<&Target> {
        app::library(self.package())
    }

    pub(super) fn binaries(&self) -> Vec<&Target> {
        self.package().targets.iter().filter(|target| target.is_bin()).collect()
    }

    /// Returns true if its library calls `export!`.
    pub(super) fn exports_app(&self) -> bool {
        let library = self.library();
        self.depends_on(PLUGIN_PACKAGE)
            && library.is_some_and(|library| export::is_said_by(library.src_path.as_std_path()))
    }

    pub(super) fn features(&self) -> Vec<String> {
        let nodes = self.metadata().resolve.iter().flat_map(|resolve| &resolve.nodes);
        let node = nodes.into_iter().find(|node| node.id == self.package().id);
        node.map(|node| node.features.iter().map(ToString::to_string).collect()).unwrap_or_default()
    }

    /// Returns true if the package depends on another one with an active feature that starts with `start`.
    pub(super) fn depends_on_feature(&self, name: &str, start: &str) -> bool {
        let mut dependencies = self.package().dependencies.iter();
        dependencies.any(|dependency| {
            dependency.kind == DependencyKind::Normal
                && dependency.name == name
                && dependency.features.iter().any(|feature| feature.starts_with(start))
        })
    }

    /// Returns true if the package directly depends on another one.
    pub(super) fn depends_on(&self, name: &str) -> bool {
        self.package().dependencies.iter().any(|dependency| dependency.name == name)
    }
}

/// Finds the package meant by `argument` (a directory, a manifest or a package's name; `None` for `cwd`), as
/// `devhost run` does.
pub(super) fn find(argument: Option<&Path>, cwd: &Path, selection: &Selection) -> Result<Found, Error> {
    let settings = settings(selection, cwd);
    let argument = argument.map(Path::to_string_lossy);
    match app::locate(argument.as_deref(), cwd, &settings)? {
        Location::Library(path) => Err(Error::mistake(
            format!("{} is a library that something else builds", path.display()),
            "give the package that it is built from",
        )),
        Location::Package(located) => {
            let manifest = located.package().manifest_path.as_std_path();
            let host = app::host_triple(manifest.parent().unwrap_or(Path::new("/")))?;
            let app = located.app(&settings);
            Ok(Found { located, app, host })
        }
    }
}

/// Turns a selection made in `cwd` into build settings.
pub(super) fn settings(selection: &Selection, cwd: &Path) -> Settings {
    let Selection { lib, bin, example, features, all_features, no_default_features, cargo, .. } = selection;
    let bin = || bin.clone().map(Choice::Bin);
    Settings {
        features: features.clone(),
        all_features: *all_features,
        no_default_features: *no_default_features,
        profile: if selection.release { Some("release".into()) } else { selection.profile.clone() },
        choice: lib.then_some(Choice::Lib).or_else(bin).or_else(|| example.clone().map(Choice::Example)),
        target_dir: selection.target_dir.clone(),
        cargo: cargo_options(cargo, cwd),
        ..Settings::default()
    }
}

/// Turns options given in `cwd` into cargo's arguments.
pub(super) fn cargo_options(options: &cli::CargoOptions, cwd: &Path) -> CargoOptions {
    // cargo runs in the package's directory. Like cargo, take a value for a file if it names one.
    let config = |value: &String| match cwd.join(value).to_str() {
        Some(path) if !value.is_empty() && Path::new(path).exists() => path.to_owned(),
        _ => value.clone(),
    };
    CargoOptions {
        offline: options.offline,
        locked: options.locked,
        frozen: options.frozen,
        ignore_rust_version: options.ignore_rust_version,
        config: options.config.iter().map(config).collect(),
        unstable: options.unstable.clone(),
        jobs: options.jobs.clone(),
    }
}

/// Returns what a tool prints for `-vV` after the given words.
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
