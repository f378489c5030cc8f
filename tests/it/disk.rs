//! Cargo's output for devhost is removed once no build uses it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use devhost_build::{Artifact, Builder, Settings};

use crate::build::{Workspace, built, load, manifest};

/// How long to wait for something that must happen.
const DEADLINE: Duration = Duration::from_secs(60);

/// How many versions the dependency has: more than the sets of dependencies kept.
const VERSIONS: std::ops::RangeInclusive<i32> = 2..=7;

/// How many sets are kept.
const KEPT_COUNT: usize = 4;

/// A workspace with many versions of `native`.
fn workspace() -> Workspace {
    let workspace = Workspace::new();
    // Only the app depends on it, so nothing else makes cargo compile the app.
    workspace.write("util/Cargo.toml", &manifest("util", "[lib]\ncrate-type = ['lib', 'cdylib']"));
    workspace.write("util/src/lib.rs", "pub fn number() -> i32 { 100 }\n");
    for version in VERSIONS {
        let package = format!("vendor/native-{version}");
        workspace.write(&format!("{package}/.cargo-checksum.json"), "{\"files\":{}}");
        let text = manifest("native", "").replace("0.1.0", &format!("{version}.0.0"));
        workspace.write(&format!("{package}/Cargo.toml"), &text);
        let source = format!("pub fn call<T>() -> i32 {{ {version} }}\n");
        workspace.write(&format!("{package}/src/lib.rs"), &source);
        workspace.write(&format!("{package}/build.rs"), "fn main() {}\n");
    }
    workspace
}

/// Checks out a branch whose manifests ask for that version.
fn check_out(workspace: &Workspace, version: i32) -> Vec<PathBuf> {
    let app = format!(
        "devhost-plugin = {{ path = '../plugin' }}\nutil = {{ path = '../util' }}\nnative = '{version}'"
    );
    vec![workspace.write("app/Cargo.toml", &manifest("app", &app))]
}

fn build(builder: &mut Builder, workspace: &Workspace, version: i32) -> Artifact {
    let changed = check_out(workspace, version);
    let artifact = built(builder, &changed);
    let answer: i32 = load(&artifact).call("answer");
    assert_eq!(answer, 100 + version, "stale code");
    artifact
}

/// Returns the names in a directory with this prefix.
fn names(directory: &Path, beginning: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(beginning)).collect()
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < DEADLINE, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn what_cargo_has_built_for_none_of_the_last_sets_of_dependencies_is_removed() {
    let workspace = workspace();
    let mut builder = workspace.builder_with(Settings::default());
    let debug = workspace.path("target/devhost/debug");
    let libraries =
        || names(&debug.join("deps"), "libnative-").into_iter().filter(|name| name.ends_with(".rlib"));
    for version in VERSIONS {
        let artifact = build(&mut builder, &workspace, version);
        assert!(libraries().count() <= KEPT_COUNT + 1);
        builder.collect(&[artifact.path]);
        wait_for("old units are never removed", || libraries().count() <= KEPT_COUNT);
    }
    wait_for("not all is removed", || {
        names(&debug.join(".fingerprint"), "native-").len() == 3 * KEPT_COUNT
            && names(&debug.join("build"), "native-").len() == 2 * KEPT_COUNT
            && names(&debug.join("deps"), "native-").len() == KEPT_COUNT
            && names(&debug.join("incremental"), "app-").len() == KEPT_COUNT
    });
    // What was kept is reused, what was removed is rebuilt, and nothing is stale.
    let kept: BTreeSet<String> = libraries().collect();
    let newest = *VERSIONS.end();
    build(&mut builder, &workspace, newest - 2);
    assert_eq!(libraries().collect::<BTreeSet<_>>(), kept);
    build(&mut builder, &workspace, *VERSIONS.start());
    assert_eq!(libraries().count(), KEPT_COUNT + 1);
    // Files that belong to no unit stay.
    assert!(debug.join("libapp.so").exists() && debug.join("deps/libapp.so").exists());
}

#[test]
fn in_a_target_directory_that_the_user_has_named_nothing_of_cargos_is_removed() {
    let workspace = workspace();
    let settings = Settings { target_dir: Some(workspace.path("shared")), ..Settings::default() };
    let mut builder = workspace.builder_with(settings);
    for version in VERSIONS {
        let artifact = build(&mut builder, &workspace, version);
        builder.collect(&[artifact.path]);
    }
    let libraries = names(&workspace.path("shared/debug/.fingerprint"), "native-").len();
    assert_eq!(libraries, 3 * VERSIONS.count());
}
