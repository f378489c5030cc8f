//! The supervisor: what happens next, as a state machine.
//!
//! One closed [`Event`] goes in, [`Action`]s come out. It does no I/O, starts no timer and reads no clock: the
//! runner performs the actions, and says with each event what time it is. So every order of events can be tried
//! in a test without a process or a wait.
//!
//! Its promises: at most one build runs, and a change during it starts one more; no code but the newest built
//! takes over, and only if the worker reports the build id that was built; a generation that serves is replaced
//! only by one that is ready; whatever has begun has a deadline.
//!
//! A generation may have several workers. It is one thing here nevertheless: ready when all of them are, and ended when
//! none is left. Only the replacement of one that is gone while others serve is decided worker by worker.
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use devhost_model::{
    AppKind, BrowserEvent, BuildReport, Cause, ChangedFiles, End, FILES_NAMED_COUNT_MAX, Failure, Outcome,
    Reload, ServerState, Steps, StopReason,
};

mod echo;
#[cfg(test)]
mod tests;

pub use echo::Answer;

use echo::{ECHO_TIME_MAX, Echoes, Verdict};

/// How many generations may drain at once; the oldest is stopped when one more comes.
pub const DRAINING_COUNT_MAX: usize = 3;

/// Crashes in a row after which devhost waits for a change instead of forking again; for each worker of a generation.
pub const CRASHES_IN_A_ROW_COUNT_MAX: u32 = 5;

/// A generation that lived this long before it crashed starts a new row.
pub const CRASH_ROW_TIME: Duration = Duration::from_secs(10);

/// The wait before the second fork in a row of crashes; doubled for each one after. The first has none.
pub const CRASH_BACKOFF_TIME: Duration = Duration::from_millis(100);

/// Deaths of a zygote in a row (without a generation that became ready between) after which devhost gives up.
pub const ZYGOTE_DEATHS_COUNT_MAX: u32 = 3;

/// How often in a row a build or a start is given up because files change; after that the next one is left to finish.
pub const GIVE_UPS_COUNT_MAX: u32 = 3;

/// For how long builds and starts are given up because files change; after that the next one is left to finish.
pub const GIVE_UPS_TIME_MAX: Duration = Duration::from_secs(10);

/// How long long-lived streams have to close at the end of a drain.
pub const CLOSE_TIME_MAX: Duration = Duration::from_millis(500);

/// How long the app's own stop may take at a reload before the worker is killed.
pub const STOP_TIME_MAX: Duration = Duration::from_secs(1);

/// How long a zygote may take to preload.
pub const PRELOAD_TIME_MAX: Duration = Duration::from_secs(20);

/// The exit code of a Rust program whose `main` panicked.
const PANIC_EXIT_CODE: i32 = 101;

const START_TIME_HINT: &str = "give it more time with --start-timeout-ms, if it needs it";

/// What a build gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// The cdylib.
    pub artifact: PathBuf,
    /// How the app in it is started.
    pub kind: AppKind,
    /// Its GNU build id, in hex.
    pub build_id: String,
    /// What its workers come from.
    pub origin: Origin,
}

/// What new workers come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A zygote that has loaded these libraries.
    Zygote {
        /// In this order.
        preload: Vec<PathBuf>,
    },
    /// A keeper, which starts the app's own program.
    Keeper,
}

impl Origin {
    /// The libraries that must be loaded for it.
    pub fn preload(&self) -> &[PathBuf] {
        match self {
            Self::Zygote { preload } => preload,
            Self::Keeper => &[],
        }
    }
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Files changed, `age` ago.
    Changed {
        /// From the change until now.
        age: Duration,
        /// Which.
        files: ChangedFiles,
        /// The app was answering requests then, so it may have written them itself.
        busy: bool,
    },
    /// A build has ended.
    BuildEnded {
        /// Which build.
        build: u64,
        /// How it was made.
        report: BuildReport,
        /// Files that changed while it ran, but that it read as they are now or wrote itself.
        settled: Vec<PathBuf>,
        /// The code that it produced, or why it failed.
        result: Result<Arc<Code>, Failure>,
    },
    /// Files of code that was to be forked, or was forked, are gone from the disk.
    CodeGone,
    /// The zygote has preloaded.
    ZygoteReady,
    /// The zygote could not preload.
    ZygoteFailed {
        /// Why.
        message: String,
    },
    /// The zygote is gone, and its workers with it.
    ZygoteDied {
        /// The generations that they were.
        lost: Vec<u64>,
    },
    /// A worker runs.
    Forked {
        /// The generation.
        generation: u64,
        /// How long `fork()` took.
        took: Duration,
    },
    /// A worker has loaded its artifact.
    Loaded {
        /// The generation.
        generation: u64,
        /// The build id of what is in its memory.
        build_id: String,
        /// How long it took.
        took: Duration,
    },
    /// A worker can serve.
    Ready {
        /// The generation.
        generation: u64,
        /// How long the app's start took.
        took: Duration,
    },
    /// A worker could not be forked, could not load, or the app's start failed.
    StartFailed {
        /// The generation.
        generation: u64,
        /// Why.
        message: String,
        /// What to do about it, empty where unknown.
        hint: String,
    },
    /// A plain app that is on its way has made itself a daemon.
    Detached {
        /// The generation.
        generation: u64,
    },
    /// The app's listener cannot be moved: two generations beside each other would share the port, and the kernel would
    /// give requests to either.
    KeepsItsPort,
    /// A generation is gone: its worker's process, or the last of several.
    Ended {
        /// The generation.
        generation: u64,
        /// How.
        end: End,
    },
    /// One of a generation's workers is gone, or a replacement came to nothing; others serve.
    WorkerEnded {
        /// The generation.
        generation: u64,
        /// How.
        end: End,
    },
    /// A replacement has loaded its artifact.
    ReplacementLoaded {
        /// Which.
        replacement: u64,
        /// The build id of what is in its memory.
        build_id: String,
    },
    /// A replacement can serve.
    ReplacementReady {
        /// Which.
        replacement: u64,
    },
    /// No request that ends by itself is left in a draining generation.
    Idle {
        /// The generation.
        generation: u64,
    },
    /// No request at all is left in a draining generation.
    Empty {
        /// The generation.
        generation: u64,
    },
    /// A timer that was armed has fired.
    Timer(Timer),
    /// The user wants to end.
    Stop,
}

