//! The inputs build scripts have named to cargo, for the watcher: cargo checks them only when it runs.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::directives::Directives;
use devhost_model::BuildInputs;

/// The inputs of a build's scripts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptInputs {
    /// The paths they name, existing or not.
    pub named: Vec<PathBuf>,
    /// Path packages whose script names nothing: to cargo, all their files are inputs.
    pub packages: Vec<PathBuf>,
}

impl ScriptInputs {
    /// Reads the output of a successful cargo run's scripts, given by output directory and package id.
    pub(crate) fn read(app: &App, scripts: &[(String, PathBuf)]) -> Self {
        let mut inputs = Self::default();
        for (package_id, out_dir) in scripts {
            let package = app.path_packages.iter().find(|package| package.id == *package_id);
            let output = std::fs::read(out_dir.with_file_name("output")).unwrap_or_default();
            let root = package.map(|package| package.root.as_path());
            match named_by(&output, root) {
                Some(named) => inputs.named.extend(named),
                None => inputs.packages.extend(root.map(Path::to_owned)),
            }
        }
        inputs.named.retain(|path| !path.starts_with(&app.target_dir) && !is_of_registry(path));
        for list in [&mut inputs.named, &mut inputs.packages] {
            list.sort();
            list.dedup();
        }
        inputs
    }

    /// Adds what scripts run without cargo have named. Returns whether anything was new.
    pub(crate) fn add(&mut self, named: &[PathBuf]) -> bool {
        let before = self.named.len();
        self.named.extend(named.iter().map(|path| crate::paths::normalize(path)));
        self.named.sort();
        self.named.dedup();
        self.named.len() > before
    }

    /// Combines these inputs with the sources, where cargo lists what scripts name, too.
    pub fn with_sources(&self, sources: &[PathBuf]) -> BuildInputs {
        let is_named = |path: &&PathBuf| self.named.contains(&crate::paths::normalize(path));
        let files = sources.iter().filter(|path| !is_named(path)).cloned().collect();
        BuildInputs { files, named: self.named.clone(), packages: self.packages.clone() }
    }
}

/// The inputs named in a script's output. Returns `None` if it names neither a file nor a variable. Relative
/// paths are the package's; those of a package nobody edits are ignored.
fn named_by(output: &[u8], root: Option<&Path>) -> Option<Vec<PathBuf>> {
    let directives = Directives::read(output);
    if !directives.names_inputs {
        return None;
    }
    let absolute = directives.inputs.iter().filter_map(|path| match root {
        Some(root) => Some(crate::paths::normalize(&root.join(path))),
        None => Some(PathBuf::from(path)).filter(|path| path.is_absolute()),
    });
    Some(absolute.collect())
}

/// Whether a path is a registry or git source in cargo's home, which nobody edits.
fn is_of_registry(path: &Path) -> bool {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    home.is_some_and(|home| ["registry", "git"].iter().any(|name| path.starts_with(home.join(name))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read_and_silence_means_everything() {
        let root = Some(Path::new("/w/app"));
        let output =
            "noise\ncargo:rerun-if-changed=data\ncargo::rerun-if-changed=../proto/\ncargo:rustc-cfg=x\n";
        assert_eq!(named_by(output.as_bytes(), root), Some(vec!["/w/app/data".into(), "/w/proto".into()]));
        assert_eq!(named_by(b"cargo::rerun-if-env-changed=X\n", root), Some(vec![]));
        assert_eq!(named_by(b"cargo::rerun-if-changed=\n", root), Some(vec!["/w/app".into()]));
        assert_eq!(named_by(b"cargo::rustc-cfg=x\n", root), None);
        let foreign = "cargo::rerun-if-changed=src/x.c\ncargo::rerun-if-changed=/usr/include/x.h\n";
        assert_eq!(named_by(foreign.as_bytes(), None), Some(vec!["/usr/include/x.h".into()]));
    }

    #[test]
    fn what_a_script_names_is_no_source() {
        let scripts = ScriptInputs { named: vec!["/w/data".into()], packages: vec![] };
        let inputs = scripts.with_sources(&["/w/data".into(), "/w/src/main.rs".into()]);
        assert_eq!((inputs.files, inputs.named), (vec!["/w/src/main.rs".into()], vec!["/w/data".into()]));
    }
}
