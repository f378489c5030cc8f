//! The packages that a build of the app compiles.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::path::PathBuf;

use cargo_metadata::{DependencyKind, Metadata, Node, NodeDep, Package, PackageId, TargetKind};
use devhost_plugin::PACKAGE_NAME as PLUGIN_PACKAGE;

use super::packages::{library, library_or_macro, parent};
use super::target::PathPackage;
use crate::extern_kind::ExternKind;

pub(super) struct Closure<'m> {
    packages: HashMap<&'m PackageId, &'m Package>,
    nodes: Vec<&'m Node>,
}

impl<'m> Closure<'m> {
    pub(super) fn of(metadata: &'m Metadata, app: &PackageId) -> Self {
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

    /// Counts a library or macro per package, plus its build script.
    pub(super) fn units_expected(&self) -> u32 {
        let units = self.nodes.iter().filter_map(|node| self.package(&node.id)).map(|package| {
            1 + package.targets.iter().filter(|target| target.is_kind(TargetKind::CustomBuild)).count()
        });
        u32::try_from(units.sum::<usize>()).unwrap_or(u32::MAX)
    }

    pub(super) fn path_packages(&self, app: &PackageId) -> Vec<PathPackage> {
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

    pub(super) fn dependencies(&self) -> BTreeMap<String, String> {
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

    pub(super) fn uses(&self) -> BTreeMap<String, Vec<String>> {
        let used = |node: &Node| node.dependencies.iter().map(|id| id.repr.clone()).collect();
        self.nodes.iter().map(|node| (node.id.repr.clone(), used(node))).collect()
    }

    /// Directly or not: cargo compiles a crate once for a script and the app if its features are the same.
    pub(super) fn used_by_scripts(&self) -> BTreeSet<String> {
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

    pub(super) fn externs(&self) -> BTreeMap<PathBuf, BTreeMap<String, ExternKind>> {
        let mut externs = BTreeMap::new();
        for node in &self.nodes {
            let Some(package) = self.package(&node.id).filter(|package| package.source.is_none()) else {
                continue;
            };
            let mut known: BTreeMap<String, ExternKind> = node
                .deps
                .iter()
                // An example has the development dependencies, too.
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
