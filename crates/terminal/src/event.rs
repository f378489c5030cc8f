//! The events of `--message-format json`: one JSON object per line on standard output, distinguished by
//! `event`. They are defined here only; fields are added, never removed.

use serde::Serialize;

use crate::label::Stream;
use devhost_model::{Diagnostic, End, Failure, Reload, SideStatus};

/// An event, written as a line of JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum TerminalEvent {
    /// The port is open. Requests are accepted, and held until the app is ready. Once more if devhost moves to another port, because
    /// it was a guess.
    Listening {
        /// devhost's version.
        version: String,
        /// The app's package name.
        app: String,
        /// The addresses, the local one first.
        urls: Vec<Url>,
        /// Time since devhost started, in milliseconds.
        since_start_ms: f64,
    },
    /// The progress of a build. Some steps are skipped.
    Progress {
        /// Crates done.
        done: u32,
        /// The total number of crates.
        total: u32,
        /// What is being compiled.
        current: String,
    },
    /// The first generation serves.
    Ready {
        /// Its `generation`, `cause`, `files`, `outcome`, `total_ms`, `steps` and so on.
        #[serde(flatten)]
        reload: Reload,
    },
    /// A later reload has ended, with this `outcome`.
    Reload {
        /// As for `ready`.
        #[serde(flatten)]
        reload: Reload,
    },
    /// The newest code is not being served.
    Failure {
        /// A one-line summary.
        title: String,
        /// The reason, with the compiler's messages.
        failure: Failure,
    },
    /// A compiler warning about code that built.
    Diagnostic {
        /// The message and its location.
        diagnostic: Diagnostic,
    },
    /// Stylesheets were swapped in open pages.
    Css {
        /// The files.
        files: Vec<String>,
        /// Why the first of them matters; empty if that is not known.
        why: String,
    },
    /// Open pages were reloaded because of these files.
    Statics {
        /// The files.
        files: Vec<String>,
        /// Why the first of them matters; empty if that is not known.
        why: String,
    },
    /// A worker crashed.
    Crash {
        /// A one-line summary.
        message: String,
        /// How it ended.
        end: End,
    },
    /// A side process has written a line, or one of several apps.
    Output {
        /// Its name.
        process: String,
        /// Where to.
        stream: Stream,
        /// The line, without colours.
        line: String,
    },
    /// A side process has started, is ready, or has ended.
    Process {
        /// What happened, in one line.
        message: String,
        /// Its `name`, `state`, `pid` and so on, as in the status document.
        #[serde(flatten)]
        process: SideStatus,
    },
    /// Something worth knowing.
    Note {
        /// A one-line message.
        message: String,
    },
    /// Something is probably wrong.
    Warning {
        /// A one-line message.
        message: String,
    },
    /// devhost gives up, or gives something up.
    Error {
        /// What is wrong.
        message: String,
        /// What to do about it; empty if unknown.
        hint: String,
        /// Whether the user can fix it.
        mistake: bool,
    },
    /// Changes are noticed from now on, but not acted on.
    Paused,
    /// Changes are acted on again.
    Resumed {
        /// How many files have changed meanwhile.
        files: usize,
    },
    /// devhost is ending.
    Stopping,
}

/// An address of the app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Url {
    /// `Local`, `Network`, …
    pub label: String,
    /// The address.
    pub url: String,
}

impl TerminalEvent {
    /// Returns the event as a line, including the line break. If there are several apps, it names the one that it is about.
    pub(crate) fn line(&self, app: Option<&str>) -> String {
        let written = match app {
            None => serde_json::to_string(self),
            Some(app) => serde_json::to_value(self).map(|mut event| {
                if let Some(fields) = event.as_object_mut() {
                    fields.insert("app".into(), app.into());
                }
                event.to_string()
            }),
        };
        // Cannot fail: it has only strings and numbers.
        let mut line = written.unwrap_or_else(|error| {
            serde_json::json!({ "event": "error", "message": format!("failed to write an event: {error}"), "hint": "",
                "mistake": false })
            .to_string()
        });
        line.push('\n');
        line
    }
}
