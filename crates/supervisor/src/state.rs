//! The supervisor's state: everything that it remembers between two events. The files that handle events change it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use devhost_model::{Cause, ServerState};

use crate::code::{Code, Origin};
use crate::echo::Echoes;
use crate::journey::Journey;
use crate::pause::Pending;
use crate::settings::Settings;

/// The state machine that decides what devhost does.
#[derive(Debug)]
pub struct Supervisor {
    pub(crate) settings: Settings,
    pub(crate) build: Build,
    /// How many builds have begun: the number of the last one.
    pub(crate) builds: u64,
    /// How many generations have been forked: the number of the last one.
    pub(crate) generations: u64,
    /// How many replacements have been forked: the number of the last one.
    pub(crate) replacements: u64,
    pub(crate) zygote: Zygote,
    /// How many zygotes have been started: the number of the last one.
    pub(crate) zygotes: u64,
    /// How often the zygote has died since a generation became ready or code changed.
    pub(crate) zygote_deaths: u32,
    pub(crate) wanted: Option<Wanted>,
    pub(crate) starting: Option<Starting>,
    pub(crate) current: Option<Serving>,
    pub(crate) draining: Vec<Draining>,
    /// The newest code that was ever ready: what is forked again after a crash.
    pub(crate) last_good: Option<Arc<Code>>,
    /// The newest code that was built, whether or not it started.
    pub(crate) newest: Option<Arc<Code>>,
    /// True while the newest sources do not build.
    pub(crate) build_broken: bool,
    /// True while the user has been told that the newest code is not being served.
    pub(crate) failed: bool,
    /// Files that changed since the last build that succeeded.
    pub(crate) unbuilt: Vec<PathBuf>,
    /// Crashes in a row, of all workers together.
    pub(crate) crashes: u32,
    pub(crate) overlap: Overlap,
    /// The cause to report if the last good code is forked again.
    pub(crate) bring_back: Cause,
    /// The app must be restarted even if a build produces the same code.
    pub(crate) restart_wanted: bool,
    /// The running or next build is from scratch, because the user asked for it.
    pub(crate) rebuilding: bool,
    /// What has changed since the user paused devhost.
    pub(crate) paused: Option<Pending>,
    pub(crate) give_ups: GiveUps,
    /// What changed while a build or a start was left to finish.
    pub(crate) overtaking: Overtaking,
    pub(crate) page_echoes: Echoes,
    pub(crate) style_echoes: Echoes,
    pub(crate) start_echoes: Echoes,
    pub(crate) build_echoes: Echoes,
    pub(crate) stopping: bool,
}

#[derive(Debug)]
pub(crate) enum Build {
    Idle,
    Running {
        build: u64,
        begun: Duration,
        started: Duration,
        changed: Vec<PathBuf>,
        /// Something that is as new serves, or is about to: nobody waits for this build, and its result serves after the next change.
        behind: bool,
    },
}

#[derive(Debug, PartialEq)]
pub(crate) enum Zygote {
    None,
    Preloading { origin: Origin },
    Ready { origin: Origin },
}

/// A generation that was forked and is not ready yet.
#[derive(Debug)]
pub(crate) struct Starting {
    pub(crate) generation: u64,
    pub(crate) code: Arc<Code>,
    pub(crate) loaded: bool,
    /// It is a plain app, and a copy of its process became a daemon.
    pub(crate) detached: bool,
    /// It is a second try, after one failed while another generation was running.
    pub(crate) second_try: bool,
    pub(crate) journey: Journey,
}

/// Whether a generation may start while an older one is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overlap {
    /// It may. A plain app that dies while starting is tried once more alone: the other generation may have held a lock
    /// or a port that it needs.
    Tried,
    /// It may, and the last second try failed as well, so overlap is not to blame. Until new code starts.
    Blameless,
    /// It may not, because a second try succeeded or the user said so.
    Barred,
}

