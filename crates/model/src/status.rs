//! The status document: written by the runner, served by the front.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use serde::Serialize;

use crate::failure::Failure;
use crate::reload::{Outcome, Reload};
use crate::side_status::SideStatus;

/// How many reloads the status document keeps.
const RELOADS_KEPT_COUNT_MAX: usize = 100;

/// What devhost is doing: the `state` of the status document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// The first build is running.
    Starting,
    /// A later build is running, or its generation is starting.
    Building,
    /// The newest code is being served.
    Ready,
    /// The newest code is not being served; [`Status::failure`] says why.
    Failed,
}

/// A process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Process {
    /// The process id.
    pub pid: i32,
}

/// A worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct WorkerStatus {
    /// The process id.
    pub pid: i32,
    /// Its generation.
    pub generation: u64,
    /// It finishes its requests and gets no new ones.
    pub draining: bool,
}

/// Another app that the same devhost serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppStatus {
    /// Its name.
    pub app: String,
    /// Its address, once it has one.
    pub url: Option<String>,
    /// What devhost is doing with it.
    pub state: ServerState,
    /// The generation being served, 0 before the first.
    pub generation: u64,
}

/// The document at `/__devhost/status`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// devhost's version.
    pub version: &'static str,
    /// The app's package name, or what it is called among several.
    pub app: String,
    /// The app's address, once it has one.
    pub url: Option<String>,
    /// `plugin` or `plain`.
    pub kind: &'static str,
    /// What devhost is doing.
    pub state: ServerState,
    /// Changes are noticed, but not acted on until the user says so.
    pub paused: bool,
    /// The generation being served, 0 before the first.
    pub generation: u64,
    /// The build id of the code being served, empty before the first.
    pub build_id: String,
    /// The front.
    pub front: Process,
    /// The zygote, if one is running.
    pub zygote: Option<Process>,
    /// The workers, including draining ones.
    pub workers: Vec<WorkerStatus>,
    /// The side processes of `devhost.toml`, in its order.
    pub processes: Vec<SideStatus>,
    /// The other apps that this devhost serves.
    pub apps: Vec<AppStatus>,
    /// Why the newest code is not being served, if it is not.
    pub failure: Option<Failure>,
    /// The last reloads, oldest first.
    pub reloads: VecDeque<Reload>,
}

/// The shared status document.
#[derive(Debug)]
pub struct StatusBoard {
    board: Mutex<Board>,
    /// Those of the other apps.
    others: OnceLock<Vec<Weak<StatusBoard>>>,
}

#[derive(Debug)]
struct Board {
    status: Status,
    /// The first response of a generation whose reload is not in the document yet.
    early: Option<(u64, f64)>,
}

impl StatusBoard {
    /// Makes the board of an app that is about to be built for the first time.
    pub fn new(app: String, kind: &'static str) -> Self {
        let status = Status {
            version: env!("CARGO_PKG_VERSION"),
            app,
            url: None,
            kind,
            state: ServerState::Starting,
            paused: false,
            generation: 0,
            build_id: String::new(),
            front: Process { pid: std::process::id().cast_signed() },
            zygote: None,
            workers: Vec::new(),
            processes: Vec::new(),
            apps: Vec::new(),
            failure: None,
            reloads: VecDeque::new(),
        };
        Self { board: Mutex::new(Board { status, early: None }), others: OnceLock::new() }
    }

    /// Makes each of these boards show the others' apps, too. Only the first call counts.
    pub fn introduce(boards: &[Arc<Self>]) {
        for board in boards {
            let others = boards.iter().filter(|other| !Arc::ptr_eq(board, other));
            let _ = board.others.set(others.map(Arc::downgrade).collect());
        }
    }

    /// Changes the document.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        let mut board = self.lock();
        let Board { status, early } = &mut *board;
        change(status);
        if let Some((generation, ms)) = *early
            && status.note_first_response(generation, ms)
        {
            *early = None;
        }
        while status.reloads.len() > RELOADS_KEPT_COUNT_MAX {
            status.reloads.pop_front();
        }
    }

    /// Returns a copy of the document.
    pub fn snapshot(&self) -> Status {
        let mut status = self.lock().status.clone();
        // One lock at a time: the others look here in the same way.
        let others = self.others.get().into_iter().flatten();
        status.apps = others.filter_map(Weak::upgrade).map(|other| other.in_short()).collect();
        status
    }

    fn in_short(&self) -> AppStatus {
        let board = self.lock();
        let Status { app, url, state, generation, .. } = &board.status;
        AppStatus { app: app.clone(), url: url.clone(), state: *state, generation: *generation }
    }

    /// Records how long the first response of a generation took.
    pub fn first_response(&self, generation: u64, took: Duration) {
        let ms = took.as_secs_f64() * 1_000.0;
        let mut board = self.lock();
        if !board.status.note_first_response(generation, ms) {
            board.early = Some((generation, ms));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Status {
    /// Returns false if the reload that made the generation is not in the document.
    fn note_first_response(&mut self, generation: u64, ms: f64) -> bool {
        let made = |reload: &&mut Reload| reload.generation == generation && reload.outcome == Outcome::Ok;
        match self.reloads.iter_mut().rev().find(made) {
            Some(reload) => {
                // Each of several workers has a first response; the first of all counts.
                reload.steps.first_response_ms.get_or_insert(ms);
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::reload::{Cause, Steps};

    use super::*;

    #[test]
    fn a_document_with_names_that_are_no_utf_8_is_still_a_document() {
        use std::os::unix::ffi::OsStrExt;
        let board = StatusBoard::new("app".into(), "plain");
        let file = std::ffi::OsStr::from_bytes(b"static/caf\xe9.css");
        board.update(|status| {
            status.reloads.push_back(Reload {
                generation: 1,
                cause: Cause::Change,
                files: vec![file.into()],
                files_left_out: 0,
                why: String::new(),
                outcome: Outcome::Ok,
                total_ms: 1.0,
                steps: Steps::default(),
                build: None,
            });
        });
        let json = serde_json::to_value(board.snapshot()).unwrap();
        assert_eq!(json["reloads"][0]["files"][0], "static/caf\u{fffd}.css");
    }
}
