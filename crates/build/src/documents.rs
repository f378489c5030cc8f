//! JSON files in devhost's target directory. They are replaced by a rename, so a reader never sees half of
//! one.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::settings::{Choice, Settings};

/// Reads a document. Returns `None` if it is missing or from another version of devhost.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Writes a document atomically.
pub(crate) fn write<T: Serialize>(path: &Path, document: &T) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    // In one go: the file is not buffered.
    file.write_all(&serde_json::to_vec(document)?)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// The path of a document, one per target and profile, as in cargo.
pub(crate) fn path(app: &App, settings: &Settings, kind: &str) -> PathBuf {
    let target = match &app.choice {
        Choice::Lib => String::new(),
        Choice::Bin(name) => format!("-bin-{name}"),
        Choice::Example(name) => format!("-example-{name}"),
    };
    app.target_dir.join(kind).join(format!("{}{target}-{}.json", app.package, settings.profile()))
}
