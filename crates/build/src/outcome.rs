//! The progress and the outcome of a build. Plain data.

use std::path::PathBuf;

use devhost_model::{AppKind, Diagnostics, Failure};

use crate::inputs::ScriptInputs;
use crate::settings::Strategy;

/// The progress of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The number of finished crates, including fresh ones.
    pub done: u32,
    /// The estimated number of crates, never below `done`.
    pub total: u32,
    /// The current step, such as `serde v1.0.228`.
    pub current: String,
}

/// The outcome of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Something that can be started.
    Built(Artifact),
    /// The code does not build, or the result cannot be loaded.
    Failed(Failure),
}

/// A library that can be loaded, or a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The file, under a name of its own.
    pub path: PathBuf,
    /// How its app is started.
    pub kind: AppKind,
    /// Whether it is a library to fork with, or a program.
    pub strategy: Strategy,
    /// Its GNU build id in hexadecimal: same id, same code.
    pub build_id: String,
    /// The libraries to load before it, in order; empty if it contains everything.
    pub preload: Vec<PathBuf>,
    /// Absolute paths of the sources of the app's own code.
    pub sources: Vec<PathBuf>,
    /// The inputs of its build scripts.
    pub scripts: ScriptInputs,
    /// Warnings in the app's own code.
    pub warnings: Diagnostics,
    /// Notes for the user about the build.
    pub notes: Vec<String>,
}

impl Artifact {
    /// A program, which needs nothing preloaded and of which nothing is to be told.
    pub(crate) fn program(
        kind: AppKind,
        path: PathBuf,
        build_id: String,
        sources: Vec<PathBuf>,
        scripts: ScriptInputs,
    ) -> Self {
        Self {
            path,
            kind,
            strategy: Strategy::Restart,
            build_id,
            preload: Vec::new(),
            sources,
            scripts,
            warnings: Diagnostics::default(),
            notes: Vec::new(),
        }
    }
}
