//! What open pages are told.

use serde::Serialize;

use crate::failure::Failure;

/// An event that open pages receive from `/__devhost/events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BrowserEvent {
    /// The first event of a connection.
    Hello {
        /// Differs for each run of devhost, so that a page of an earlier run reloads.
        session: String,
        /// The generation being served, 0 before the first.
        generation: u64,
        /// How many builds have begun. More than in an earlier `Hello` means that code has changed since.
        builds: u64,
        /// Why the newest code is not being served, if it is not.
        failure: Option<Failure>,
    },
    /// A build has started.
    Building {
        /// The files that have changed.
        files: Vec<String>,
    },
    /// The progress of the first build.
    Progress {
        /// Crates done.
        done: u32,
        /// Crates in all.
        total: u32,
        /// What is being compiled.
        current: String,
    },
    /// Reload the page: newer code is being served, or a static file has changed.
    Reload {
        /// The generation being served.
        generation: u64,
        /// The names of the files that have changed, by which a page finds the copies in the browser's cache. Empty if there
        /// are too many, or if they are not known.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        files: Vec<String>,
        /// The app was started anew; otherwise files that it serves have changed.
        restarted: bool,
    },
    /// Swap these stylesheets in place.
    Css {
        /// Their file names (`style.css`), to be compared with the last segment of a link's path.
        files: Vec<String>,
    },
    /// The newest code is not being served.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// The port was a guess, and the app listens on another one: devhost is there from now on.
    Moved {
        /// The port that is given up.
        from: u16,
        /// The app's own.
        to: u16,
    },
    /// The failure is over without a new generation: the code is what is being served again.
    Recovered,
}
