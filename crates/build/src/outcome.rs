//! What a build says while it runs, and what it comes to. Plain data.

use std::path::PathBuf;

use devhost_model::{AppKind, Diagnostics, Failure};

use crate::inputs::ScriptInputs;
use crate::settings::Strategy;

/// How far a build is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Crates done, fresh ones too.
    pub done: u32,
    /// Crates expected; an estimate that is never below `done`.
    pub total: u32,
    /// What is being done, such as `serde v1.0.228`.
    pub current: String,
}

/// What a build came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A library that can be loaded.
    Built(Artifact),
    /// The code does not build, or what was built cannot be loaded.
    Failed(Failure),
}

/// A library that can be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The library, under a name of its own.
    pub path: PathBuf,
    /// How the app in it is started.
    pub kind: AppKind,
    /// Whether it is a library to be forked with, or a program.
    pub strategy: Strategy,
    /// Its GNU build id in hexadecimal: the same id is the same code.
    pub build_id: String,
    /// What must be loaded before it, in this order; empty where everything is in the library itself.
    pub preload: Vec<PathBuf>,
    /// Every file that the app's own code was built from, as absolute paths.
    pub sources: Vec<PathBuf>,
    /// What its build scripts depend on.
    pub scripts: ScriptInputs,
    /// Warnings in the app's own code.
    pub warnings: Diagnostics,
    /// What a user should know about the build.
    pub notes: Vec<String>,
}
