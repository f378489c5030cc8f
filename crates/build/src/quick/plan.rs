//! How the next link may be made quickly.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::line::{Line, OBJECTS, TEMPORARY};
use super::merged::Merged;
use crate::known_file::{Identity, Known};

/// Variables that change what the C compiler or lld does.
const VARIABLES: &[&str] = &[
    "COLLECT_NO_DEMANGLE",
    "COMPILER_PATH",
    "GCC_EXEC_PREFIX",
    "GCC_COMPARE_DEBUG",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "LD_RUN_PATH",
    "LIBRARY_PATH",
    "LLD_IN_TEST",
    "LLD_REPRODUCE",
    "LLD_VERSION",
    "PATH",
];

/// A library, and the stub that stands for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stubbed {
    pub library: Known,
    pub stub: Known,
}

/// A plan fits a link with the same key, while the files it names are what they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// See [`key`].
    pub key: String,
    /// Why links of this key are not made quickly.
    pub refused: Option<String>,
    /// rustc's own lld.
    pub lld: Known,
    /// The C compiler that tells lld's arguments.
    pub compiler: Known,
    /// lld's arguments, with the placeholders of a [`Line`].
    pub args: Vec<String>,
    pub stubs: Vec<Stubbed>,
    pub merged: Vec<Merged>,
    /// What each codegen unit's object was in the last link.
    pub units: HashMap<String, Identity>,
    /// The codegen units that changed in each of the last links.
    pub changed: Vec<Vec<String>>,
}

impl Plan {
    pub(super) fn path(directory: &Path) -> PathBuf {
        directory.join("plan.json")
    }

    /// Whether it was made for this key, and with the present programs.
    pub(super) fn is_of(&self, key: &str) -> bool {
        self.key == key && self.lld.is_unchanged() && self.compiler.is_unchanged()
    }

    /// Whether a link with this key can be made by it.
    pub(super) fn fits(&self, key: &str) -> bool {
        let mut stubs = self.stubs.iter().flat_map(|stubbed| [&stubbed.library, &stubbed.stub]);
        self.refused.is_none() && self.is_of(key) && stubs.all(Known::is_unchanged)
    }

    /// lld's arguments for a link of these objects.
    pub(super) fn arguments(
        &self,
        objects: &[(&str, Identity)],
        temporary: &str,
        place: impl Fn(&str) -> String,
    ) -> Vec<String> {
        let stubs: HashMap<&str, &str> = self
            .stubs
            .iter()
            .filter_map(|stubbed| Some((stubbed.library.path.to_str()?, stubbed.stub.path.to_str()?)))
            .collect();
        let mut args = Vec::new();
        for arg in &self.args {
            if arg == OBJECTS {
                args.extend(self.merge(objects));
            } else if let Some(stub) = stubs.get(arg.as_str()) {
                args.push((*stub).to_owned());
            } else {
                args.push(place(&arg.replace(TEMPORARY, temporary)));
            }
        }
        args
    }

    /// The objects, those that were merged replaced by what they were merged into.
    fn merge(&self, objects: &[(&str, Identity)]) -> Vec<String> {
        let merged: HashMap<Identity, &Merged> =
            self.merged.iter().filter_map(|merged| Some((*merged.members.first()?, merged))).collect();
        let mut args = Vec::new();
        let mut rest = objects;
        while let Some(((path, identity), others)) = rest.split_first() {
            let found =
                merged.get(identity).filter(|merged| merged.starts(rest) && merged.file.is_unchanged());
            match found {
                Some(merged) => {
                    args.push(merged.file.path.to_string_lossy().into_owned());
                    rest = &rest[merged.members.len()..];
                }
                None => {
                    args.push((*path).to_owned());
                    rest = others;
                }
            }
        }
        args
    }
}

/// Stands for everything about a link but the content of files: the line, the linker and the environment.
pub(super) fn key(line: &Line, linker: &OsStr, directory: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut put = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    line.args.iter().for_each(|arg| put(arg.as_bytes()));
    put(linker.as_encoded_bytes());
    put(directory.as_os_str().as_encoded_bytes());
    for name in VARIABLES {
        put(name.as_bytes());
        put(std::env::var_os(name).unwrap_or_default().as_encoded_bytes());
    }
    hasher.finalize().to_hex()[..16].to_owned()
}