/// What a timer is for. A timer whose purpose is over is ignored when it fires, so none is ever disarmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// The generation must be ready by now.
    Start(u64),
    /// The generation's drain must be over by now.
    Drain(u64),
    /// The generation's long-lived streams must be closed by now.
    Close(u64),
    /// The generation's worker must have exited by now.
    Stop(u64),
    /// Fork again after a crash of this generation.
    Refork(u64),
    /// Replace a worker that this generation has lost.
    Replace(u64),
    /// The replacement must be ready by now.
    Replacement(u64),
    /// Changes that may be echoes are answered now.
    Echo(Answer),
    /// The zygote (the how manieth) must have preloaded by now.
    Preload(u64),
    /// Everything must have ended by now.
    Shutdown,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Start a build.
    Build {
        /// Its number.
        build: u64,
        /// All files that changed since the last build that ran to its end.
        changed: Vec<PathBuf>,
    },
    /// Kill the build that runs.
    CancelBuild,
    /// Start a zygote or a keeper; the one there was retires, and ends with its last worker.
    StartZygote {
        /// Which, and what it shall preload.
        origin: Origin,
    },
    /// Kill the current zygote.
    KillZygote,
    /// Fork a generation: its worker, or all of several.
    Fork {
        /// The generation.
        generation: u64,
        /// What it shall load.
        code: Arc<Code>,
    },
    /// Fork one more worker for a generation, with the code that it has.
    Replace {
        /// The generation.
        generation: u64,
        /// Which replacement it is in this run.
        replacement: u64,
    },
    /// Let a replacement serve beside the others.
    Join {
        /// Which.
        replacement: u64,
        /// True where waiting requests go on to it.
        release: bool,
    },
    /// Kill a replacement that is not ready.
    KillReplacement {
        /// Which.
        replacement: u64,
        /// What is wrong with it.
        message: String,
    },
    /// Let requests wait.
    Hold,
    /// Let requests go on, to what serves now.
    Release,
    /// Make a generation the current one.
    Swap {
        /// Which.
        generation: u64,
        /// Its build id.
        build_id: String,
        /// True where the code is other than what served before: open pages are out of date.
        fresh: bool,
        /// True where waiting requests go on to it.
        release: bool,
        /// What has changed.
        files: Vec<PathBuf>,
    },
    /// There is no current generation any more.
    LoseCurrent,
    /// Tell a generation that nothing new will come.
    Drain {
        /// Which.
        generation: u64,
    },
    /// Close a generation's long-lived streams.
    CloseStreams {
        /// Which.
        generation: u64,
    },
    /// Tell a worker to stop and exit.
    StopWorker {
        /// Its generation.
        generation: u64,
        /// Why, for those whose requests it has still.
        reason: StopReason,
    },
    /// Kill a worker.
    KillWorker {
        /// Its generation.
        generation: u64,
    },
    /// Fire a timer later.
    Arm {
        /// Which.
        timer: Timer,
        /// When, from now.
        after: Duration,
    },
    /// Set or clear why the newest code is not being served.
    SetFailure(Option<Failure>),
    /// Set the state in the status document.
    SetState(ServerState),
    /// Tell open pages.
    Tell(BrowserEvent),
    /// A static file changed: open pages load themselves again.
    ReloadPages {
        /// The files.
        files: Vec<PathBuf>,
    },
    /// Stylesheets changed: open pages swap them.
    SwapStyles {
        /// The files.
        files: Vec<PathBuf>,
    },
    /// Something that the user should know.
    Note(String),
    /// Files change because of what is done about their changes: that is done less often.
    TellOfEcho {
        /// What is done.
        answer: Answer,
        /// One of them.
        file: PathBuf,
    },
    /// A build is left to finish although files change.
    TellOfLeftAlone {
        /// One of them.
        file: PathBuf,
    },
    /// A reload is over: tell the user.
    Report(Reload),
    /// A worker crashed: tell the user.
    ReportCrash {
        /// How.
        end: End,
    },
    /// Everything is over.
    Exit,
}

/// The times that a user can set.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Hold requests from a change until the new code serves.
    pub hold: bool,
    /// Let the old generation finish while the new one starts; without, it ends first, and requests wait.
    pub overlap: bool,
    /// How many workers a generation has, from 1.
    pub workers: u32,
    /// How long a start may take, from the fork until ready.
    pub start_time_max: Duration,
    /// How long in-flight requests of an old generation may go on.
    pub drain_time_max: Duration,
    /// How long the app may take to end when devhost ends.
    pub stop_time_max: Duration,
}

/// The steps of one reload while it goes on.
#[derive(Debug, Clone)]
struct Journey {
    cause: Cause,
    files: Vec<PathBuf>,
    begun: Duration,
    steps: Steps,
    build: Option<BuildReport>,
}

#[derive(Debug)]
enum Build {
    Idle,
    Running { build: u64, begun: Duration, started: Duration, changed: Vec<PathBuf> },
}

#[derive(Debug, PartialEq)]
enum Zygote {
    None,
    Preloading { origin: Origin },
    Ready { origin: Origin },
}

/// A generation on its way.
#[derive(Debug)]
struct Starting {
    generation: u64,
    code: Arc<Code>,
    loaded: bool,
    /// Of a plain app: a copy of its process has become a daemon.
    detached: bool,
    /// It is a second try, after one beside another generation failed.
    second_try: bool,
    journey: Journey,
}

/// Whether a generation may start while an older one lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overlap {
    /// It may. A plain app that dies at its start is tried once more alone: a lock on a database, or a port, may
    /// have been the reason.
    Tried,
    /// It may, and a failure is the code's own: the last second try failed as well. Until some new code starts.
    Blameless,
    /// It may not: such a second try was good, or the user says so.
    Barred,
}

#[derive(Debug)]
struct Serving {
    generation: u64,
    code: Arc<Code>,
    /// When it, or the last replacement of one of its workers, became ready.
    since: Duration,
    /// The replacements that are on their way.
    replacing: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DrainPhase {
    /// Requests that end by themselves go on.
    Finishing,
    /// The long-lived streams are closing.
    Closing,
    /// The worker was told to stop.
    Stopping,
}

#[derive(Debug)]
struct Draining {
    generation: u64,
    phase: DrainPhase,
}

/// Code that waits for a zygote to fork it.
#[derive(Debug)]
struct Wanted {
    code: Arc<Code>,
    journey: Journey,
    second_try: bool,
}

/// The state machine.
#[derive(Debug)]
pub struct Supervisor {
    settings: Settings,
    build: Build,
    builds: u64,
    generations: u64,
    replacements: u64,
    zygote: Zygote,
    zygotes: u64,
    zygote_deaths: u32,
    wanted: Option<Wanted>,
    starting: Option<Starting>,
    current: Option<Serving>,
    draining: Vec<Draining>,
    /// The newest code that was ready once, and from what a crashed generation is forked again.
    last_good: Option<Arc<Code>>,
    /// The newest code that was built, whether it started or not.
    newest: Option<Arc<Code>>,
    /// True while the newest sources do not build.
    build_broken: bool,
    /// True while the newest code is not being served and the user was told so.
    failed: bool,
    /// Files changed since the last build that ran to its end.
    unbuilt: Vec<PathBuf>,
    crashes: u32,
    overlap: Overlap,
    /// Why the last good code will have to be forked again, where it will.
    bring_back: Cause,
    /// The app must be started anew even if the build gives the same code.
    restart_wanted: bool,
    give_ups: GiveUps,
    /// What changed while a build or a start was left alone.
    overtaking: Overtaking,
    page_echoes: Echoes,
    style_echoes: Echoes,
    start_echoes: Echoes,
    build_echoes: Echoes,
    stopping: bool,
}

/// Builds and starts in a row that came to nothing because files changed.
#[derive(Debug, Default)]
struct GiveUps {
    count: u32,
    /// When the first was given up.
    since: Option<Duration>,
}

/// Files that changed while a build or a start was left alone.
#[derive(Debug, Default)]
struct Overtaking {
    code: Vec<PathBuf>,
    startup: Vec<PathBuf>,
    /// When the first of them changed.
    since: Duration,
}

impl Overtaking {
    fn is_empty(&self) -> bool {
        self.code.is_empty() && self.startup.is_empty()
    }
}

type Actions = Vec<Action>;

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

