//! What can go wrong inside the app through no fault of a visitor. The visitor sees a bare 500, the terminal shows the cause.

use std::fmt;
use std::path::PathBuf;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// A fault of the app or its surroundings.
#[derive(Debug)]
pub enum Error {
    /// The folder for the database could not be created.
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `SQLite` failed.
    Store(rusqlite::Error),
    /// A template could not be read.
    TemplateFile {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A template is wrong.
    Template(minijinja::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder { path, source } => {
                write!(f, "failed to make the data folder {}: {source}", path.display())
            }
            Self::Store(source) => write!(f, "failed to use the database: {source}"),
            Self::TemplateFile { path, source } => write!(f, "failed to read {}: {source}", path.display()),
            // The alternate form names file and line and quotes the place.
            Self::Template(source) => write!(f, "failed to render a template: {source:#}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Folder { source, .. } | Self::TemplateFile { source, .. } => Some(source),
            Self::Store(source) => Some(source),
            Self::Template(source) => Some(source),
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(source: rusqlite::Error) -> Self {
        Self::Store(source)
    }
}

impl From<minijinja::Error> for Error {
    fn from(source: minijinja::Error) -> Self {
        Self::Template(source)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        eprintln!("error: {self}");
        let text = if cfg!(debug_assertions) { self.to_string() } else { "Something went wrong.".to_owned() };
        (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
    }
}
