//! What a builder remembers from one run of devhost to the next.

use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::inputs::ScriptInputs;

/// What a builder remembers from one run of devhost to the next.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Memory {
    /// When cargo was last started.
    pub(super) last_start: Option<SystemTime>,
    /// When that run ended; `None` if nobody saw its end.
    #[serde(default)]
    pub(super) last_end: Option<SystemTime>,
    /// The sources of the last good build.
    pub(super) sources: Vec<PathBuf>,
    /// The directories of the path packages that cargo was last started with: every change in them is known.
    #[serde(default)]
    pub(super) packages: Vec<PathBuf>,
    /// The inputs of its build scripts.
    #[serde(default)]
    pub(super) scripts: ScriptInputs,
    /// Files that its build scripts write outside of their output directories.
    #[serde(default)]
    pub(super) written: Vec<PathBuf>,
    /// How many messages cargo had for it.
    pub(super) units: Option<u32>,
}
