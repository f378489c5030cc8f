//! The measured app, and the copies of its workspace: one per strategy, so that no two share the compiler's
//! state between builds. The user's own files are only read.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use cargo_metadata::{DependencyKind, Package};

use crate::workspace_copy::Workspace;
use devhost_build::app::{self, App, Location};
use devhost_build::{Choice, Settings};
use devhost_model::AppKind;
use devhost_model::Error;

/// The bench's directory within devhost's target directory.
const DIRECTORY_NAME: &str = "bench";

/// The bench's default package in devhost's own repository.
const EXAMPLE_PACKAGE: &str = "example_app";

const DEVHOST_PACKAGE: &str = "devhost";

/// The measured app.
#[derive(Debug, Clone)]
pub struct Subject {
    /// What devhost would serve.
    pub(super) app: App,
    /// The arguments of cargo and `devhost run` that select features and profile.
    pub(super) build_args: Vec<String>,
    /// The profile, if not `dev`.
    profile: Option<String>,
    /// The arguments for cargo's binary or example, or why there is none.
    pub(super) program: Result<[String; 2], NoProgram>,
    /// The direct dependencies of the app's package.
    pub(super) direct_dependencies: HashSet<String>,
    /// The directory for all of the bench's files.
    pub(super) place: PathBuf,
    /// Where devhost was started, relative to the workspace.
    pub(super) cwd: PathBuf,
}

/// Why cargo has nothing to start, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoProgram {
    #[error("the package has no binary: give it a `src/main.rs` that serves the same app")]
    NoBinary,
    #[error("the package has several binaries: name one as `default-run` in its Cargo.toml")]
    SeveralBinaries,
}

impl Subject {
    /// Finds the app as `devhost run` does.
    ///
    /// # Errors
    /// A mistake if there is none, or several to choose from.
    pub fn find(argument: Option<&str>, cwd: &Path, settings: &Settings) -> Result<Self, Error> {
        let mut location = app::locate(argument, cwd, settings)?;
        if let (None, Location::Package(located)) = (argument, &location)
            && located.package().name.as_str() == DEVHOST_PACKAGE
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

    /// The user's existing build, by cargo or devhost, to take dependencies from.
    pub(super) fn built(&self) -> Option<PathBuf> {
        let profile = self.profile_directory();
        let places = [self.app.user_build_dir.join(profile), self.app.target_dir.join(profile)];
        places.into_iter().find(|place| place.join(".fingerprint").is_dir())
    }

    pub(super) fn profile_name(&self) -> &str {
        self.profile.as_deref().unwrap_or("dev")
    }

    /// cargo's directory for the profile.
    pub(super) fn profile_directory(&self) -> &str {
        match self.profile_name() {
            "dev" | "test" => "debug",
            "bench" => "release",
            profile => profile,
        }
    }

    /// The directory for all of the bench's files.
    pub fn place(&self) -> &Path {
        &self.place
    }

    pub(super) fn is_plugin(&self) -> bool {
        self.app.kind == AppKind::Plugin
    }

    /// The arguments of `devhost run` that select the target to serve.
    pub(super) fn choice_args(&self) -> Vec<String> {
        match &self.app.choice {
            Choice::Lib => vec!["--lib".into()],
            Choice::Bin(name) => vec!["--bin".into(), name.clone()],
            Choice::Example(name) => vec!["--example".into(), name.clone()],
        }
    }

    /// The path of a workspace file within a copy.
    pub(super) fn relative(&self, file: &Path) -> Option<PathBuf> {
        file.strip_prefix(&self.app.workspace_root).ok().map(Path::to_owned)
    }

    /// Makes a copy of the workspace, or updates the one left by an earlier run.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub(super) fn copy(&self, name: &str) -> Result<PathBuf> {
        let to = self.place.join(name);
        let workspace = Workspace {
            root: &self.app.workspace_root,
            package_dir: self.app.manifest_path.parent().unwrap_or(&self.app.workspace_root),
            excluded: [&self.place, &self.app.target_dir],
        };
        workspace.copy_to(&to)?;
        Ok(to)
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

fn program(app: &App, package: &Package) -> Result<[String; 2], NoProgram> {
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
            let reason = if binaries.is_empty() { NoProgram::NoBinary } else { NoProgram::SeveralBinaries };
            chosen.map(|name| ["--bin".into(), name.to_owned()]).ok_or(reason)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

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
