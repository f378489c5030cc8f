//! Asks cargo about a workspace.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use cargo_metadata::{Metadata, MetadataCommand, PackageId};
use devhost_model::Error;

use super::packages::parent;
use super::partial;
use crate::settings::Settings;
use crate::{cargo_text, environment};

/// cargo's metadata of a workspace.
pub(super) struct Asked {
    pub(super) metadata: Metadata,
    /// Why the dependency graph is missing.
    refusal: Option<Error>,
}

impl Asked {
    /// Everything a build needs to know of one package.
    pub(super) fn about(self, package: &PackageId, settings: &Settings) -> Result<Metadata, Error> {
        match self.refusal {
            None => Ok(self.metadata),
            Some(refusal) => partial::complete(&self.metadata, package, settings).ok_or(refusal),
        }
    }
}

/// Asks cargo about a manifest's workspace, for the platform it builds for.
pub(super) fn ask(manifest: &Path, settings: &Settings) -> Result<Asked, Error> {
    match metadata(manifest, settings) {
        Ok(metadata) => Ok(Asked { metadata, refusal: None }),
        Err(refusal) => match partial::members(manifest, settings) {
            Some(metadata) => Ok(Asked { metadata, refusal: Some(refusal) }),
            None => Err(refusal),
        },
    }
}

/// Runs `cargo metadata` for the platform cargo builds for.
pub(super) fn metadata(manifest: &Path, settings: &Settings) -> Result<Metadata, Error> {
    let directory = parent(manifest);
    let host = host_triple(directory)?;
    let mut command = Command::new("cargo");
    command
        .args(["metadata", "--format-version", "1"])
        .arg(format!("--filter-platform={host}"))
        .arg("--manifest-path")
        .arg(manifest)
        .args(settings.feature_args())
        // These change what the resolver may do.
        .args(settings.cargo.resolving_args())
        .current_dir(directory);
    environment::clean(|name| {
        command.env_remove(name);
    });
    command.env("CARGO_TERM_COLOR", "never");
    let output = command.output().map_err(|error| cargo_missing(&error))?;
    let refused = || {
        let text = cargo_text::essence(&String::from_utf8_lossy(&output.stderr));
        Error::mistake(
            format!("cargo cannot read {}:\n{text}", manifest.display()),
            "fix what cargo complains about; `cargo metadata` in that directory shows the same error",
        )
    };
    if !output.status.success() {
        return Err(refused());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let json = text.lines().find(|line| line.starts_with('{')).ok_or_else(refused)?;
    MetadataCommand::parse(json)
        .map_err(|error| Error::fault(format!("cannot read what `cargo metadata` says: {error}")))
}

/// The host platform of the toolchain used in a directory.
///
/// # Errors
/// A mistake if cargo is missing or does not report it.
pub fn host_triple(directory: &Path) -> Result<String, Error> {
    let ask = |program: &OsStr| {
        let mut command = Command::new(program);
        command.arg("-vV").current_dir(directory);
        environment::clean(|name| {
            command.env_remove(name);
        });
        command.output()
    };
    // cargo would ask rustc as well, and the system about itself besides, which takes longer than all the rest.
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    if let Some(host) = ask(&rustc).ok().and_then(|output| host_in(&output.stdout)) {
        return Ok(host);
    }
    let output = ask(OsStr::new("cargo")).map_err(|error| cargo_missing(&error))?;
    host_in(&output.stdout).ok_or_else(|| {
        Error::mistake(
            format!(
                "`cargo -vV` does not say its host platform:\n{}",
                String::from_utf8_lossy(&output.stderr).trim_end()
            ),
            "check the Rust installation: `cargo -vV` must work in that directory",
        )
    })
}

fn host_in(text: &[u8]) -> Option<String> {
    String::from_utf8_lossy(text).lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned)
}

fn cargo_missing(error: &std::io::Error) -> Error {
    Error::mistake(
        format!("cannot run `cargo`: {error}"),
        "install Rust (https://rustup.rs), or put the directory that holds cargo into PATH",
    )
}