    /// The first actions.
    pub fn begin(&mut self, now: Duration) -> Actions {
        let mut actions = vec![Action::SetState(ServerState::Starting)];
        self.start_build(now, now, &mut actions);
        actions
    }

    /// True while a generation that is not the current one is kept or on its way, or a build runs.
    pub fn is_busy(&self) -> bool {
        self.starting.is_some()
            || self.wanted.is_some()
            || !self.draining.is_empty()
            || matches!(self.build, Build::Running { .. })
    }

    /// What to do about an event.
    pub fn handle(&mut self, now: Duration, event: Event) -> Actions {
        let mut actions = Vec::new();
        if self.stopping {
            self.handle_while_stopping(event, &mut actions);
            return actions;
        }
        match event {
            Event::Changed { age, files, busy } => {
                self.changed(now, now.saturating_sub(age), files, busy, &mut actions);
            }
            Event::BuildEnded { build, report, settled, result } => {
                let Some(journey) = self.finish_build(now, build, report) else { return actions };
                self.overtaking.code.retain(|file| !settled.contains(file));
                match result {
                    Ok(code) => self.built(now, journey, code, &mut actions),
                    Err(failure) => self.build_failed(now, &journey, failure, &mut actions),
                }
            }
            Event::CodeGone => self.code_gone(now, &mut actions),
            Event::ZygoteReady => self.zygote_ready(&mut actions),
            Event::ZygoteFailed { message } => self.zygote_failed(now, message, &mut actions),
            Event::ZygoteDied { lost } => self.zygote_died(now, &lost, &mut actions),
            Event::Forked { generation, took } => {
                if let Some(starting) = self.starting_mut(generation) {
                    let steps = &mut starting.journey.steps;
                    // Of several workers the slowest is what one waits for.
                    steps.fork_ms = steps.fork_ms.max(millis(took));
                }
            }
            Event::Loaded { generation, build_id, took } => {
                self.loaded(now, generation, &build_id, took, &mut actions);
            }
            Event::Ready { generation, took } => self.ready(now, generation, took, &mut actions),
            Event::StartFailed { generation, message, hint } => {
                self.start_failed(now, generation, message, hint, &mut actions);
            }
            Event::Detached { generation } => {
                if let Some(starting) = self.starting_mut(generation) {
                    starting.detached = true;
                }
            }
            Event::KeepsItsPort => self.overlap = Overlap::Barred,
            Event::Ended { generation, end } => self.ended(now, generation, end, &mut actions),
            Event::WorkerEnded { generation, end } => self.worker_ended(now, generation, end, &mut actions),
            Event::ReplacementLoaded { replacement, build_id } => {
                self.replacement_loaded(replacement, &build_id, &mut actions);
            }
            Event::ReplacementReady { replacement } => {
                self.replacement_ready(now, replacement, &mut actions);
            }
            Event::Idle { generation } => self.idle(generation, &mut actions),
            Event::Empty { generation } => self.empty(generation, &mut actions),
            Event::Timer(timer) => self.timer(now, timer, &mut actions),
            Event::Stop => self.stop(&mut actions),
        }
        actions
    }

    fn changed(
        &mut self,
        now: Duration,
        at: Duration,
        files: ChangedFiles,
        busy: bool,
        actions: &mut Actions,
    ) {
        let ChangedFiles { mut code, inputs, startup, styles, statics } = files;
        // A start is something that an app may write files at, too.
        let is_at_start = self.starting.is_some()
            || self.current.as_ref().is_some_and(|current| now.saturating_sub(current.since) < ECHO_TIME_MAX);
        if code.is_empty() {
            code = self.answer_to(Answer::Build, now, inputs, busy || is_at_start, actions);
        } else {
            code.extend(inputs);
        }
        if !code.is_empty() {
            self.restart_wanted |= !startup.is_empty();
            self.code_changed(now, at, code, actions);
        } else if !startup.is_empty() {
            let startup = self.answer_to(Answer::Start, now, startup, busy || is_at_start, actions);
            self.startup_changed(now, at, startup, actions);
        }
        let styles = self.answer_to(Answer::Styles, now, styles, busy, actions);
        self.serve_anew(Answer::Styles, styles, actions);
        let statics = self.answer_to(Answer::Pages, now, statics, busy, actions);
        self.serve_anew(Answer::Pages, statics, actions);
    }

    fn echoes(&mut self, answer: Answer) -> &mut Echoes {
        match answer {
            Answer::Pages => &mut self.page_echoes,
            Answer::Styles => &mut self.style_echoes,
            Answer::Start => &mut self.start_echoes,
            Answer::Build => &mut self.build_echoes,
        }
    }

    /// The files that are to be answered now.
    fn answer_to(
        &mut self,
        answer: Answer,
        now: Duration,
        files: Vec<PathBuf>,
        busy: bool,
        actions: &mut Actions,
    ) -> Vec<PathBuf> {
        let Some(first) = files.first().cloned() else { return Vec::new() };
        match self.echoes(answer).judge(now, files, busy) {
            Verdict::Now(files) => files,
            Verdict::Later { after, is_first } => {
                if is_first {
                    actions.push(Action::TellOfEcho { answer, file: first });
                }
                if let Some(after) = after {
                    actions.push(Action::Arm { timer: Timer::Echo(answer), after });
                }
                Vec::new()
            }
        }
    }

