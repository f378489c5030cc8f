//! What cargo says of a package and its targets.

use std::collections::HashSet;
use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata, Node, Package, PackageId, TargetKind};
use devhost_plugin::PACKAGE_NAME as PLUGIN_PACKAGE;

use crate::export;

pub(super) fn package_of<'m>(metadata: &'m Metadata, manifest: &Path) -> Option<&'m Package> {
    metadata.packages.iter().find(|package| package.manifest_path == manifest)
}

pub(super) fn depends_on_plugin(metadata: &Metadata, package: &Package) -> bool {
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

/// The library of a package, possibly a procedural macro.
pub(super) fn library_or_macro(package: &Package) -> Option<&cargo_metadata::Target> {
    package.targets.iter().find(|target| is_library(&target.kind) || target.is_kind(TargetKind::ProcMacro))
}

/// Whether a package is a plugin app. If it also has a binary, its library must say `export!`.
pub(super) fn is_plugin(metadata: &Metadata, package: &Package) -> bool {
    let Some(library) = library(package).filter(|_| depends_on_plugin(metadata, package)) else {
        return false;
    };
    !package.targets.iter().any(cargo_metadata::Target::is_bin)
        || export::is_said_by(library.src_path.as_std_path())
}

pub(super) fn has_target(package: &Package, kind: &TargetKind, name: &str) -> bool {
    package.targets.iter().any(|target| target.is_kind(kind.clone()) && target.name == name)
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

pub(super) fn parent(manifest: &Path) -> &Path {
    manifest.parent().unwrap_or(Path::new("/"))
}
