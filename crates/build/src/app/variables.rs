//! The environment variables cargo sets for a program it runs.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use cargo_metadata::Package;

use super::packages::parent;
use crate::environment;

/// What cargo sets for a program it runs
/// (<https://doc.rust-lang.org/cargo/reference/environment-variables.html>); `own` are [`cargos_own_variables`].
pub(super) fn run_variables(package: &Package, own: Vec<(String, String)>) -> Vec<(String, String)> {
    let path = |path: Option<&cargo_metadata::camino::Utf8PathBuf>| {
        path.map(ToString::to_string).unwrap_or_default()
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let version = &package.version;
    let mut variables = vec![
        ("CARGO_MANIFEST_DIR", parent(package.manifest_path.as_std_path()).display().to_string()),
        ("CARGO_MANIFEST_PATH", package.manifest_path.to_string()),
        ("CARGO_PKG_NAME", package.name.to_string()),
        ("CARGO_PKG_VERSION", version.to_string()),
        ("CARGO_PKG_VERSION_MAJOR", version.major.to_string()),
        ("CARGO_PKG_VERSION_MINOR", version.minor.to_string()),
        ("CARGO_PKG_VERSION_PATCH", version.patch.to_string()),
        ("CARGO_PKG_VERSION_PRE", version.pre.to_string()),
        ("CARGO_PKG_AUTHORS", package.authors.join(":")),
        ("CARGO_PKG_DESCRIPTION", text(&package.description)),
        ("CARGO_PKG_HOMEPAGE", text(&package.homepage)),
        ("CARGO_PKG_REPOSITORY", text(&package.repository)),
        ("CARGO_PKG_LICENSE", text(&package.license)),
        ("CARGO_PKG_LICENSE_FILE", path(package.license_file.as_ref())),
        ("CARGO_PKG_README", path(package.readme.as_ref())),
        (
            "CARGO_PKG_RUST_VERSION",
            package.rust_version.as_ref().map(ToString::to_string).unwrap_or_default(),
        ),
    ];
    if own.iter().all(|(name, _)| name != "CARGO")
        && let Some(cargo) = cargo_path()
    {
        variables.push(("CARGO", cargo));
    }
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(own).collect()
}

/// What cargo, and rustup before it, set for whatever they run. Found out by letting cargo run something.
pub(super) fn cargos_own_variables() -> Vec<(String, String)> {
    asked_variables().unwrap_or_else(|error| {
        tracing::debug!("cargo's own variables are unknown: {error}");
        Vec::new()
    })
}

fn asked_variables() -> std::io::Result<Vec<(String, String)>> {
    const SUBCOMMAND: &str = "devhost-variables";
    let directory = tempfile::tempdir()?;
    let script = directory.path().join(format!("cargo-{SUBCOMMAND}"));
    std::fs::write(&script, "#!/bin/sh\nexec env -0\n")?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700))?;
    let own = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(directory.path().to_owned()).chain(std::env::split_paths(&own));
    let path = std::env::join_paths(path).map_err(std::io::Error::other)?;
    let mut command = Command::new("cargo");
    environment::clean(|name| {
        command.env_remove(name);
    });
    let output = command.arg(SUBCOMMAND).env("PATH", path).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(std::io::Error::other(output.status.to_string()));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let variables = text.split('\0').filter_map(|variable| variable.split_once('='));
    let is_theirs = |name: &str| {
        ["CARGO", "CARGO_HOME", "RUST_RECURSION_COUNT"].contains(&name) || name.starts_with("RUSTUP_")
    };
    let variables = variables.filter(|(name, _)| is_theirs(name));
    Ok(variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

fn cargo_path() -> Option<String> {
    let path = std::env::var_os("PATH")?;
    let found =
        std::env::split_paths(&path).map(|directory| directory.join("cargo")).find(|path| path.is_file())?;
    found.to_str().map(str::to_owned)
}