    /// Answers what was put off.
    fn answer_echo(&mut self, now: Duration, answer: Answer, actions: &mut Actions) {
        let files = self.echoes(answer).take_due(now);
        if files.is_empty() {
            return;
        }
        match answer {
            Answer::Pages | Answer::Styles => self.serve_anew(answer, files, actions),
            Answer::Start => self.startup_changed(now, now, files, actions),
            Answer::Build => self.code_changed(now, now, files, actions),
        }
    }

    fn serve_anew(&self, answer: Answer, files: Vec<PathBuf>, actions: &mut Actions) {
        if !files.is_empty() {
            actions.push(match answer {
                Answer::Styles => Action::SwapStyles { files },
                _ => Action::ReloadPages { files },
            });
        }
    }

    /// True if what is on its way is to be left alone, because too many before it were given up.
    fn is_left_alone(&self, now: Duration) -> bool {
        let GiveUps { count, since } = self.give_ups;
        count >= GIVE_UPS_COUNT_MAX
            || since.is_some_and(|since| now.saturating_sub(since) >= GIVE_UPS_TIME_MAX)
    }

    /// True if a build or a start is on its way.
    fn is_on_its_way(&self) -> bool {
        matches!(self.build, Build::Running { .. }) || self.starting.is_some() || self.wanted.is_some()
    }

    /// Something is to be built or started because of these files. True if that has to wait: what is on its way is left alone.
    /// Else it is given up.
    fn waits_for_what_is_on_its_way(
        &mut self,
        now: Duration,
        at: Duration,
        file: Option<&PathBuf>,
        actions: &mut Actions,
    ) -> bool {
        if !self.is_on_its_way() {
            return false;
        }
        if !self.is_left_alone(now) {
            self.give_ups.count += 1;
            self.give_ups.since.get_or_insert(now);
            return false;
        }
        if self.overtaking.is_empty() {
            self.overtaking.since = at;
            actions.extend(file.map(|file| Action::TellOfLeftAlone { file: file.clone() }));
        }
        true
    }

    /// What was on its way has come to its end. What has changed since then is next.
    fn settle(&mut self, now: Duration, actions: &mut Actions) {
        if self.is_on_its_way() {
            return;
        }
        self.give_ups = GiveUps::default();
        let Overtaking { code, startup, since } = std::mem::take(&mut self.overtaking);
        self.restart_wanted |= !startup.is_empty();
        if !code.is_empty() {
            self.code_changed(now, since, code, actions);
        } else if !startup.is_empty() {
            self.startup_changed(now, since, startup, actions);
        }
    }

    fn code_changed(&mut self, now: Duration, at: Duration, code: Vec<PathBuf>, actions: &mut Actions) {
        if self.waits_for_what_is_on_its_way(now, at, code.first(), actions) {
            add_new(&mut self.overtaking.code, code);
            return;
        }
        if matches!(self.build, Build::Running { .. }) {
            actions.push(Action::CancelBuild);
        }
        // What is on its way is old now. It is killed rather than drained: nobody was let in.
        self.wanted = None;
        self.abandon_starting(actions);
        self.crashes = 0;
        self.zygote_deaths = 0;
        add_new(&mut self.unbuilt, code);
        if self.settings.hold || self.current.is_none() {
            actions.push(Action::Hold);
        }
        let named = self.unbuilt.iter().take(FILES_NAMED_COUNT_MAX);
        let files = named.map(|file| file.display().to_string()).collect();
        actions.push(Action::Tell(BrowserEvent::Building { files }));
        actions.push(Action::SetState(self.waiting_state()));
        self.start_build(now, at, actions);
    }

    fn startup_changed(&mut self, now: Duration, at: Duration, files: Vec<PathBuf>, actions: &mut Actions) {
        if files.is_empty() {
            return;
        }
        self.restart_wanted = true;
        if matches!(self.build, Build::Running { .. }) {
            // The build's code will be started anew in any case.
            return;
        }
        // Code that would not start may do so with the new values; sources that do not build stay broken.
        let code = if self.build_broken { self.last_good.clone() } else { self.newest.clone() };
        let Some(code) = code else { return };
        if self.waits_for_what_is_on_its_way(now, at, files.first(), actions) {
            add_new(&mut self.overtaking.startup, files);
            return;
        }
        self.wanted = None;
        self.abandon_starting(actions);
        self.crashes = 0;
        self.zygote_deaths = 0;
        if self.settings.hold || self.current.is_none() {
            actions.push(Action::Hold);
        }
        actions.push(Action::SetState(self.waiting_state()));
        let journey = Journey::new(Cause::Change, files, at);
        self.want(Wanted { code, journey, second_try: false }, actions);
    }

    fn start_build(&mut self, now: Duration, begun: Duration, actions: &mut Actions) {
        self.builds += 1;
        let changed = self.unbuilt.clone();
        self.build = Build::Running { build: self.builds, begun, started: now, changed: changed.clone() };
        actions.push(Action::Build { build: self.builds, changed });
    }

    /// Takes the build that has just ended, if it is the one that runs.
    fn finish_build(&mut self, now: Duration, build: u64, report: BuildReport) -> Option<Journey> {
        match &mut self.build {
            Build::Running { build: running, begun, started, changed } if *running == build => {
                let cause =
                    if self.generations == 0 && changed.is_empty() { Cause::Start } else { Cause::Change };
                let mut journey = Journey::new(cause, std::mem::take(changed), *begun);
                journey.steps.notice_ms = millis(started.saturating_sub(*begun));
                journey.steps.build_ms = millis(now.saturating_sub(*started));
                journey.build = Some(report);
                self.build = Build::Idle;
                self.unbuilt.clear();
                Some(journey)
            }
            _ => None,
        }
    }

    fn built(&mut self, now: Duration, journey: Journey, code: Arc<Code>, actions: &mut Actions) {
        self.build_broken = false;
        self.newest = Some(Arc::clone(&code));
        let unchanged = self.current.as_ref().is_some_and(|current| {
            !code.build_id.is_empty()
                && current.code.build_id == code.build_id
                && current.code.origin == code.origin
        });
        if unchanged && !self.restart_wanted {
            self.clear_failure(actions);
            actions.push(Action::Release);
            actions.push(Action::SetState(ServerState::Ready));
            actions.push(Action::Tell(BrowserEvent::Recovered));
            let generation = self.current_generation();
            actions.push(Action::Report(journey.report(now, generation, Outcome::Unchanged)));
            self.settle(now, actions);
            return;
        }
        self.want(Wanted { code, journey, second_try: false }, actions);
    }

    fn build_failed(&mut self, now: Duration, journey: &Journey, failure: Failure, actions: &mut Actions) {
        // Cargo goes by what it knows of the files; those of a failed build stay unbuilt until one passes.
        self.unbuilt.clone_from(&journey.files);
        self.build_broken = true;
        self.fail(now, journey, failure, Outcome::BuildFailed, actions);
    }

