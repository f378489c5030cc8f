//! Loading the preload set into the zygote, and proving after each library that no thread was started.

use std::path::{Path, PathBuf};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

use devhost_sys::process::count_threads;

/// A library that cannot be in a zygote.
#[derive(Debug, thiserror::Error)]
#[error("failed to preload {}: {message}", library.display())]
pub struct PreloadError {
    /// Which library.
    pub library: PathBuf,
    /// Why.
    pub message: String,
}

/// Loads the libraries for good: they are never unloaded, and all later forks share them.
pub fn preload(libraries: &[PathBuf]) -> Result<(), PreloadError> {
    for library in libraries {
        load(library).map_err(|message| PreloadError { library: library.clone(), message })?;
    }
    Ok(())
}

fn load(library: &Path) -> Result<(), String> {
    // SAFETY: loading runs the library's constructors. They are the user's own dependencies, which an ordinary
    // start of the app would run as well.
    let loaded = unsafe { Library::open(Some(library), RTLD_NOW | RTLD_GLOBAL) };
    std::mem::forget(loaded.map_err(|error| error.to_string())?);
    match count_threads() {
        Ok(1) => Ok(()),
        Ok(count) => Err(format!(
            "a constructor in it started a thread ({count} threads now), and a process with threads cannot be forked safely"
        )),
        Err(error) => Err(format!("cannot count the threads: {error}")),
    }
}
