//! The document at `/__devhost/files`: which files the app uses, and what a change of each does.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use devhost_watch::{About, Explanation, NoAnswer, Observer};
use percent_encoding::percent_decode_str;
use serde::Serialize;

/// What the app uses, and where its paths begin.
pub(crate) struct Files {
    pub(crate) observer: Arc<Observer>,
    pub(crate) root: PathBuf,
}

/// The document.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Document {
    /// This run of devhost.
    pub(crate) session: String,
    /// What is not listed was not used. Otherwise names of files count, too.
    pub(crate) trusted: bool,
    /// The app uses more files than can be followed.
    pub(crate) full: bool,
    pub(crate) files: Vec<Entry>,
    /// How many more files there are.
    pub(crate) left_out: usize,
}

/// A file, and what a change of it does.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Entry {
    pub(crate) path: String,
    /// False if there is no such file, so that the rest is about its appearance.
    pub(crate) exists: bool,
    /// `read`, `build`, `restart`, `reload`, `swap` or `nothing`.
    pub(crate) does: &'static str,
    pub(crate) why: String,
    /// What else is to be known.
    pub(crate) notes: Vec<String>,
}

/// Reads the query: `path=…` with one path, absolute or below the workspace, percent-encoded byte by byte. Without it, all that
/// the app uses is wanted. Returns `None` for any other query.
pub(crate) fn wanted(query: &str) -> Option<About> {
    if query.is_empty() {
        return Some(About::Uses);
    }
    let path = query.strip_prefix("path=").filter(|path| !path.is_empty() && !path.contains('&'))?;
    let path: Vec<u8> = percent_decode_str(path).collect();
    (!path.contains(&0)).then(|| About::Path(OsString::from_vec(path).into()))
}

impl Files {
    /// Lists what the app uses, or tells of one path.
    pub(crate) async fn document(&self, about: About, session: &str) -> Result<Document, NoAnswer> {
        let about = match about {
            About::Path(path) => About::Path(self.root.join(path)),
            About::Uses => About::Uses,
        };
        let explained = self.observer.explain(about).await?;
        Ok(Document {
            session: session.to_owned(),
            trusted: self.observer.is_trusted(),
            full: self.observer.is_full(),
            files: explained.files.into_iter().map(|one| self.entry(one)).collect(),
            left_out: explained.left_out,
        })
    }

    fn entry(&self, one: Explanation) -> Entry {
        let Explanation { path, exists, effect, why, notes } = one;
        Entry { path: self.shown(&path), exists, does: effect.name(), why, notes }
    }

    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_path_is_any_bytes() {
        assert_eq!(wanted(""), Some(About::Uses));
        assert_eq!(wanted("path=static/a%20b%26c.css"), Some(About::Path("static/a b&c.css".into())));
        let Some(About::Path(path)) = wanted("path=%ff.css") else { panic!("no path") };
        assert_eq!(path.as_os_str().as_bytes(), b"\xff.css");
        for other in ["path=", "paths=a", "path=a&path=b", "path=a%00b", "x"] {
            assert_eq!(wanted(other), None, "{other}");
        }
    }
}