    /// Somebody has removed what was built (`cargo clean`), and it is needed: it is built again.
    fn code_gone(&mut self, now: Duration, actions: &mut Actions) {
        // Its files do not come back by themselves, so nothing is forked from them again.
        self.last_good = None;
        self.newest = None;
        self.wanted = None;
        self.abandon_starting(actions);
        if matches!(self.zygote, Zygote::Preloading { .. }) {
            self.zygote = Zygote::None;
            actions.push(Action::KillZygote);
        }
        // What comes of the build is started even if it is what serves.
        self.restart_wanted = true;
        if matches!(self.build, Build::Running { .. }) {
            return;
        }
        actions
            .push(Action::Note("what was built is gone from the target directory: it is built again".into()));
        if self.settings.hold || self.current.is_none() {
            actions.push(Action::Hold);
        }
        actions.push(Action::SetState(self.waiting_state()));
        self.start_build(now, now, actions);
    }

    fn want(&mut self, wanted: Wanted, actions: &mut Actions) {
        match &self.zygote {
            Zygote::Ready { origin } if *origin == wanted.code.origin => {
                self.fork_when_free(wanted, actions);
            }
            Zygote::Preloading { origin } if *origin == wanted.code.origin => self.wanted = Some(wanted),
            _ => {
                let origin = wanted.code.origin.clone();
                self.wanted = Some(wanted);
                self.start_zygote(origin, actions);
            }
        }
    }

    fn start_zygote(&mut self, origin: Origin, actions: &mut Actions) {
        self.zygotes += 1;
        self.zygote = Zygote::Preloading { origin: origin.clone() };
        actions.push(Action::StartZygote { origin });
        actions.push(Action::Arm { timer: Timer::Preload(self.zygotes), after: PRELOAD_TIME_MAX });
    }

    /// Forks at once, or, where generations must not overlap, as soon as the others have ended.
    fn fork_when_free(&mut self, wanted: Wanted, actions: &mut Actions) {
        let alone = wanted.second_try || self.overlap == Overlap::Barred;
        if !alone || !self.any_lives() {
            self.fork(wanted, actions);
            return;
        }
        self.wanted = Some(wanted);
        actions.push(Action::Hold);
        if let Some(current) = self.current.take() {
            self.bring_back = Cause::Rollback;
            actions.push(Action::LoseCurrent);
            self.drain(current.generation, actions);
        }
    }

    /// True while a worker of an older generation runs.
    fn any_lives(&self) -> bool {
        self.current.is_some() || !self.draining.is_empty()
    }

    /// Forks what has waited for the others to end.
    fn fork_what_waited(&mut self, actions: &mut Actions) {
        if !self.any_lives()
            && matches!(self.zygote, Zygote::Ready { .. })
            && let Some(wanted) = self.wanted.take()
        {
            self.want(wanted, actions);
        }
    }

    fn fork(&mut self, wanted: Wanted, actions: &mut Actions) {
        self.generations += 1;
        let generation = self.generations;
        let Wanted { code, journey, second_try } = wanted;
        self.restart_wanted = false;
        actions.push(Action::Fork { generation, code: Arc::clone(&code) });
        actions.push(Action::Arm { timer: Timer::Start(generation), after: self.settings.start_time_max });
        self.starting =
            Some(Starting { generation, code, loaded: false, detached: false, second_try, journey });
    }

    fn zygote_ready(&mut self, actions: &mut Actions) {
        if let Zygote::Preloading { origin } = &self.zygote {
            self.zygote = Zygote::Ready { origin: origin.clone() };
            if let Some(wanted) = self.wanted.take() {
                self.want(wanted, actions);
            }
        }
    }

    fn zygote_failed(&mut self, now: Duration, message: String, actions: &mut Actions) {
        if !matches!(self.zygote, Zygote::Preloading { .. }) {
            return;
        }
        self.zygote = Zygote::None;
        actions.push(Action::KillZygote);
        if let Some(Wanted { journey, .. }) = self.wanted.take() {
            self.fail(now, &journey, Failure::start(message, ""), Outcome::StartFailed, actions);
        }
    }

    fn zygote_died(&mut self, now: Duration, lost: &[u64], actions: &mut Actions) {
        if self.zygote == Zygote::None {
            return;
        }
        let preloading = matches!(self.zygote, Zygote::Preloading { .. });
        self.zygote = Zygote::None;
        self.zygote_deaths += 1;
        if self.current.take_if(|current| lost.contains(&current.generation)).is_some() {
            actions.push(Action::LoseCurrent);
        }
        self.draining.retain(|draining| !lost.contains(&draining.generation));
        let begun = Journey::new(Cause::Zygote, Vec::new(), now);
        let wanted = match (self.wanted.take(), self.starting.take()) {
            (Some(wanted), _) => Some(wanted),
            (None, Some(starting)) => Some(Wanted {
                code: starting.code,
                journey: starting.journey,
                second_try: starting.second_try,
            }),
            // An earlier zygote's, it serves on; the next change starts another zygote.
            (None, None) if self.current.is_some() => return,
            (None, None) => {
                self.last_good.clone().map(|code| Wanted { code, journey: begun.clone(), second_try: false })
            }
        };
        if self.zygote_deaths > ZYGOTE_DEATHS_COUNT_MAX {
            let message = if preloading {
                "the zygote died each time while it loaded the app's dependencies"
            } else {
                "the zygote died again and again"
            };
            let hint = "the next change starts it again";
            let failure = Failure::start(message, hint);
            let journey = wanted.map_or(begun, |wanted| wanted.journey);
            self.fail(now, &journey, failure, Outcome::StartFailed, actions);
            return;
        }
        if let Some(wanted) = wanted {
            actions.push(Action::SetState(self.waiting_state()));
            self.want(wanted, actions);
        }
    }

    fn loaded(
        &mut self,
        now: Duration,
        generation: u64,
        build_id: &str,
        took: Duration,
        actions: &mut Actions,
    ) {
        let Some(starting) = self.starting_mut(generation) else { return };
        let steps = &mut starting.journey.steps;
        steps.load_ms = steps.load_ms.max(millis(took));
        starting.loaded = true;
        if starting.code.build_id == build_id {
            return;
        }
        let message = describe_other_code(build_id, &starting.code.build_id);
        actions.push(Action::KillWorker { generation });
        self.start_failed(now, generation, message, "save the file again".into(), actions);
    }

