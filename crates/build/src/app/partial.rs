//! Asks cargo about one package if it cannot describe the whole workspace. `cargo metadata` needs every crate
//! any member may use; a build needs only those of its own package, and offline there may be no others.
//! Members then come from `cargo metadata --no-deps`, and dependencies from `cargo tree`, which needs no more
//! than a build does. Of crates from elsewhere, only name, version, origin and kind of library are known this
//! way.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use cargo_metadata::semver::{Prerelease, Version};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};
use serde_json::{Value, json};

use super::packages::library_or_macro;
use crate::environment;
use crate::settings::{Choice, Settings};

/// Limit on path packages outside of the workspace that are asked about.
const OUTSIDE_PACKAGES_COUNT_MAX: usize = 100;

/// The members of a workspace, without their dependencies.
pub(super) fn members(manifest: &Path, settings: &Settings) -> Option<Metadata> {
    let mut command = cargo("metadata", manifest, settings);
    let output = command.args(["--no-deps", "--format-version", "1"]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    MetadataCommand::parse(text.lines().find(|line| line.starts_with('{'))?).ok()
}

/// Adds a package's dependencies. Returns `None` if cargo cannot list those either.
pub(super) fn complete(metadata: &Metadata, package: &PackageId, settings: &Settings) -> Option<Metadata> {
    let root = metadata.packages.iter().find(|one| one.id == *package)?;
    let mut graph = Graph::new(metadata, settings);
    let normal = graph.add(&tree(root, "normal", settings)?)?;
    let building = graph.add(&tree(root, "normal,build", settings)?)?;
    let mut edges: BTreeMap<Edge, DependencyKind> =
        building.into_iter().map(|edge| (edge, DependencyKind::Build)).collect();
    if matches!(settings.choice, Some(Choice::Example(_))) {
        let testing = graph.add(&tree(root, "normal,dev", settings)?)?;
        edges.extend(testing.into_iter().map(|edge| (edge, DependencyKind::Development)));
    }
    // Last, so that normal wins over the other kinds.
    edges.extend(normal.into_iter().map(|edge| (edge, DependencyKind::Normal)));
    graph.finish(package, &edges)
}

fn cargo(subcommand: &str, manifest: &Path, settings: &Settings) -> Command {
    let mut command = Command::new("cargo");
    command
        .arg(subcommand)
        .arg("--manifest-path")
        .arg(manifest)
        .args(settings.cargo.resolving_args())
        .current_dir(manifest.parent().unwrap_or(Path::new("/")));
    environment::clean(|name| {
        command.env_remove(name);
    });
    command.env("CARGO_TERM_COLOR", "never");
    command
}

fn tree(package: &Package, kinds: &str, settings: &Settings) -> Option<String> {
    let mut command = cargo("tree", package.manifest_path.as_std_path(), settings);
    command
        .args(["--package", &package.id.repr, "--edges", kinds])
        .args(["--prefix", "depth", "--format", "\t{p}\t{lib}\t"])
        .args(settings.feature_args().into_iter().map(OsString::from));
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[derive(Debug, PartialEq, Eq)]
struct Line<'t> {
    depth: usize,
    name: &'t str,
    version: &'t str,
    is_macro: bool,
    /// A directory, a repository, or a registry other than crates.io.
    origin: Option<&'t str>,
    library: &'t str,
}

impl<'t> Line<'t> {
    /// Parses `1⇥serde_derive v1.0.0 (proc-macro)⇥serde_derive⇥ (*)`.
    fn read(line: &'t str) -> Option<Self> {
        let mut parts = line.split('\t');
        let depth = parts.next()?.parse().ok()?;
        let package = parts.next()?;
        let library = parts.next()?;
        let (name, rest) = package.split_once(" v")?;
        let (version, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let is_macro = rest.starts_with("(proc-macro)");
        let rest = rest.trim_start_matches("(proc-macro)").trim();
        let origin = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
        Some(Self { depth, name, version, is_macro, origin, library })
    }
}

/// User and used, by cargo's ids.
type Edge = (String, String);

struct Graph<'m> {
    metadata: &'m Metadata,
    settings: &'m Settings,
    lock: toml_edit::DocumentMut,
    /// Packages other than members: path packages, and stand-ins for the rest.
    others: BTreeMap<String, Value>,
    /// Ids of path packages outside of the workspace, by directory.
    outside: BTreeMap<String, String>,
}

impl<'m> Graph<'m> {
    fn new(metadata: &'m Metadata, settings: &'m Settings) -> Self {
        let lock = std::fs::read_to_string(metadata.workspace_root.join("Cargo.lock")).unwrap_or_default();
        let lock = lock.parse().unwrap_or_default();
        Self { metadata, settings, lock, others: BTreeMap::new(), outside: BTreeMap::new() }
    }

    /// Adds a tree's packages and returns its edges.
    fn add(&mut self, tree: &str) -> Option<Vec<Edge>> {
        let mut edges = Vec::new();
        let mut above: Vec<String> = Vec::new();
        for line in tree.lines().filter_map(Line::read) {
            let id = self.id(&line)?;
            above.truncate(line.depth);
            if let Some(user) = above.last() {
                edges.push((user.clone(), id.clone()));
            }
            above.push(id);
        }
        (!above.is_empty()).then_some(edges)
    }

    /// cargo's id of a package, which is added if new.
    fn id(&mut self, line: &Line<'_>) -> Option<String> {
        if let Some(directory) = line.origin.filter(|origin| origin.starts_with('/')) {
            let is_there =
                |package: &&Package| package.manifest_path.parent().is_some_and(|at| at == directory);
            return match self.metadata.packages.iter().find(is_there) {
                Some(package) => Some(package.id.repr.clone()),
                None => self.id_outside(directory, line.name),
            };
        }
        let source = self.source(line)?;
        let place = source.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
        let (origin, _) = source.split_once('#').unwrap_or((&source, ""));
        let is_named_so =
            place.rsplit('/').next().is_some_and(|last| last.trim_end_matches(".git") == line.name);
        let id = if is_named_so {
            format!("{origin}#{}", line.version)
        } else {
            format!("{origin}#{}@{}", line.name, line.version)
        };
        self.others.entry(id.clone()).or_insert_with(|| stand_in(&id, &source, line));
        Some(id)
    }

    /// The id of a path package outside of the workspace.
    fn id_outside(&mut self, directory: &str, name: &str) -> Option<String> {
        if let Some(id) = self.outside.get(directory) {
            return Some(id.clone());
        }
        if self.outside.len() >= OUTSIDE_PACKAGES_COUNT_MAX {
            return None;
        }
        let metadata = members(&Path::new(directory).join("Cargo.toml"), self.settings)?;
        let package = metadata.packages.into_iter().find(|package| package.name.as_str() == name)?;
        let id = package.id.repr.clone();
        self.others.insert(id.clone(), serde_json::to_value(package).ok()?);
        self.outside.insert(directory.to_owned(), id.clone());
        Some(id)
    }

    fn source(&self, line: &Line<'_>) -> Option<String> {
        let packages = self.lock.get("package")?.as_array_of_tables()?;
        let text = |table: &toml_edit::Table, key: &str| Some(table.get(key)?.as_str()?.to_owned());
        let mut sources = packages
            .iter()
            .filter(|table| {
                text(table, "name").as_deref() == Some(line.name)
                    && text(table, "version").as_deref() == Some(line.version)
            })
            .filter_map(|table| text(table, "source"));
        let origin = line.origin.and_then(|origin| origin.split(['#', '?']).next());
        match origin {
            Some(origin) => sources.find(|source| source.contains(origin)),
            None => sources.next(),
        }
    }

    fn finish(self, root: &PackageId, edges: &BTreeMap<Edge, DependencyKind>) -> Option<Metadata> {
        let mut document = serde_json::to_value(self.metadata).ok()?;
        document["packages"].as_array_mut()?.extend(self.others.into_values());
        let packages: Vec<Package> = serde_json::from_value(document["packages"].clone()).ok()?;
        let find = |id: &str| packages.iter().find(|package| package.id.repr == id);
        let mut nodes = Vec::new();
        for package in &packages {
            let used = edges.iter().filter(|((user, _), _)| *user == package.id.repr);
            let deps: Vec<Value> = used
                .filter_map(|((_, id), kind)| {
                    let name = name_within(package, find(id)?, *kind);
                    Some(json!({ "name": name, "pkg": id, "dep_kinds": [{ "kind": kind, "target": null }] }))
                })
                .collect();
            let ids: Vec<&Value> = deps.iter().map(|dep| &dep["pkg"]).collect();
            nodes.push(json!({ "id": package.id.repr, "dependencies": ids, "deps": deps, "features": [] }));
        }
        document["resolve"] = json!({ "nodes": nodes, "root": root.repr });
        serde_json::from_value(document).ok()
    }
}

/// The name a package's own crates use for a dependency.
fn name_within(user: &Package, used: &Package, kind: DependencyKind) -> String {
    let mut said = user.dependencies.iter().filter(|dependency| {
        dependency.name == used.name.as_str()
            && dependency.kind == kind
            && dependency.req.matches(&Version { pre: Prerelease::EMPTY, ..used.version.clone() })
    });
    let renamed = said.find_map(|dependency| dependency.rename.clone());
    let library = || library_or_macro(used).map(|library| library.name.clone());
    renamed.or_else(library).unwrap_or_else(|| used.name.to_string()).replace('-', "_")
}

fn stand_in(id: &str, source: &str, line: &Line<'_>) -> Value {
    let kind = if line.is_macro { "proc-macro" } else { "lib" };
    let target = json!({
        "name": line.library, "kind": [kind], "crate_types": [kind], "src_path": "", "edition": "2021", "doctest": false,
        "test": false, "doc": false,
    });
    json!({
        "name": line.name, "version": line.version, "id": id, "source": source, "dependencies": [], "features": {},
        "manifest_path": "", "targets": if line.library.is_empty() { json!([]) } else { json!([target]) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_tree_are_read() {
        let line = Line::read("0\tapp v0.1.0 (/w/an app)\t\t").unwrap();
        assert_eq!((line.depth, line.name, line.version), (0, "app", "0.1.0"));
        assert_eq!((line.origin, line.library, line.is_macro), (Some("/w/an app"), "", false));
        let line = Line::read("12\tserde_derive v1.0.229 (proc-macro)\tserde_derive\t (*)").unwrap();
        assert_eq!((line.depth, line.is_macro, line.origin), (12, true, None));
        let line = Line::read("1\tx v0.1.0-rc.1 (proc-macro) (/w/x)\tx_y\t").unwrap();
        assert_eq!((line.version, line.is_macro, line.origin), ("0.1.0-rc.1", true, Some("/w/x")));
        assert_eq!(line.library, "x_y");
        assert_eq!(Line::read("[build-dependencies]"), None);
    }
}
