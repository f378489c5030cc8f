//! Chooses a package of a workspace and the target that is the app.

use std::path::{Path, PathBuf};

use cargo_metadata::{Metadata, Package, TargetKind};
use devhost_model::{AppKind, Error};
use devhost_plugin::PACKAGE_NAME as PLUGIN_PACKAGE;

use super::names::{list, list_names};
use super::packages::{depends_on_plugin, has_target, is_plugin, library, package_of};
use crate::settings::{Choice, Settings, Strategy};

/// The package of a manifest, or of a workspace that leaves no choice.
pub(super) fn package_at<'m>(
    metadata: &'m Metadata,
    manifest: &Path,
    settings: &Settings,
) -> Result<&'m Package, Error> {
    match package_of(metadata, manifest) {
        Some(package) => Ok(package),
        None => package_of_workspace(metadata, settings),
    }
}

/// Like [`package_at`], for the current directory: respects the workspace's default members, as cargo does.
pub(super) fn package_around<'m>(
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

fn default_members(metadata: &Metadata) -> Vec<&Package> {
    if metadata.workspace_default_members.is_available() {
        metadata.workspace_default_packages()
    } else {
        metadata.workspace_packages()
    }
}

/// The only default member of a workspace, or the only servable one.
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
                // Like cargo: a single `default-run` decides.
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

fn adoption_hint() -> String {
    format!(
        "devhost serves a package with a binary that listens, or with a library that says \
         `devhost_plugin::export!(app);` and has `{PLUGIN_PACKAGE}` in its [dependencies]."
    )
}

pub(super) fn choose(
    metadata: &Metadata,
    package: &Package,
    settings: &Settings,
) -> Result<(AppKind, Choice), Error> {
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

pub(super) fn root_source(package: &Package, choice: &Choice) -> PathBuf {
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