    fn ready(&mut self, now: Duration, generation: u64, took: Duration, actions: &mut Actions) {
        match &self.starting {
            Some(starting) if starting.generation == generation && starting.loaded => {}
            _ => return,
        }
        let Some(mut starting) = self.starting.take() else { return };
        starting.journey.steps.ready_ms = millis(took);
        let fresh = matches!(starting.journey.cause, Cause::Start | Cause::Change);
        self.zygote_deaths = 0;
        self.learn_from_start(&starting, fresh, actions);
        // A crashed generation can come back while newer code is being built: what waits, waits for that.
        let building = matches!(self.build, Build::Running { .. });
        let build_id = starting.code.build_id.clone();
        let release = !(building && self.settings.hold);
        let files = starting.journey.files.clone();
        actions.push(Action::Swap { generation, build_id, fresh, release, files });
        self.last_good = Some(Arc::clone(&starting.code));
        let serving = Serving { generation, code: starting.code, since: now, replacing: Vec::new() };
        let old = self.current.replace(serving);
        if fresh && !building && !self.build_broken {
            self.clear_failure(actions);
        }
        let state = if building {
            ServerState::Building
        } else if self.failed {
            ServerState::Failed
        } else {
            ServerState::Ready
        };
        actions.push(Action::SetState(state));
        if let Some(old) = old {
            self.drain(old.generation, actions);
        }
        actions.push(Action::Report(starting.journey.report(now, generation, Outcome::Ok)));
        self.settle(now, actions);
    }

    fn learn_from_start(&mut self, starting: &Starting, fresh: bool, actions: &mut Actions) {
        if starting.second_try {
            self.overlap = Overlap::Barred;
            let note = "it starts when it is alone: from now on the old code ends before the new one starts \
                        (as with --no-overlap)";
            actions.push(Action::Note(note.into()));
        } else if fresh && self.overlap == Overlap::Blameless {
            self.overlap = Overlap::Tried;
        }
    }

    fn start_failed(
        &mut self,
        now: Duration,
        generation: u64,
        message: String,
        hint: String,
        actions: &mut Actions,
    ) {
        if self.starting_mut(generation).is_none() {
            return;
        }
        let Some(starting) = self.starting.take() else { return };
        if starting.second_try {
            self.overlap = Overlap::Blameless;
        }
        // It usually exits by itself; what does not is killed.
        self.draining.push(Draining { generation, phase: DrainPhase::Stopping });
        actions.push(Action::Arm { timer: Timer::Stop(generation), after: STOP_TIME_MAX });
        let hint = self.with_hint_at_workers(hint);
        let failure = Failure::Start { message, hint, generation, output: String::new() };
        self.fail(now, &starting.journey, failure, Outcome::StartFailed, actions);
        let is_brought_back = matches!(starting.journey.cause, Cause::Crash | Cause::Rollback | Cause::Retry);
        if is_brought_back && self.crash_row() <= CRASHES_IN_A_ROW_COUNT_MAX {
            self.crashes += 1;
            self.bring_back = Cause::Retry;
            self.arm_refork(generation, actions);
        }
    }

    /// Where each of several workers starts the app, it may be the app's second start that failed.
    fn with_hint_at_workers(&self, hint: String) -> String {
        let workers = self.settings.workers;
        if workers == 1 {
            return hint;
        }
        let cause = format!(
            "{workers} processes of it start (--workers); one that can only run once needs --workers 1"
        );
        if hint.is_empty() { cause } else { format!("{hint}; {cause}") }
    }

    fn ended(&mut self, now: Duration, generation: u64, end: End, actions: &mut Actions) {
        self.draining.retain(|draining| draining.generation != generation);
        if self.starting_mut(generation).is_some() {
            self.ended_at_start(now, generation, &end, actions);
            return;
        }
        let Some(current) = self.current.take_if(|current| current.generation == generation) else {
            self.fork_what_waited(actions);
            return;
        };
        self.bring_back = Cause::Crash;
        actions.push(Action::LoseCurrent);
        actions.push(Action::ReportCrash { end: end.clone() });
        self.count_crash(now, current.since);
        if self.starting.is_some() || self.wanted.is_some() {
            // Its successor is on its way already.
            self.fork_what_waited(actions);
            return;
        }
        if self.crash_row() > CRASHES_IN_A_ROW_COUNT_MAX {
            self.failed = true;
            let failure = Failure::crash(end, self.crashes, generation);
            actions.push(Action::SetFailure(Some(failure.clone())));
            actions.push(Action::SetState(self.settled_state()));
            actions.push(Action::Tell(BrowserEvent::Failed { failure }));
            if matches!(self.build, Build::Idle) {
                actions.push(Action::Release);
            }
            return;
        }
        actions.push(Action::SetState(self.waiting_state()));
        if self.crash_row() == 1 {
            self.refork(now, actions);
        } else {
            self.arm_refork(generation, actions);
        }
    }

    fn count_crash(&mut self, now: Duration, since: Duration) {
        let lived = now.saturating_sub(since);
        self.crashes = if lived >= CRASH_ROW_TIME { 1 } else { self.crashes + 1 };
    }

    /// How often each worker has crashed in a row: several may do so at once, for the same reason.
    fn crash_row(&self) -> u32 {
        self.crashes.div_ceil(self.settings.workers)
    }

    /// One of several workers is gone, and the others serve on.
    fn worker_ended(&mut self, now: Duration, generation: u64, end: End, actions: &mut Actions) {
        let Some(since) = self.current_if(generation).map(|current| current.since) else { return };
        actions.push(Action::ReportCrash { end });
        self.count_crash(now, since);
        match self.crash_row() {
            1 => self.replace(generation, actions),
            row if row <= CRASHES_IN_A_ROW_COUNT_MAX => {
                let after = self.crash_backoff();
                actions.push(Action::Arm { timer: Timer::Replace(generation), after });
            }
            _ => actions.push(Action::Note(format!(
                "workers crashed {} times in a row: this one is not replaced before the next change",
                self.crashes
            ))),
        }
    }

    /// Starts a worker in the place of one that is gone.
    fn replace(&mut self, generation: u64, actions: &mut Actions) {
        let Some(current) = self.current.as_mut().filter(|current| current.generation == generation) else {
            return;
        };
        self.replacements += 1;
        let replacement = self.replacements;
        current.replacing.push(replacement);
        actions.push(Action::Replace { generation, replacement });
        let timer = Timer::Replacement(replacement);
        actions.push(Action::Arm { timer, after: self.settings.start_time_max });
    }

    fn replacement_loaded(&mut self, replacement: u64, build_id: &str, actions: &mut Actions) {
        let Some(current) = &self.current else { return };
        let built = current.code.build_id.clone();
        if built != build_id && self.take_replacement(replacement).is_some() {
            let message = describe_other_code(build_id, &built);
            actions.push(Action::KillReplacement { replacement, message });
        }
    }

