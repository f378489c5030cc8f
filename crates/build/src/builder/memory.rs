//! A builder's state across runs of devhost.

use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::inputs::ScriptInputs;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Memory {
    /// When cargo was last started.
    pub(super) last_start: Option<SystemTime>,
    /// When that run ended; `None` if that was not observed.
    #[serde(default)]
    pub(super) last_end: Option<SystemTime>,
    pub(super) sources: Vec<PathBuf>,
    /// Directories of the path packages in cargo's last run, where every change is known.
    #[serde(default)]
    pub(super) packages: Vec<PathBuf>,
    #[serde(default)]
    pub(super) scripts: ScriptInputs,
    /// Files build scripts write outside of their output directories.
    #[serde(default)]
    pub(super) written: Vec<PathBuf>,
    /// How many messages cargo had for the last successful build.
    pub(super) units: Option<u32>,
}
