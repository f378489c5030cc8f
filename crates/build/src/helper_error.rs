//! Errors of devhost in the place of rustc, a linker or a build script.

use std::io;
use std::path::PathBuf;

/// The wrapper's message if rustc accepts the binary but not the library; the reason follows.
pub(crate) const NO_LIBRARY_MESSAGE: &str = "this binary cannot be made a library that devhost can load: ";

#[derive(Debug, thiserror::Error)]
pub(crate) enum HelperError {
    #[error("cannot {what}: {error}")]
    Io {
        what: String,
        #[source]
        error: io::Error,
    },
    #[error("{} says #![no_main]: the app has a C `main` of its own, and devhost can only call a Rust `main`", .0.display())]
    NoMain(PathBuf),
    #[error("{NO_LIBRARY_MESSAGE}{0}")]
    NoLibrary(String),
    #[error("the dependencies cannot be linked into a shared library: {0}")]
    MustBeShared(Unshareable),
    #[error("cannot make the library of dependencies: the linker does not find all that they need")]
    DependenciesMissing,
    #[error("{0}")]
    NoPlaceholder(Unshareable),
    #[error("the linker wrote no library: {0}")]
    NotElf(object::Error),
    #[error("cannot change {}: it has no block", .0.display())]
    VersionScript(PathBuf),
}

impl HelperError {
    /// A failed system call.
    pub(crate) fn io(what: impl Into<String>, error: io::Error) -> Self {
        Self::Io { what: what.into(), error }
    }
}

/// Why the dependencies cannot be in a shared library, as shown to users. Kept in a file for later builds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unshareable(pub String);
