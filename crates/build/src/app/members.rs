//! The packages of the workspace that an argument refers to, without their dependencies: quickly known, even if cargo
//! cannot resolve those.

use std::path::{Path, PathBuf};

use cargo_metadata::{Metadata, Package};

use super::choose::{package_around, package_at};
use super::locate::{Argument, resolve};
use super::names::list_names;
use super::packages::parent;
use super::partial;
use crate::settings::Settings;

/// The manifest that an argument refers to.
#[derive(Debug)]
pub struct Place {
    argument: Argument,
}

impl Place {
    /// Finds what `argument` refers to in `cwd`. Returns `None` if that is nothing, or a library.
    pub fn of(argument: Option<&str>, cwd: &Path) -> Option<Self> {
        let argument = resolve(argument, cwd).ok()?;
        (!matches!(argument, Argument::Library(_))).then_some(Self { argument })
    }

    /// Returns the directory of the manifest.
    pub fn directory(&self) -> &Path {
        parent(self.manifest())
    }

    fn manifest(&self) -> &Path {
        let (Argument::Library(manifest)
        | Argument::Package(manifest, _)
        | Argument::CurrentDir(manifest)
        | Argument::Named(manifest, _)) = &self.argument;
        manifest
    }

    /// Asks cargo for the workspace's members. Returns `None` if it cannot tell them.
    pub fn members(&self, settings: &Settings) -> Option<Members<'_>> {
        let metadata = partial::members(self.manifest(), settings)?;
        Some(Members { place: self, metadata })
    }
}

/// The members of a workspace.
#[derive(Debug)]
pub struct Members<'p> {
    place: &'p Place,
    metadata: Metadata,
}

impl Members<'_> {
    /// Returns the workspace's directory.
    pub fn root(&self) -> &Path {
        self.metadata.workspace_root.as_std_path()
    }

    /// Returns the name and the directory of the package that the argument refers to, if there is no doubt.
    pub fn package(&self, settings: &Settings) -> Option<(String, PathBuf)> {
        let package = match &self.place.argument {
            Argument::Library(_) => None,
            Argument::Package(manifest, _) => package_at(&self.metadata, manifest, settings).ok(),
            Argument::CurrentDir(manifest) => package_around(&self.metadata, manifest, settings).ok(),
            Argument::Named(_, name) => self.named(name),
        }?;
        Some((package.name.to_string(), directory(package)))
    }

    /// Returns the name that the argument gives, if no member has it.
    pub fn unknown_name(&self) -> Option<&str> {
        match &self.place.argument {
            Argument::Named(_, name) if self.named(name).is_none() => Some(name),
            _ => None,
        }
    }

    /// Returns the directory of the member of this name.
    pub fn directory_of(&self, name: &str) -> Option<PathBuf> {
        self.named(name).map(directory)
    }

    /// Returns the names of all members, sorted.
    pub fn names(&self) -> Vec<String> {
        let packages = self.metadata.workspace_packages().into_iter();
        let mut names: Vec<String> = packages.map(|package| package.name.to_string()).collect();
        names.sort();
        names
    }

    /// Returns the names of all members for a message, which may leave out some.
    pub fn list(&self) -> String {
        list_names(&self.metadata.workspace_packages())
    }

    fn named(&self, name: &str) -> Option<&Package> {
        self.metadata.workspace_packages().into_iter().find(|package| package.name.as_str() == name)
    }
}

fn directory(package: &Package) -> PathBuf {
    parent(package.manifest_path.as_std_path()).to_owned()
}
