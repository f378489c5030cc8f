//! What is noted of each link for the plan of the next one.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::line::{Line, TEMPORARY_FILES};
use crate::documents;
use crate::known_file::Identity;

/// How a link was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum How {
    /// Before rustc asked for it.
    Early,
    /// By the plan.
    Quickly,
    /// As rustc has asked.
    Ordinarily {
        /// The linker had something to say.
        said: bool,
    },
}

/// A link that has succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Last {
    pub line: Line,
    pub key: String,
    /// The program that rustc would have called.
    pub linker: PathBuf,
    /// Where it was called.
    pub directory: PathBuf,
    /// rustc's incremental directory, which has the objects after the call.
    pub incremental: PathBuf,
    /// What each object was, in the order of the line.
    pub objects: Vec<Identity>,
    pub how: How,
}

impl Last {
    pub(super) fn path(directory: &Path) -> PathBuf {
        directory.join("last.json")
    }

    /// Where the files that rustc had in its temporary directory are kept.
    pub(super) fn kept(directory: &Path) -> PathBuf {
        directory.join("kept")
    }

    /// Notes it, and keeps what rustc is about to remove.
    pub(super) fn keep(&self, directory: &Path) -> io::Result<()> {
        let kept = Self::kept(directory);
        std::fs::create_dir_all(&kept)?;
        for name in TEMPORARY_FILES {
            let from = Path::new(&self.line.temporary).join(name);
            if from.is_file() {
                std::fs::copy(from, kept.join(name))?;
            }
        }
        documents::write(&Self::path(directory), self)
    }
}

/// Whether the last link noted in a directory was quick.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn was_quick(directory: &Path) -> bool {
    let last: Option<Last> = documents::read(&Last::path(directory));
    last.is_some_and(|last| matches!(last.how, How::Early | How::Quickly))
}

/// What each of a line's objects is.
pub(super) fn identities(line: &Line) -> io::Result<Vec<Identity>> {
    line.objects.iter().map(|path| Identity::of(Path::new(path))).collect()
}
