//! The code that a build produces, and what its workers are forked from.

use std::path::PathBuf;

use devhost_model::AppKind;

/// What a build gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// The cdylib.
    pub artifact: PathBuf,
    /// How the app in it is started.
    pub kind: AppKind,
    /// Its GNU build id, in hex.
    pub build_id: String,
    /// What its workers come from.
    pub origin: Origin,
}

/// What new workers come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A zygote that has loaded these libraries.
    Zygote {
        /// In this order.
        preload: Vec<PathBuf>,
    },
    /// A keeper, which starts the app's own program.
    Keeper,
}

impl Origin {
    /// The libraries that must be loaded for it.
    pub fn preload(&self) -> &[PathBuf] {
        match self {
            Self::Zygote { preload } => preload,
            Self::Keeper => &[],
        }
    }
}
