//! The events of `--message-format json`: one JSON object per line on standard output, told apart by its `event`. This
//! is the only place that defines them; fields are only ever added.

use serde::Serialize;

use devhost_model::{Diagnostic, End, Failure, Reload};

/// An event, as a line of JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum TerminalEvent {
    /// The port is open: requests are taken (and held until the app is ready).
    Listening {
        /// devhost's version.
        version: String,
        /// The app's package name.
        app: String,
        /// The addresses, the local one first.
        urls: Vec<Url>,
        /// From the start of devhost, in milliseconds.
        since_start_ms: f64,
    },
    /// How far a build is. Not every step is told.
    Progress {
        /// Crates done.
        done: u32,
        /// Crates in all.
        total: u32,
        /// What is being compiled.
        current: String,
    },
    /// The first generation serves.
    Ready {
        /// Its journey: `generation`, `cause`, `files`, `outcome`, `total_ms`, `steps`.
        #[serde(flatten)]
        reload: Reload,
    },
    /// A later reload is over; its `outcome` says how.
    Reload {
        /// Its journey: `generation`, `cause`, `files`, `outcome`, `total_ms`, `steps`.
        #[serde(flatten)]
        reload: Reload,
    },
    /// The newest code is not being served.
    Failure {
        /// One line.
        title: String,
        /// Why, with the compiler's messages.
        failure: Failure,
    },
    /// A warning of the compiler's about code that built.
    Diagnostic {
        /// The message and its place.
        diagnostic: Diagnostic,
    },
    /// Stylesheets were swapped in open pages.
    Css {
        /// The files.
        files: Vec<String>,
    },
    /// Open pages were loaded again because of these files.
    Statics {
        /// The files.
        files: Vec<String>,
    },
    /// A worker crashed.
    Crash {
        /// One line.
        message: String,
        /// How it ended.
        end: End,
    },
    /// Something worth knowing.
    Note {
        /// One line.
        message: String,
    },
    /// Something that is probably not as it should be.
    Warning {
        /// One line.
        message: String,
    },
    /// devhost gives up, or gives something up.
    Error {
        /// What is wrong.
        message: String,
        /// What to do about it, empty where unknown.
        hint: String,
        /// True where the user can mend it.
        mistake: bool,
    },
    /// devhost is ending.
    Stopping,
}

/// An address at which the app can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Url {
    /// `Local`, `Network`, …
    pub label: String,
    /// The address.
    pub url: String,
}

impl TerminalEvent {
    /// Returns the event as a line, with its line break.
    pub(crate) fn line(&self) -> String {
        // Strings and numbers only: all of it can be written as JSON.
        let mut line = serde_json::to_string(self).unwrap_or_else(|error| {
            serde_json::json!({ "event": "error", "message": format!("failed to write an event: {error}"), "hint": "",
                "mistake": false })
            .to_string()
        });
        line.push('\n');
        line
    }
}