#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) generation: u64,
    pub(crate) code: Arc<Code>,
    /// When it became ready, or the last replacement of one of its workers did.
    pub(crate) since: Duration,
    /// The replacements that are not ready yet.
    pub(crate) replacing: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DrainPhase {
    /// It finishes its requests.
    Finishing,
    /// Its long-lived streams are being closed.
    Closing,
    /// Its workers were told to exit.
    Stopping,
}

#[derive(Debug)]
pub(crate) struct Draining {
    pub(crate) generation: u64,
    pub(crate) phase: DrainPhase,
}

/// Code that waits to be forked.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) code: Arc<Code>,
    pub(crate) journey: Journey,
    pub(crate) second_try: bool,
}

/// Consecutive builds and starts that were given up because files changed.
#[derive(Debug, Default)]
pub(crate) struct GiveUps {
    pub(crate) count: u32,
    /// When the first was given up.
    pub(crate) since: Option<Duration>,
}

/// Files that changed while a build or a start was left to finish.
#[derive(Debug, Default)]
pub(crate) struct Overtaking {
    pub(crate) code: Vec<PathBuf>,
    pub(crate) startup: Vec<PathBuf>,
    /// When the first of them changed.
    pub(crate) since: Duration,
}

impl Overtaking {
    pub(crate) fn is_empty(&self) -> bool {
        self.code.is_empty() && self.startup.is_empty()
    }
}

impl Supervisor {
    /// Makes a supervisor that has done nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            overlap: if settings.overlap { Overlap::Tried } else { Overlap::Barred },
            settings,
            build: Build::Idle,
            builds: 0,
            generations: 0,
            replacements: 0,
            zygote: Zygote::None,
            zygotes: 0,
            zygote_deaths: 0,
            wanted: None,
            starting: None,
            current: None,
            draining: Vec::new(),
            last_good: None,
            newest: None,
            build_broken: false,
            failed: false,
            unbuilt: Vec::new(),
            crashes: 0,
            bring_back: Cause::Crash,
            restart_wanted: false,
            rebuilding: false,
            paused: None,
            give_ups: GiveUps::default(),
            overtaking: Overtaking::default(),
            page_echoes: Echoes::default(),
            style_echoes: Echoes::default(),
            start_echoes: Echoes::default(),
            build_echoes: Echoes::default(),
            stopping: false,
        }
    }

    /// Returns the source files that have changed while the running build was left to finish.
    pub fn overtaking(&self) -> &[PathBuf] {
        &self.overtaking.code
    }

    /// Returns true if requests wait for new code.
    pub(crate) fn holds(&self) -> bool {
        self.settings.hold && self.paused.is_none()
    }

    /// Returns true while a build or a start is in progress.
    pub(crate) fn is_in_progress(&self) -> bool {
        self.is_building() || self.starting.is_some() || self.wanted.is_some()
    }

    /// Returns true while a build runs whose result is waited for.
    pub(crate) fn is_building(&self) -> bool {
        matches!(self.build, Build::Running { behind: false, .. })
    }

    /// Returns true while an older generation is running.
    pub(crate) fn any_generation_runs(&self) -> bool {
        self.current.is_some() || !self.draining.is_empty()
    }

    pub(crate) fn starting_mut(&mut self, generation: u64) -> Option<&mut Starting> {
        self.starting.as_mut().filter(|starting| starting.generation == generation)
    }

    pub(crate) fn drain_phase(&self, generation: u64) -> Option<DrainPhase> {
        self.draining.iter().find(|draining| draining.generation == generation).map(|draining| draining.phase)
    }

    pub(crate) fn set_drain_phase(&mut self, generation: u64, phase: DrainPhase) {
        for draining in self.draining.iter_mut().filter(|draining| draining.generation == generation) {
            draining.phase = phase;
        }
    }

    pub(crate) fn current_generation(&self) -> u64 {
        self.current.as_ref().map_or(0, |current| current.generation)
    }

    pub(crate) fn waiting_state(&self) -> ServerState {
        if self.last_good.is_some() { ServerState::Building } else { ServerState::Starting }
    }

    pub(crate) fn settled_state(&self) -> ServerState {
        if self.is_building() { self.waiting_state() } else { ServerState::Failed }
    }
}
