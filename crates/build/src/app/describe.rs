//! Collects what the builder and the watcher need to know of an app.

use std::path::PathBuf;

use cargo_metadata::{Metadata, Package};
use devhost_model::Error;

use super::choose::{choose, root_source};
use super::closure::Closure;
use super::packages::library;
use super::target::App;
use super::variables::run_variables;
use crate::paths::absolute;
use crate::settings::{Choice, Settings};

/// Collects what the builder and the watcher need to know of a package that can be served.
pub(super) fn describe(
    metadata: &Metadata,
    package: &Package,
    settings: &Settings,
    own_variables: Vec<(String, String)>,
) -> Result<App, Error> {
    let (kind, choice) = choose(metadata, package, settings)?;
    let crate_name = match &choice {
        Choice::Lib => library(package).map_or(package.name.as_str(), |library| library.name.as_str()),
        Choice::Bin(name) | Choice::Example(name) => name,
    };
    let closure = Closure::of(metadata, &package.id);
    Ok(App {
        variables: run_variables(package, own_variables),
        package: package.name.to_string(),
        package_id: package.id.repr.clone(),
        kind,
        crate_name: crate_name.replace('-', "_"),
        source: root_source(package, &choice),
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

pub(super) fn target_dir(metadata: &Metadata, settings: &Settings) -> PathBuf {
    match &settings.target_dir {
        Some(target_dir) => absolute(target_dir),
        None => metadata.target_directory.as_std_path().join("devhost"),
    }
}
