//! The files that decide what cargo does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::app::{App, PathPackage};
use crate::settings::config_files;

/// Files that decide what cargo does, existing or not.
pub(super) fn manifests(app: &App) -> BTreeSet<PathBuf> {
    let mut guards = BTreeSet::new();
    let roots = app.path_packages.iter().map(|package| package.root.as_path());
    for root in roots.chain([app.workspace_root.as_path()]) {
        guards.insert(root.join("Cargo.toml"));
    }
    guards.insert(app.workspace_root.join("Cargo.lock"));
    for directory in app.root().ancestors().chain(app.workspace_root.ancestors()) {
        guards.extend(["rust-toolchain", "rust-toolchain.toml"].map(|name| directory.join(name)));
    }
    guards.extend([app.root(), &app.workspace_root].into_iter().flat_map(config_files));
    guards.extend(app.config_files.iter().cloned());
    let rustup = std::env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".rustup")));
    guards.extend(rustup.map(|home| home.join("settings.toml")));
    guards
}

/// For each path package, by directory, a hash of the files from which cargo takes the variables it sets.
pub(crate) fn manifest_hashes(app: &App) -> BTreeMap<PathBuf, String> {
    let mut common = blake3::Hasher::new();
    let add = |hasher: &mut blake3::Hasher, path: &Path| {
        let bytes = std::fs::read(path).ok();
        hasher.update(&[u8::from(bytes.is_some())]);
        hasher.update(blake3::hash(&bytes.unwrap_or_default()).as_bytes());
    };
    add(&mut common, &app.workspace_root.join("Cargo.toml"));
    // Those that exist: from apps' different directories the same are found, with others in vain.
    let configuration: BTreeSet<PathBuf> =
        [app.root(), &app.workspace_root].into_iter().flat_map(config_files).collect();
    for path in configuration.iter().filter(|path| path.exists()) {
        common.update(path.as_os_str().as_encoded_bytes());
        add(&mut common, path);
    }
    let of = |package: &PathPackage| {
        let mut hasher = common.clone();
        add(&mut hasher, &package.root.join("Cargo.toml"));
        (package.root.clone(), hasher.finalize().to_hex()[..16].to_owned())
    };
    app.path_packages.iter().map(of).collect()
}
