//! The workspace's structure: which crate may depend on which, where `unsafe` is forbidden, and what `lib.rs`
//! and `mod.rs` are for.

use std::collections::HashMap;
use std::path::PathBuf;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use ignore::WalkBuilder;
use syn::Item;

use crate::support::repository;

/// The crates by floor, from the bottom up. Normal dependencies point to lower floors.
const FLOORS: [&[&str]; 5] = [
    &["devhost-model", "devhost-sys", "devhost-link", "devhost-plugin"],
    &["devhost-watch", "devhost-build", "devhost-config", "devhost-terminal"],
    &["devhost-supervisor", "devhost-process", "devhost-front", "devhost-sides"],
    &["devhost-bench"],
    &["devhost"],
];

/// Apps to try devhost with; no crate depends on them.
const APPS: [&str; 1] = ["example_app"];

/// The dependencies allowed within a floor.
const WITHIN_A_FLOOR: [(&str, &str); 1] = [("devhost-sys", "devhost-model")];

/// The link knows bytes and streams, but no HTTP library.
const HTTP_LIBRARIES: [&str; 8] = ["actix-", "axum", "h2", "http", "httparse", "hyper", "reqwest", "tower"];

/// The roots of the crates that forbid `unsafe`.
const SAFE_CRATES: [&str; 9] = [
    "crates/build/src/lib.rs",
    "crates/config/src/lib.rs",
    "crates/front/src/lib.rs",
    "crates/model/src/lib.rs",
    "crates/sides/src/lib.rs",
    "crates/supervisor/src/lib.rs",
    "crates/terminal/src/lib.rs",
    "crates/watch/src/lib.rs",
    "src/main.rs",
];

fn metadata() -> Metadata {
    let mut command = MetadataCommand::new();
    command.current_dir(repository()).no_deps().other_options(vec!["--offline".to_owned()]);
    command.exec().unwrap()
}

fn floor_of(name: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&name))
}

/// Returns a crate's normal dependencies.
fn dependencies(package: &Package) -> Vec<&str> {
    let normal = package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal);
    normal.map(|dependency| dependency.name.as_str()).collect()
}

#[test]
fn crates_depend_only_on_crates_of_lower_floors() {
    let metadata = metadata();
    let members: HashMap<&str, &Package> =
        metadata.workspace_packages().into_iter().map(|package| (package.name.as_str(), package)).collect();
    let mut faults = Vec::new();
    for (name, package) in &members {
        if APPS.contains(name) {
            continue;
        }
        let Some(floor) = floor_of(name) else {
            faults.push(format!("{name} is on no floor: place it in tests/it/structure.rs"));
            continue;
        };
        for needed in dependencies(package).into_iter().filter(|needed| members.contains_key(needed)) {
            let is_lower = floor_of(needed).is_some_and(|needed| needed < floor);
            if !is_lower && !WITHIN_A_FLOOR.contains(&(name, needed)) {
                faults.push(format!("{name} depends on {needed}, which is not on a lower floor"));
            }
        }
    }
    for name in FLOORS.into_iter().flatten().filter(|name| !members.contains_key(*name)) {
        faults.push(format!("{name} is on a floor, but is no member of the workspace"));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn supervisor_and_link_name_no_crate_that_would_let_them_do_more() {
    let metadata = metadata();
    let find = |name: &str| {
        let packages = metadata.workspace_packages();
        packages.into_iter().find(|package| package.name.as_str() == name).expect("a member of the workspace")
    };
    for needed in dependencies(find("devhost-supervisor")) {
        assert!(
            ["devhost-model", "serde"].contains(&needed),
            "devhost-supervisor depends on {needed}, although it only decides"
        );
    }
    for needed in dependencies(find("devhost-link")) {
        let is_http = HTTP_LIBRARIES.iter().any(|library| needed.starts_with(library));
        assert!(!is_http, "devhost-link depends on {needed}, although it carries bytes alone");
    }
}

#[test]
fn unsafe_is_forbidden_where_nothing_needs_it() {
    for file in SAFE_CRATES {
        let text = std::fs::read_to_string(repository().join(file)).unwrap();
        assert!(
            text.lines().any(|line| line.trim() == "#![forbid(unsafe_code)]"),
            "{file} does not forbid unsafe code"
        );
    }
}

/// They declare modules and re-export names, and define nothing.
#[test]
fn lib_and_mod_files_only_introduce_their_folder() {
    let mut faults = Vec::new();
    let mut count = 0;
    for folder in ["crates", "plugin_abi/src", "src"] {
        for entry in WalkBuilder::new(repository().join(folder)).build() {
            let path = entry.unwrap().into_path();
            let is_introduction = path.ends_with("lib.rs") || path.ends_with("mod.rs");
            // Tests may share their helpers this way.
            let is_of_tests = path.parent().is_some_and(|folder| folder.ends_with("tests"));
            if !is_introduction || is_of_tests {
                continue;
            }
            count += 1;
            let file = syn::parse_file(&std::fs::read_to_string(&path).unwrap()).unwrap();
            if !file.items.iter().all(introduces) {
                faults.push(format!("{} defines something: give that a file of its own", path.display()));
            }
        }
    }
    assert!(count > 20, "only {count} files were found");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Returns true if an item declares a module or imports names, also within an inline module.
fn introduces(item: &Item) -> bool {
    match item {
        Item::Use(_) => true,
        Item::Mod(module) => module.content.as_ref().is_none_or(|(_, items)| items.iter().all(introduces)),
        _ => false,
    }
}

/// A document must not name a file that was moved.
#[test]
fn the_files_that_the_architecture_names_exist() {
    let text = std::fs::read_to_string(repository().join("ARCHITECTURE.md")).unwrap();
    let mut folder = PathBuf::new();
    let mut count = 0;
    for name in text.split('`').skip(1).step_by(2) {
        let is_file = [".rs", ".c", ".js", ".md"].iter().any(|ending| name.ends_with(ending));
        if !is_file || name.contains(char::is_whitespace) {
            continue;
        }
        count += 1;
        let whole = repository().join(name);
        if name.contains('/') && whole.exists() {
            folder = whole.parent().unwrap().to_owned();
            continue;
        }
        // A short name is in the folder of its predecessor, or above it in the same crate.
        let exists = folder
            .ancestors()
            .take_while(|folder| folder.starts_with(repository()))
            .any(|folder| folder.join(name).exists());
        assert!(exists, "ARCHITECTURE.md names {name}, which does not exist beside {}", folder.display());
    }
    assert!(count > 30, "only {count} files were found");
}
