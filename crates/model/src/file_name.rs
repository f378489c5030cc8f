//! File names for people and programs. On Linux a file name is any bytes; JSON is text.

use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

/// A file name in a document or an event, written with replacement characters for what is not UTF-8. Documents use no other
/// type for paths, because serializing a path that is not UTF-8 fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName(PathBuf);

impl Serialize for FileName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.display())
    }
}

impl<P: Into<PathBuf>> From<P> for FileName {
    fn from(path: P) -> Self {
        Self(path.into())
    }
}

impl AsRef<Path> for FileName {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl std::fmt::Display for FileName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn a_name_that_is_no_utf_8_is_written_as_text() {
        let name = FileName::from(OsStr::from_bytes(b"static/caf\xe9.css"));
        assert_eq!(serde_json::to_string(&name).unwrap(), "\"static/caf\u{fffd}.css\"");
        assert_eq!(serde_json::to_string(&FileName::from("a/\"b\n.rs")).unwrap(), "\"a/\\\"b\\n.rs\"");
    }
}
