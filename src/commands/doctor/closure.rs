//! The packages compiled for the app, and how to list them.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use cargo_metadata::{DependencyKind, Metadata, Package, PackageId, TargetKind};
use devhost_build::app::PLUGIN_PACKAGE;

use crate::commands::package::Found;

/// How many names to list in a line.
const NAMES_LISTED_COUNT_MAX: usize = 8;

/// The packages compiled for the app itself, by where they go.
pub(super) struct Closure<'m> {
    pub(super) shared: Vec<&'m Package>,
    pub(super) path: Vec<&'m Package>,
    pub(super) macros: Vec<&'m Package>,
}

impl<'m> Closure<'m> {
    pub(super) fn of(found: &'m Found) -> Self {
        let metadata: &'m Metadata = found.metadata();
        let packages: HashMap<&PackageId, &'m Package> =
            metadata.packages.iter().map(|package| (&package.id, package)).collect();
        let nodes: HashMap<_, _> =
            metadata.resolve.iter().flat_map(|resolve| &resolve.nodes).map(|node| (&node.id, node)).collect();
        let app = &found.package().id;
        let mut closure = Self { shared: Vec::new(), path: Vec::new(), macros: Vec::new() };
        let mut seen = HashSet::from([app]);
        let mut queue = VecDeque::from([app]);
        while let Some(id) = queue.pop_front() {
            let Some(package) = packages.get(id) else { continue };
            if id != app {
                let is_macro = package.targets.iter().any(|target| target.is_kind(TargetKind::ProcMacro));
                if is_macro {
                    closure.macros.push(package);
                    // A macro's dependencies are compiled for the compiler.
                    continue;
                } else if package.source.is_none() && package.name.as_str() != PLUGIN_PACKAGE {
                    closure.path.push(package);
                } else {
                    closure.shared.push(package);
                }
            }
            let dependencies = nodes.get(id).into_iter().flat_map(|node| &node.deps);
            for dependency in dependencies {
                let is_normal = dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
                if is_normal && seen.insert(&dependency.pkg) {
                    queue.push_back(&dependency.pkg);
                }
            }
        }
        closure
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &'m Package> {
        self.shared.iter().chain(&self.path).chain(&self.macros).copied()
    }
}

/// Returns the packages' names, with versions if several share a name.
pub(super) fn names<'m>(packages: impl Iterator<Item = &'m Package>) -> Vec<String> {
    let packages: Vec<_> = packages.collect();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for package in &packages {
        *counts.entry(package.name.as_str()).or_default() += 1;
    }
    let names: BTreeSet<String> = packages
        .iter()
        .map(|package| match counts[package.name.as_str()] {
            1 => package.name.to_string(),
            _ => format!("{} {}", package.name, package.version),
        })
        .collect();
    names.into_iter().collect()
}

pub(super) fn list(names: &[String]) -> String {
    let listed = names.iter().take(NAMES_LISTED_COUNT_MAX).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_LISTED_COUNT_MAX) {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..10).map(|n| format!("c{n}")).collect();
        assert!(list(&names).ends_with("c7 and 2 more"));
        assert_eq!(list(&names[..1]), "c0");
    }
}
