//! What the files say for one app.

use std::collections::BTreeMap;
use std::ffi::OsString;

use devhost_model::{Error, Pattern, Rules, SideProcess, Verdict};

use crate::given::Given;

/// What is stronger than the files: the command line, and the environment.
pub trait Stronger {
    /// Returns true if it decides about an option, so that the files' key for it does not count.
    fn decides(&self, key: &str) -> bool;

    /// Returns true if two options exclude each other.
    fn exclude(&self, one: &str, other: &str) -> bool;
}

/// What the files say for one app, as far as nothing stronger does.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The options, by key.
    pub options: BTreeMap<String, Given>,
    /// Environment variables for the app.
    pub env: Vec<(String, String)>,
    /// The processes beside the app.
    pub processes: Vec<SideProcess>,
    pub(crate) watch: Vec<(Pattern, Verdict)>,
    pub(crate) ignore: Vec<Pattern>,
}

impl Settings {
    /// Returns the options' arguments for the command line.
    pub fn arguments(&self) -> impl Iterator<Item = &OsString> {
        let options = self.options.values().filter(|given| given.key != crate::APP_ARGS_KEY);
        options.flat_map(|given| &given.arguments)
    }

    /// Returns what `watch` and `ignore` say of files.
    ///
    /// # Errors
    /// The globs are too large together.
    pub fn rules(&self) -> Result<Rules, Error> {
        Rules::new(&self.ignore, &self.watch).map_err(|why| {
            Error::mistake(
                format!("`watch` and `ignore` cannot be used: {why}"),
                "use fewer or simpler globs",
            )
        })
    }
}