    fn replacement_ready(&mut self, now: Duration, replacement: u64, actions: &mut Actions) {
        let Some(current) = self.take_replacement(replacement) else { return };
        current.since = now;
        let awaits_newer =
            matches!(self.build, Build::Running { .. }) || self.starting.is_some() || self.wanted.is_some();
        actions.push(Action::Join { replacement, release: !(awaits_newer && self.settings.hold) });
    }

    /// Takes a replacement that is on its way, if the generation that it is for serves still.
    fn take_replacement(&mut self, replacement: u64) -> Option<&mut Serving> {
        let current = self.current.as_mut()?;
        let index = current.replacing.iter().position(|number| *number == replacement)?;
        current.replacing.swap_remove(index);
        Some(current)
    }

    fn current_if(&self, generation: u64) -> Option<&Serving> {
        self.current.as_ref().filter(|current| current.generation == generation)
    }

    fn ended_at_start(&mut self, now: Duration, generation: u64, end: &End, actions: &mut Actions) {
        if let Some(wanted) = self.take_for_second_try(generation) {
            actions.push(Action::Note(format!(
                "{} while the old code was running beside it; it is tried once more alone",
                Self::describe_end(AppKind::Plain, end)
            )));
            self.want(wanted, actions);
            return;
        }
        let Some(starting) = self.starting_mut(generation) else { return };
        let (kind, detached) = (starting.code.kind, starting.detached);
        let exited =
            "arguments for it go after `--`; with --stdin it reads what devhost reads, and has its terminal";
        let (message, hint) = match (kind, end) {
            (AppKind::Plain, _) if detached => (
                "the app has become a daemon: it forked and ended before it listened".into(),
                "devhost needs it in the foreground; daemons often have an option for that, which goes after `--`, \
                 such as `devhost run -- --foreground`",
            ),
            (AppKind::Plain, End::Exited { code: 0 }) => (
                Self::describe_end(kind, end),
                "devhost expects a server: a program that binds a TCP port, serves HTTP on it, and neither ends nor goes \
                 to the background",
            ),
            // What panicked has said why.
            (AppKind::Plain, End::Exited { code }) if *code != PANIC_EXIT_CODE => {
                (Self::describe_end(kind, end), exited)
            }
            (AppKind::Plain | AppKind::Plugin, _) => (Self::describe_end(kind, end), ""),
        };
        self.start_failed(now, generation, message, hint.into(), actions);
        self.draining.retain(|draining| draining.generation != generation);
        self.fork_what_waited(actions);
    }

    fn describe_end(kind: AppKind, end: &End) -> String {
        match (kind, end) {
            (AppKind::Plain, End::Exited { code }) => {
                format!("the app exited with code {code} before it listened")
            }
            (AppKind::Plain, _) => format!("{end} before it listened"),
            (AppKind::Plugin, _) => format!("{end} before it was ready"),
        }
    }

    /// Takes what has just died at its start, if it may have died of the generation beside it.
    fn take_for_second_try(&mut self, generation: u64) -> Option<Wanted> {
        if self.overlap != Overlap::Tried || !self.any_lives() {
            return None;
        }
        let starting = self.starting.take_if(|starting| {
            starting.generation == generation
                && starting.code.kind == AppKind::Plain
                && !starting.second_try
                && !starting.detached
        })?;
        Some(Wanted { code: starting.code, journey: starting.journey, second_try: true })
    }

    fn arm_refork(&self, generation: u64, actions: &mut Actions) {
        let after = self.crash_backoff();
        actions.push(Action::Arm { timer: Timer::Refork(generation), after });
    }

    fn crash_backoff(&self) -> Duration {
        CRASH_BACKOFF_TIME * 2u32.pow(self.crash_row().saturating_sub(2))
    }

    /// Forks what was good last, after a crash or a start that failed.
    fn refork(&mut self, now: Duration, actions: &mut Actions) {
        if self.current.is_some() || self.starting.is_some() || self.wanted.is_some() {
            return;
        }
        if let Some(code) = self.last_good.clone() {
            let journey = Journey::new(self.bring_back, Vec::new(), now);
            self.want(Wanted { code, journey, second_try: false }, actions);
        }
    }

    /// The newest code is not being served, and everybody hears why. What serves goes on.
    fn fail(
        &mut self,
        now: Duration,
        journey: &Journey,
        failure: Failure,
        outcome: Outcome,
        actions: &mut Actions,
    ) {
        self.failed = true;
        actions.push(Action::SetFailure(Some(failure.clone())));
        actions.push(Action::SetState(ServerState::Failed));
        actions.push(Action::Tell(BrowserEvent::Failed { failure }));
        let generation = self.current_generation();
        actions.push(Action::Report(journey.report(now, generation, outcome)));
        // The last good generation crashed while its successor was tried, or made room for it: bring it back.
        let may_refork = journey.cause == Cause::Change && self.zygote_deaths <= ZYGOTE_DEATHS_COUNT_MAX;
        if may_refork && matches!(self.build, Build::Idle) {
            self.refork(now, actions);
        }
        let successor = self.starting.is_some() || self.wanted.is_some();
        if self.current.is_some() || !successor {
            actions.push(Action::Release);
        }
        self.settle(now, actions);
    }

    fn clear_failure(&mut self, actions: &mut Actions) {
        if self.failed {
            self.failed = false;
            actions.push(Action::SetFailure(None));
        }
    }

    fn drain(&mut self, generation: u64, actions: &mut Actions) {
        self.draining.push(Draining { generation, phase: DrainPhase::Finishing });
        actions.push(Action::Drain { generation });
        actions.push(Action::Arm { timer: Timer::Drain(generation), after: self.settings.drain_time_max });
        let excess = self.draining.len().saturating_sub(DRAINING_COUNT_MAX);
        let oldest: Vec<u64> =
            self.draining.iter().take(excess).map(|draining| draining.generation).collect();
        for generation in oldest {
            self.stop_worker(generation, StopReason::Crowded, actions);
        }
    }

    fn idle(&mut self, generation: u64, actions: &mut Actions) {
        if self.drain_phase(generation) == Some(DrainPhase::Finishing) {
            self.close_streams(generation, actions);
        }
    }

    fn close_streams(&mut self, generation: u64, actions: &mut Actions) {
        self.set_drain_phase(generation, DrainPhase::Closing);
        actions.push(Action::CloseStreams { generation });
        actions.push(Action::Arm { timer: Timer::Close(generation), after: CLOSE_TIME_MAX });
    }

    fn empty(&mut self, generation: u64, actions: &mut Actions) {
        if matches!(self.drain_phase(generation), Some(DrainPhase::Finishing | DrainPhase::Closing)) {
            self.stop_worker(generation, StopReason::Replaced, actions);
        }
    }

