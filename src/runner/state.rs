//! The runner's state, and small operations shared by all its parts.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::rt;
use devhost_build::Builder;
use devhost_front::Hub;
use devhost_front::gate::Gate;
use devhost_model::{Diagnostics, Error, StatusBoard};
use devhost_process::{Argv, Loading};
use devhost_supervisor::{Code, Event, Origin, Supervisor};
use devhost_sys::parent::Ask;
use devhost_terminal::Terminal;
use devhost_watch::Changes;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

use super::app_output::AppOutput;
use super::authors::Authors;
use super::config_file::ConfigFile;
use super::foreground::Foreground;
use super::further::Further;
use super::ids::WorkerProcess;
use super::input::{Input, Inputs};
use super::keys::Keys;
use super::launcher::Launcher;
use super::live_build::LiveBuild;
use super::member::Member;
use super::orders::Orders;
use super::port::Door;
use super::sides::Beside;
use super::stdin::Stdin;
use super::uses::Uses;
use super::watching::Watching;
use super::workers::Workers;

/// How many different notes are remembered, so that each is printed once.
const NOTES_COUNT_MAX: usize = 64;

pub(super) struct Runner {
    pub(super) begun: Instant,
    pub(super) supervisor: Supervisor,
    pub(super) workspace: PathBuf,
    pub(super) builder: Rc<Mutex<Builder>>,
    pub(super) build: Option<JoinHandle<()>>,
    pub(super) sides: Rc<Beside>,
    pub(super) live: Option<LiveBuild>,
    /// The first build begins with a look for what cargo has built.
    pub(super) looks_for_ready_made: bool,
    /// The next build begins by throwing away what was built before.
    pub(super) discards: Rc<Cell<bool>>,
    pub(super) argv: Argv,
    pub(super) loading: Loading,
    /// By number. All but the current one end with their last worker.
    pub(super) launchers: HashMap<u64, Rc<Launcher>>,
    /// 0 before the first.
    pub(super) current_launcher: u64,
    /// What the current launcher was started for.
    pub(super) origin: Origin,
    /// Launchers started for a single generation, by number, and when.
    pub(super) fresh: HashMap<u64, Instant>,
    pub(super) workers: Workers,
    pub(super) further: Further,
    /// Workers per generation.
    pub(super) workers_count: u32,
    /// The artifacts that may still be forked: the newest two, and the serving one.
    pub(super) codes: Vec<Arc<Code>>,
    pub(super) door: Door,
    pub(super) app_port: u16,
    pub(super) env_files: Vec<PathBuf>,
    pub(super) config_file: ConfigFile,
    pub(super) stdin: Option<Stdin>,
    /// The terminal, if the app may have it.
    pub(super) foreground: Option<Foreground>,
    /// The keyboard, if devhost reads it.
    pub(super) keys: Option<Rc<Keys>>,
    /// What the app prints, if it comes through devhost.
    pub(super) output: Option<AppOutput>,
    /// What one of several apps tells of itself.
    pub(super) member: Option<Rc<Member>>,
    pub(super) orders: Orders,
    /// The next Ctrl-C reported from the app's group is no key press, but a signal that devhost has already
    /// seen.
    pub(super) echo: bool,
    pub(super) has_hung_up: bool,
    /// How workers are asked to end; `None` if they know already.
    pub(super) asks: Option<Ask>,
    /// The notes printed so far.
    pub(super) notes: HashSet<String>,
    /// Why files that have changed matter to the app.
    pub(super) reasons: HashMap<PathBuf, String>,
    pub(super) uses: Uses,
    /// The compiler's warnings from the last successful build.
    pub(super) warnings: Diagnostics,
    pub(super) authors: Authors,
    /// Why devhost has to end.
    pub(super) failed: Option<Error>,
    pub(super) first_build_over: bool,
    pub(super) watching: Watching,
    /// Replaces the source of changes from the loop's next round on.
    pub(super) changes_anew: Option<mpsc::Receiver<Changes>>,
    pub(super) gate: Gate,
    pub(super) hub: Hub,
    pub(super) status: Arc<StatusBoard>,
    pub(super) terminal: Arc<Terminal>,
    pub(super) inputs: Inputs,
}

impl Runner {
    pub(super) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Sends an event to the loop from within it.
    pub(super) fn post(&self, event: Event) {
        let inputs = self.inputs.clone();
        rt::spawn(async move {
            let _ = inputs.send(Input::Event(event)).await;
        });
    }

    pub(super) fn post_after(&self, after: Duration, event: Event) {
        let inputs = self.inputs.clone();
        rt::spawn(async move {
            tokio::time::sleep(after).await;
            let _ = inputs.send(Input::Event(event)).await;
        });
    }

    /// Prints a note about the app, once.
    pub(super) fn note(&mut self, message: String) {
        if self.notes.len() < NOTES_COUNT_MAX && !self.notes.contains(&message) {
            self.terminal.note(&message);
            self.notes.insert(message);
        }
    }

    pub(super) fn relative(&self, files: &[PathBuf]) -> Vec<PathBuf> {
        files.iter().map(|file| self.relative_to_workspace(file)).collect()
    }

    pub(super) fn relative_to_workspace(&self, file: &Path) -> PathBuf {
        file.strip_prefix(&self.workspace).unwrap_or(file).to_owned()
    }

    pub(super) fn kill(&self, targets: impl IntoIterator<Item = WorkerProcess>) {
        for WorkerProcess { launcher, pid } in targets {
            if let Some(launcher) = self.launchers.get(&launcher) {
                // A launcher that cannot be reached is dead, and its workers with it.
                let _ = launcher.kill(pid);
            }
        }
    }

    /// Opens the app's port, or the default one if there is something to show before that is known.
    pub(super) fn open_door(&mut self, asked: Option<u16>) {
        let opened = self.door.open(asked, &self.gate, &self.hub, &self.status, &self.terminal);
        if let Err(error) = opened {
            self.failed = Some(error);
            self.post(Event::Stop);
        }
    }
}
