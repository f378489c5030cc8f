//! What a user can choose about the build. Plain data.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a user can choose about the build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Features of the app to switch on.
    pub features: Vec<String>,
    /// All features of the app.
    pub all_features: bool,
    /// Without the app's default features.
    pub no_default_features: bool,
    /// The release profile instead of the dev profile.
    pub release: bool,
    /// How much debug information the crates of the workspace get.
    pub debug_info: DebugInfo,
    /// devhost's own target directory, where it is not to be `devhost` in cargo's.
    pub target_dir: Option<PathBuf>,
    /// More arguments for cargo, such as `--offline`.
    pub cargo_args: Vec<String>,
}

/// How much debug information the crates of the workspace get.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DebugInfo {
    /// Backtraces have files and lines; variables are left out, which makes a build much faster.
    #[default]
    LineTables,
    /// What the profile says.
    Full,
}

impl Settings {
    /// The arguments that choose features, as every cargo command takes them.
    pub(super) fn feature_args(&self) -> Vec<String> {
        let mut args = Vec::new();
        if self.all_features {
            args.push("--all-features".into());
        }
        if self.no_default_features {
            args.push("--no-default-features".into());
        }
        if !self.features.is_empty() {
            args.push(format!("--features={}", self.features.join(",")));
        }
        args
    }

    /// cargo's name of the profile.
    pub(super) fn profile(&self) -> &'static str {
        if self.release { "release" } else { "dev" }
    }
}
