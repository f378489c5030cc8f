//! What a build produces, and what its workers are forked from.

use std::path::PathBuf;

use devhost_model::AppKind;

/// The code that a build produced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// The cdylib.
    pub artifact: PathBuf,
    /// How the app in it is started.
    pub kind: AppKind,
    /// Its GNU build id, in hex.
    pub build_id: String,
    /// What its workers are forked from.
    pub origin: Origin,
}

/// What workers are forked from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A zygote.
    Zygote {
        /// The libraries that it has loaded, in this order.
        preload: Vec<PathBuf>,
    },
    /// A keeper, which starts the app's own program for each worker.
    Keeper,
}

impl Origin {
    /// Returns the libraries that must be loaded first.
    pub fn preload(&self) -> &[PathBuf] {
        match self {
            Self::Zygote { preload } => preload,
            Self::Keeper => &[],
        }
    }
}
