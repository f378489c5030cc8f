//! The supervisor's state: all that it remembers between two events, and what can be asked about it. What changes
//! it stands in the files that are named after what happens.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use devhost_model::{Cause, ServerState};

use crate::code::{Code, Origin};
use crate::echo::Echoes;
use crate::journey::Journey;
use crate::settings::Settings;

/// The state machine.
#[derive(Debug)]
pub struct Supervisor {
    pub(crate) settings: Settings,
    pub(crate) build: Build,
    pub(crate) builds: u64,
    pub(crate) generations: u64,
    pub(crate) replacements: u64,
    pub(crate) zygote: Zygote,
    pub(crate) zygotes: u64,
    pub(crate) zygote_deaths: u32,
    pub(crate) wanted: Option<Wanted>,
    pub(crate) starting: Option<Starting>,
    pub(crate) current: Option<Serving>,
    pub(crate) draining: Vec<Draining>,
    /// The newest code that was ready once, and from what a crashed generation is forked again.
    pub(crate) last_good: Option<Arc<Code>>,
    /// The newest code that was built, whether it started or not.
    pub(crate) newest: Option<Arc<Code>>,
    /// True while the newest sources do not build.
    pub(crate) build_broken: bool,
    /// True while the newest code is not being served and the user was told so.
    pub(crate) failed: bool,
    /// Files changed since the last build that ran to its end.
    pub(crate) unbuilt: Vec<PathBuf>,
    pub(crate) crashes: u32,
    pub(crate) overlap: Overlap,
    /// Why the last good code will have to be forked again, where it will.
    pub(crate) bring_back: Cause,
    /// The app must be started anew even if the build gives the same code.
    pub(crate) restart_wanted: bool,
    pub(crate) give_ups: GiveUps,
    /// What changed while a build or a start was left alone.
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
    Running { build: u64, begun: Duration, started: Duration, changed: Vec<PathBuf> },
}

#[derive(Debug, PartialEq)]
pub(crate) enum Zygote {
    None,
    Preloading { origin: Origin },
    Ready { origin: Origin },
}

/// A generation on its way.
#[derive(Debug)]
pub(crate) struct Starting {
    pub(crate) generation: u64,
    pub(crate) code: Arc<Code>,
    pub(crate) loaded: bool,
    /// Of a plain app: a copy of its process has become a daemon.
    pub(crate) detached: bool,
    /// It is a second try, after one beside another generation failed.
    pub(crate) second_try: bool,
    pub(crate) journey: Journey,
}

/// Whether a generation may start while an older one lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overlap {
    /// It may. A plain app that dies at its start is tried once more alone: a lock on a database, or a port, may
    /// have been the reason.
    Tried,
    /// It may, and a failure is the code's own: the last second try failed as well. Until some new code starts.
    Blameless,
    /// It may not: such a second try was good, or the user says so.
    Barred,
}

#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) generation: u64,
    pub(crate) code: Arc<Code>,
    /// When it, or the last replacement of one of its workers, became ready.
    pub(crate) since: Duration,
    /// The replacements that are on their way.
    pub(crate) replacing: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DrainPhase {
    /// Requests that end by themselves go on.
    Finishing,
    /// The long-lived streams are closing.
    Closing,
    /// The worker was told to stop.
    Stopping,
}

#[derive(Debug)]
pub(crate) struct Draining {
    pub(crate) generation: u64,
    pub(crate) phase: DrainPhase,
}

/// Code that waits for a zygote to fork it.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) code: Arc<Code>,
    pub(crate) journey: Journey,
    pub(crate) second_try: bool,
}

/// Builds and starts in a row that came to nothing because files changed.
#[derive(Debug, Default)]
pub(crate) struct GiveUps {
    pub(crate) count: u32,
    /// When the first was given up.
    pub(crate) since: Option<Duration>,
}

/// Files that changed while a build or a start was left alone.
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
    /// A supervisor that has done nothing yet.
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
            give_ups: GiveUps::default(),
            overtaking: Overtaking::default(),
            page_echoes: Echoes::default(),
            style_echoes: Echoes::default(),
            start_echoes: Echoes::default(),
            build_echoes: Echoes::default(),
            stopping: false,
        }
    }

    /// The files that have changed since the build began that was left alone.
    pub fn overtaking(&self) -> &[PathBuf] {
        &self.overtaking.code
    }

    /// True while a generation that is not the current one is kept or on its way, or a build runs.
    pub fn is_busy(&self) -> bool {
        self.starting.is_some()
            || self.wanted.is_some()
            || !self.draining.is_empty()
            || matches!(self.build, Build::Running { .. })
    }

    /// True if a build or a start is on its way.
    pub(crate) fn is_on_its_way(&self) -> bool {
        matches!(self.build, Build::Running { .. }) || self.starting.is_some() || self.wanted.is_some()
    }

    /// True while a worker of an older generation runs.
    pub(crate) fn any_lives(&self) -> bool {
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
        if matches!(self.build, Build::Running { .. }) { self.waiting_state() } else { ServerState::Failed }
    }
}
