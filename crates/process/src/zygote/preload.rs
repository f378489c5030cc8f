//! Loads the preload set into the zygote, and checks after each library that no thread was started.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use devhost_sys::process::{count_threads, micros_since};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

use crate::control::Report;

/// A library that cannot be in a zygote.
#[derive(Debug, thiserror::Error)]
#[error("failed to preload {}: {reason}", library.display())]
pub struct PreloadError {
    /// The library.
    pub library: PathBuf,
    /// Why.
    #[source]
    pub reason: PreloadFault,
}

/// Why a library cannot be in a zygote.
#[derive(Debug, thiserror::Error)]
pub enum PreloadFault {
    /// The loader refused it.
    #[error(transparent)]
    Open(#[from] libloading::Error),
    /// It started a thread, and a zygote must be single-threaded.
    #[error(
        "a constructor in it started a thread ({0} threads now), and a process with threads cannot be forked safely"
    )]
    Threads(usize),
    /// The threads cannot be counted.
    #[error("cannot count the threads: {0}")]
    CountThreads(#[source] io::Error),
}

/// Loads libraries for all later forks. They are never unloaded.
///
/// # Errors
/// Fails if the loader refuses a library, or one has started a thread. Those before it stay loaded.
pub fn preload(libraries: &[PathBuf]) -> Result<(), PreloadError> {
    for library in libraries {
        load(library).map_err(|reason| PreloadError { library: library.clone(), reason })?;
    }
    Ok(())
}

/// Preloads the libraries, and returns the report for the front.
pub(super) fn preload_and_report(libraries: &[PathBuf]) -> Report {
    let begun = Instant::now();
    match preload(libraries) {
        Ok(()) => Report::Preloaded { micros: micros_since(begun) },
        Err(error) => Report::PreloadFailed { library: error.library, message: error.reason.to_string() },
    }
}

fn load(library: &Path) -> Result<(), PreloadFault> {
    // SAFETY: loading runs the library's constructors. It is one of the app's own dependencies, which an
    // ordinary start would run as well.
    let loaded = unsafe { Library::open(Some(library), RTLD_NOW | RTLD_GLOBAL) };
    std::mem::forget(loaded?);
    match count_threads() {
        Ok(1) => Ok(()),
        Ok(count) => Err(PreloadFault::Threads(count)),
        Err(error) => Err(PreloadFault::CountThreads(error)),
    }
}