    fn stop_worker(&mut self, generation: u64, reason: StopReason, actions: &mut Actions) {
        if matches!(self.drain_phase(generation), None | Some(DrainPhase::Stopping)) {
            return;
        }
        self.set_drain_phase(generation, DrainPhase::Stopping);
        actions.push(Action::CloseStreams { generation });
        actions.push(Action::StopWorker { generation, reason });
        actions.push(Action::Arm { timer: Timer::Stop(generation), after: STOP_TIME_MAX });
    }

    fn timer(&mut self, now: Duration, timer: Timer, actions: &mut Actions) {
        match timer {
            Timer::Start(generation) => {
                if let Some(starting) = self.starting_mut(generation) {
                    let (step, hint) = match (starting.loaded, starting.code.kind) {
                        (true, AppKind::Plain) => (
                            "listen",
                            "devhost expects it to bind a TCP port and to serve HTTP on it; if it needs more time, set --start-timeout-ms",
                        ),
                        (true, AppKind::Plugin) => ("start", START_TIME_HINT),
                        (false, _) => ("load", START_TIME_HINT),
                    };
                    let message = format!(
                        "the app did not {step} within {:.1} s",
                        self.settings.start_time_max.as_secs_f64()
                    );
                    actions.push(Action::KillWorker { generation });
                    self.start_failed(now, generation, message, hint.into(), actions);
                }
            }
            Timer::Drain(generation) => self.idle(generation, actions),
            Timer::Close(generation) => {
                if self.drain_phase(generation) == Some(DrainPhase::Closing) {
                    self.stop_worker(generation, StopReason::Replaced, actions);
                }
            }
            Timer::Stop(generation) => {
                if self.drain_phase(generation) == Some(DrainPhase::Stopping) {
                    actions.push(Action::KillWorker { generation });
                }
            }
            Timer::Refork(_) => self.refork(now, actions),
            Timer::Echo(answer) => self.answer_echo(now, answer, actions),
            Timer::Replace(generation) => self.replace(generation, actions),
            Timer::Replacement(replacement) => {
                if self.take_replacement(replacement).is_some() {
                    let limit = self.settings.start_time_max.as_secs_f64();
                    let message = format!("it was not ready within {limit:.1} s");
                    actions.push(Action::KillReplacement { replacement, message });
                }
            }
            Timer::Preload(zygote) => {
                if zygote == self.zygotes {
                    self.zygote_failed(now, "the app's dependencies took too long to load".into(), actions);
                }
            }
            Timer::Shutdown => {}
        }
    }

    fn stop(&mut self, actions: &mut Actions) {
        self.stopping = true;
        if matches!(self.build, Build::Running { .. }) {
            self.build = Build::Idle;
            actions.push(Action::CancelBuild);
        }
        self.wanted = None;
        // A plain app that starts is asked like any other. A plugin is not, since it cannot listen yet.
        if let Some(starting) = self.starting.take_if(|starting| starting.code.kind == AppKind::Plain) {
            self.draining.push(Draining { generation: starting.generation, phase: DrainPhase::Finishing });
        }
        self.abandon_starting(actions);
        if let Some(current) = self.current.take() {
            self.draining.push(Draining { generation: current.generation, phase: DrainPhase::Finishing });
        }
        let generations: Vec<u64> = self.draining.iter().map(|draining| draining.generation).collect();
        for generation in generations {
            self.stop_worker(generation, StopReason::Shutdown, actions);
        }
        actions.push(Action::Arm { timer: Timer::Shutdown, after: self.settings.stop_time_max });
        self.exit_when_over(actions);
    }

    fn handle_while_stopping(&mut self, event: Event, actions: &mut Actions) {
        match event {
            Event::Ended { generation, .. } => {
                self.draining.retain(|draining| draining.generation != generation);
                self.exit_when_over(actions);
            }
            Event::ZygoteDied { lost } => {
                self.draining.retain(|draining| !lost.contains(&draining.generation));
                self.exit_when_over(actions);
            }
            // A second Ctrl-C is an order, too.
            Event::Timer(Timer::Shutdown) | Event::Stop => {
                self.draining.clear();
                self.exit_when_over(actions);
            }
            _ => {}
        }
    }

    fn exit_when_over(&self, actions: &mut Actions) {
        if self.draining.is_empty() {
            actions.push(Action::Exit);
        }
    }

    fn abandon_starting(&mut self, actions: &mut Actions) {
        if let Some(starting) = self.starting.take() {
            let generation = starting.generation;
            self.draining.push(Draining { generation, phase: DrainPhase::Stopping });
            actions.push(Action::KillWorker { generation });
            actions.push(Action::Arm { timer: Timer::Stop(generation), after: STOP_TIME_MAX });
        }
    }

    fn starting_mut(&mut self, generation: u64) -> Option<&mut Starting> {
        self.starting.as_mut().filter(|starting| starting.generation == generation)
    }

    fn drain_phase(&self, generation: u64) -> Option<DrainPhase> {
        self.draining.iter().find(|draining| draining.generation == generation).map(|draining| draining.phase)
    }

    fn set_drain_phase(&mut self, generation: u64, phase: DrainPhase) {
        for draining in self.draining.iter_mut().filter(|draining| draining.generation == generation) {
            draining.phase = phase;
        }
    }

    fn current_generation(&self) -> u64 {
        self.current.as_ref().map_or(0, |current| current.generation)
    }

    fn waiting_state(&self) -> ServerState {
        if self.last_good.is_some() { ServerState::Building } else { ServerState::Starting }
    }

    fn settled_state(&self) -> ServerState {
        if matches!(self.build, Build::Running { .. }) { self.waiting_state() } else { ServerState::Failed }
    }
}

impl Journey {
    /// A journey without a build.
    fn new(cause: Cause, files: Vec<PathBuf>, begun: Duration) -> Self {
        Self { cause, files, begun, steps: Steps::default(), build: None }
    }

    fn report(&self, now: Duration, generation: u64, outcome: Outcome) -> Reload {
        let total_ms = millis(now.saturating_sub(self.begun));
        let mut steps = self.steps;
        steps.other_ms = (total_ms - steps.sum_ms()).max(0.0);
        Reload {
            generation,
            cause: self.cause,
            files: self.files.iter().take(FILES_NAMED_COUNT_MAX).cloned().map(Into::into).collect(),
            files_left_out: self.files.len().saturating_sub(FILES_NAMED_COUNT_MAX),
            outcome,
            total_ms,
            steps,
            build: self.build.clone(),
        }
    }
}

/// Adds the files that are not there yet.
fn add_new(files: &mut Vec<PathBuf>, more: Vec<PathBuf>) {
    for file in more {
        if !files.contains(&file) {
            files.push(file);
        }
    }
}

fn describe_other_code(loaded: &str, built: &str) -> String {
    format!("the worker loaded other code (build id {loaded}) than was built ({built})")
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
