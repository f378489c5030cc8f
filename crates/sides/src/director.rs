//! Decides which process runs when. A state machine: an [`Event`] goes in, [`Action`]s come out; no I/O, no clock.
//!
//! Processes start in the order of `devhost.toml`. One that runs to its end before the build (a *step*) waits until all
//! above it are ready, and those below it wait until it has succeeded. So a database can be started, then migrated, and
//! then used. The first build waits for the steps, and the first start of the app for those that say when they are ready,
//! each for [`READY_TIME_MAX`] at most.
//!
//! A step that has failed runs again before the next build. Another process that has ended is started again after a pause
//! ([`Backoff`]), unless it says `restart = false`.

use std::time::Duration;

use devhost_model::{Error, Failure, SideEnd, SideProcess, SideState, SideStatus};
use devhost_terminal::Level;

use crate::backoff::Backoff;
use crate::words;

/// How long a process is waited for until it is ready.
pub(crate) const READY_TIME_MAX: Duration = Duration::from_secs(30);

/// How long a step may take.
const STEP_TIME_MAX: Duration = Duration::from_secs(30 * 60);

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// These processes are wanted, and no others.
    Apply(Vec<SideProcess>),
    /// A build is about to begin.
    BuildBegins,
    /// A process runs.
    Started { run: u64, pid: i32 },
    /// A process is ready.
    Ready { run: u64 },
    /// A process has ended, and with it all that it had started.
    Ended { run: u64, end: SideEnd, last_lines: Vec<String> },
    /// A timer fired.
    Timer(Timer),
    /// devhost ends.
    Stop,
}

/// What a timer is for. One that has lost its purpose is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The process of this ended run is started again.
    Restart { run: u64 },
    /// Nobody waits for this entry any longer.
    Ready { entry: u64 },
    /// The step must have ended by now.
    Step { run: u64 },
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Start a process.
    Start { run: u64, process: SideProcess, place: usize },
    /// Ask a process to end.
    End { run: u64 },
    /// Kill a process.
    Kill { run: u64 },
    /// Fire a timer later.
    Arm { timer: Timer, after: Duration },
    /// Tell the user.
    Tell { name: String, level: Level, message: String },
    /// Tell the user what to mend.
    Complain(Error),
}

type Actions = Vec<Action>;

/// Whether a build may begin.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Preparation {
    /// Not yet: these are waited for.
    Pending(Vec<String>),
    /// It may.
    Done,
    /// A step has failed.
    Failed(Failure),
}

#[derive(Debug, Clone, PartialEq)]
enum Phase {
    /// It waits for those above it, or for one of its name to end.
    Waiting,
    Starting,
    Running {
        pid: i32,
    },
    Ready {
        pid: i32,
    },
    BackingOff {
        until: Duration,
    },
    Ended,
    Failed(Option<Failure>),
    /// It is being ended.
    Ending,
}

impl Phase {
    fn is_alive(&self) -> bool {
        matches!(self, Self::Starting | Self::Running { .. } | Self::Ready { .. } | Self::Ending)
    }
}

#[derive(Debug)]
struct Entry {
    number: u64,
    process: SideProcess,
    phase: Phase,
    /// Since when it has been in this phase.
    since: Duration,
    /// Its last run; 0 before the first.
    run: u64,
    /// When that run was started.
    started: Duration,
    backoff: Backoff,
    restarts: u32,
    /// Somebody may wait until it is ready.
    is_awaited: bool,
    /// Its time is up.
    is_timed_out: bool,
    last_end: Option<SideEnd>,
    last_lines: Vec<String>,
}

/// All side processes.
#[derive(Debug, Default)]
pub(crate) struct Director {
    /// In the order of `devhost.toml`.
    entries: Vec<Entry>,
    /// Those that are not wanted any more, until they have ended.
    leaving: Vec<Entry>,
    /// How many entries and runs there have been.
    count: u64,
    /// A build waits for the steps, and tells of the one that fails.
    build_waits: bool,
    stopping: bool,
}

impl Director {
    pub(crate) fn handle(&mut self, now: Duration, event: Event) -> Actions {
        let mut actions = Vec::new();
        match event {
            Event::Apply(processes) => self.apply(now, processes, &mut actions),
            Event::BuildBegins => self.on_build_begins(now),
            Event::Started { run, pid } => self.on_started(now, run, pid, &mut actions),
            Event::Ready { run } => self.on_ready(now, run, &mut actions),
            Event::Ended { run, end, last_lines } => self.on_ended(now, run, end, last_lines, &mut actions),
            Event::Timer(timer) => self.on_timer(now, timer, &mut actions),
            Event::Stop => self.stop(now, &mut actions),
        }
        self.advance(now, &mut actions);
        actions
    }

    /// Returns whether a build may begin.
    pub(crate) fn preparation(&self) -> Preparation {
        let mut unready = Vec::new();
        let mut pending = None;
        for Entry { process, phase, is_awaited, .. } in &self.entries {
            match phase {
                Phase::Failed(Some(failure)) => return Preparation::Failed(failure.clone()),
                Phase::Waiting if process.before_build && !unready.is_empty() => {
                    pending.get_or_insert_with(|| unready.clone());
                }
                phase if process.before_build && *phase != Phase::Ended => {
                    pending.get_or_insert_with(|| vec![process.name.clone()]);
                }
                _ if *is_awaited => unready.push(process.name.clone()),
                _ => {}
            }
        }
        pending.map_or(Preparation::Done, Preparation::Pending)
    }

    /// Returns the processes that the app's first start waits for.
    pub(crate) fn awaited(&self) -> Vec<String> {
        self.entries.iter().filter(|entry| entry.is_awaited).map(|entry| entry.process.name.clone()).collect()
    }

    /// Returns true if no process is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.leaving.is_empty() && self.entries.iter().all(|entry| !entry.phase.is_alive())
    }

    pub(crate) fn longest_name(&self) -> usize {
        self.entries.iter().map(|entry| entry.process.name.chars().count()).max().unwrap_or(0)
    }

    /// Returns the processes as the status document has them. `unix_ms` converts a time.
    pub(crate) fn status(&self, unix_ms: impl Fn(Duration) -> u64) -> Vec<SideStatus> {
        self.entries.iter().chain(&self.leaving).map(|entry| entry.status(&unix_ms)).collect()
    }

    /// Returns one process as the status document has it.
    pub(crate) fn status_of(&self, name: &str, unix_ms: impl Fn(Duration) -> u64) -> Option<SideStatus> {
        let mut all = self.entries.iter().chain(&self.leaving);
        all.find(|entry| entry.process.name == name).map(|entry| entry.status(&unix_ms))
    }

    fn apply(&mut self, now: Duration, processes: Vec<SideProcess>, actions: &mut Actions) {
        if self.stopping {
            return;
        }
        let mut before = std::mem::take(&mut self.entries);
        for process in processes {
            let same = before.iter().position(|entry| entry.process == process);
            let entry = match same {
                Some(at) => before.remove(at),
                None => {
                    self.count += 1;
                    Entry::new(self.count, process, now)
                }
            };
            self.entries.push(entry);
        }
        for mut entry in before {
            if entry.phase.is_alive() {
                actions.push(Action::End { run: entry.run });
                entry.set(now, Phase::Ending);
                self.leaving.push(entry);
            }
        }
    }

    fn on_build_begins(&mut self, now: Duration) {
        self.build_waits = true;
        for step in self.entries.iter_mut().filter(|entry| entry.process.before_build) {
            if matches!(step.phase, Phase::Failed(_)) {
                step.set(now, Phase::Waiting);
            }
        }
    }

    fn on_started(&mut self, now: Duration, run: u64, pid: i32, actions: &mut Actions) {
        let Some(entry) = self.entry_of(run) else { return };
        entry.set(now, Phase::Running { pid });
        let message = words::started(&entry.process.name, pid);
        actions.push(entry.tell(Level::Detail, message));
    }

    fn on_ready(&mut self, now: Duration, run: u64, actions: &mut Actions) {
        let Some(entry) = self.entry_of(run) else { return };
        let Phase::Running { pid } = entry.phase else { return };
        entry.is_awaited = false;
        let message = words::ready(&entry.process.name, now.saturating_sub(entry.started));
        entry.set(now, Phase::Ready { pid });
        actions.push(entry.tell(Level::Note, message));
    }

    fn on_ended(
        &mut self,
        now: Duration,
        run: u64,
        end: SideEnd,
        last_lines: Vec<String>,
        actions: &mut Actions,
    ) {
        if let Some(at) = self.leaving.iter().position(|entry| entry.run == run) {
            let entry = self.leaving.remove(at);
            let message = words::over(&entry.process.name, &end, now.saturating_sub(entry.started));
            actions.push(entry.tell(Level::Detail, message));
            return;
        }
        let (stopping, build_waits) = (self.stopping, self.build_waits);
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.run == run && entry.phase.is_alive())
        else {
            return;
        };
        let end = if std::mem::take(&mut entry.is_timed_out) { SideEnd::TimedOut } else { end };
        entry.last_end = Some(end.clone());
        entry.last_lines = last_lines;
        if stopping {
            entry.set(now, Phase::Ended);
        } else if entry.process.before_build {
            entry.step_ended(now, &end, build_waits, actions);
        } else {
            entry.died(now, &end, actions);
        }
    }

    fn on_timer(&mut self, now: Duration, timer: Timer, actions: &mut Actions) {
        match timer {
            Timer::Restart { run } => {
                let is_due =
                    |entry: &&mut Entry| entry.run == run && matches!(entry.phase, Phase::BackingOff { .. });
                if let Some(entry) = self.entries.iter_mut().find(is_due) {
                    entry.restarts += 1;
                    entry.set(now, Phase::Waiting);
                }
            }
            Timer::Ready { entry } => {
                let waits = |candidate: &&mut Entry| candidate.number == entry && candidate.is_awaited;
                if let Some(entry) = self.entries.iter_mut().find(waits) {
                    entry.is_awaited = false;
                    let message = words::not_ready(&entry.process, READY_TIME_MAX);
                    actions.push(entry.tell(Level::Warning, message));
                }
            }
            Timer::Step { run } => {
                if let Some(entry) = self.entry_of(run) {
                    entry.is_timed_out = true;
                    actions.push(Action::Kill { run });
                }
            }
        }
    }

    fn stop(&mut self, now: Duration, actions: &mut Actions) {
        self.stopping = true;
        for entry in &mut self.entries {
            if entry.phase.is_alive() {
                actions.push(Action::End { run: entry.run });
                entry.set(now, Phase::Ending);
            }
        }
    }

    /// Starts what can start now.
    fn advance(&mut self, now: Duration, actions: &mut Actions) {
        if self.stopping {
            return;
        }
        let (mut steps_are_done, mut all_are_ready) = (true, true);
        for at in 0..self.entries.len() {
            let name = &self.entries[at].process.name;
            let is_free = self.leaving.iter().all(|entry| entry.process.name != *name);
            let entry = &mut self.entries[at];
            let is_step = entry.process.before_build;
            if entry.phase == Phase::Waiting && is_free && steps_are_done && (all_are_ready || !is_step) {
                self.count += 1;
                entry.start(now, self.count, at, actions);
            }
            if is_step {
                steps_are_done &= entry.phase == Phase::Ended;
            } else {
                all_are_ready &= !entry.is_awaited;
            }
        }
        if !matches!(self.preparation(), Preparation::Pending(_)) {
            self.build_waits = false;
        }
    }

    /// Returns the entry of a process that is alive and wanted.
    fn entry_of(&mut self, run: u64) -> Option<&mut Entry> {
        self.entries
            .iter_mut()
            .find(|entry| entry.run == run && entry.phase.is_alive() && entry.phase != Phase::Ending)
    }
}

impl Entry {
    fn new(number: u64, process: SideProcess, now: Duration) -> Self {
        Self {
            number,
            is_awaited: process.ready_when.is_some() && !process.before_build,
            process,
            phase: Phase::Waiting,
            since: now,
            run: 0,
            started: now,
            backoff: Backoff::default(),
            restarts: 0,
            is_timed_out: false,
            last_end: None,
            last_lines: Vec::new(),
        }
    }

    fn set(&mut self, now: Duration, phase: Phase) {
        self.phase = phase;
        self.since = now;
    }

    fn start(&mut self, now: Duration, run: u64, place: usize, actions: &mut Actions) {
        if self.run == 0 && self.is_awaited {
            actions.push(Action::Arm { timer: Timer::Ready { entry: self.number }, after: READY_TIME_MAX });
        }
        self.run = run;
        self.started = now;
        self.set(now, Phase::Starting);
        actions.push(Action::Start { run, process: self.process.clone(), place });
        if self.process.before_build {
            actions.push(Action::Arm { timer: Timer::Step { run }, after: STEP_TIME_MAX });
        }
    }

    fn step_ended(&mut self, now: Duration, end: &SideEnd, build_waits: bool, actions: &mut Actions) {
        let took = now.saturating_sub(self.started);
        if end.is_success() {
            self.set(now, Phase::Ended);
            actions.push(self.tell(Level::Note, words::done(&self.process.name, took)));
            return;
        }
        let told = words::over(&self.process.name, end, took);
        let (message, hint) = words::unusable(&self.process, end)
            .unwrap_or_else(|| (format!("it {end} after {}", words::time(took)), String::new()));
        let again = "it runs again before the next build, when a file has changed";
        let failure = Failure::Process {
            name: self.process.name.clone(),
            message,
            hint: if hint.is_empty() { again.to_owned() } else { format!("{hint}; {again}") },
            output: self.last_lines.join("\n"),
        };
        self.set(now, Phase::Failed(Some(failure)));
        // Otherwise the build tells.
        if !build_waits {
            actions.push(self.tell(Level::Warning, format!("{told}; {again}")));
        }
    }

    fn died(&mut self, now: Duration, end: &SideEnd, actions: &mut Actions) {
        let lived = now.saturating_sub(self.started);
        let name = self.process.name.clone();
        let unusable = words::unusable(&self.process, end);
        if unusable.is_some() || !self.process.restart {
            self.is_awaited = false;
        }
        if !self.process.restart {
            let phase = if end.is_success() { Phase::Ended } else { Phase::Failed(None) };
            self.set(now, phase);
            actions.push(match unusable {
                Some((message, hint)) => Action::Complain(Error::mistake(message, hint)),
                None => {
                    let level = if end.is_success() { Level::Note } else { Level::Warning };
                    self.tell(level, words::over(&name, end, lived))
                }
            });
            return;
        }
        let next = self.backoff.died(lived);
        self.set(now, Phase::BackingOff { until: now + next.pause });
        actions.push(Action::Arm { timer: Timer::Restart { run: self.run }, after: next.pause });
        let message = words::died(&name, end, lived, next.in_a_row, next.pause);
        match unusable {
            // Somebody may be installing it.
            Some((message, hint)) if next.in_a_row == 1 => {
                let hint = format!("{hint}; it is tried again and again meanwhile");
                actions.push(Action::Complain(Error::mistake(message, hint)));
            }
            None if next.is_told => actions.push(self.tell(Level::Warning, message)),
            _ => actions.push(self.tell(Level::Detail, message)),
        }
    }

    fn tell(&self, level: Level, message: String) -> Action {
        Action::Tell { name: self.process.name.clone(), level, message }
    }

    fn status(&self, unix_ms: &impl Fn(Duration) -> u64) -> SideStatus {
        let state = match self.phase {
            Phase::Waiting => SideState::Waiting,
            Phase::Starting => SideState::Starting,
            Phase::Running { .. } => SideState::Running,
            Phase::Ready { .. } => SideState::Ready,
            Phase::BackingOff { .. } => SideState::BackingOff,
            Phase::Ended => SideState::Ended,
            Phase::Failed(_) => SideState::Failed,
            Phase::Ending => SideState::Ending,
        };
        SideStatus {
            name: self.process.name.clone(),
            state,
            before_build: self.process.before_build,
            pid: match self.phase {
                Phase::Running { pid } | Phase::Ready { pid } => Some(pid),
                _ => None,
            },
            since_unix_ms: unix_ms(self.since),
            next_start_unix_ms: match self.phase {
                Phase::BackingOff { until } => Some(unix_ms(until)),
                _ => None,
            },
            restarts: self.restarts,
            last_end: self.last_end.clone(),
            last_lines: self.last_lines.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use devhost_model::{ReadyWhen, SideCommand};

    use super::*;

    const S: Duration = Duration::from_secs(1);

    struct Bench {
        director: Director,
        now: Duration,
    }

    fn process(name: &str) -> SideProcess {
        SideProcess {
            name: name.into(),
            command: SideCommand::Shell("run".into()),
            directory: PathBuf::from("/app"),
            env: Vec::new(),
            ready_when: None,
            before_build: false,
            restart: true,
        }
    }

    fn step(name: &str) -> SideProcess {
        SideProcess { before_build: true, restart: false, ..process(name) }
    }

    fn with_port(name: &str) -> SideProcess {
        SideProcess { ready_when: Some(ReadyWhen::Port(5432)), ..process(name) }
    }

    fn exited(code: i32) -> SideEnd {
        SideEnd::Exited { code }
    }

    impl Bench {
        fn new(processes: &[SideProcess]) -> (Self, Actions) {
            let mut bench = Self { director: Director::default(), now: S };
            let actions = bench.send(Event::Apply(processes.to_vec()));
            (bench, actions)
        }

        fn send(&mut self, event: Event) -> Actions {
            self.director.handle(self.now, event)
        }

        fn run_of(&self, name: &str) -> u64 {
            let mut all = self.director.entries.iter();
            all.find(|entry| entry.process.name == name).unwrap().run
        }

        fn started(&mut self, name: &str) -> Actions {
            let run = self.run_of(name);
            self.send(Event::Started { run, pid: 100 })
        }

        fn ready(&mut self, name: &str) -> Actions {
            let run = self.run_of(name);
            self.send(Event::Ready { run })
        }

        fn ended(&mut self, name: &str, end: SideEnd) -> Actions {
            let run = self.run_of(name);
            self.send(Event::Ended { run, end, last_lines: vec!["the last".into()] })
        }

        fn state(&self, name: &str) -> SideState {
            self.director.status_of(name, |_| 0).unwrap().state
        }
    }

    fn names_started(actions: &Actions) -> Vec<&str> {
        actions
            .iter()
            .filter_map(|action| match action {
                Action::Start { process, .. } => Some(process.name.as_str()),
                _ => None,
            })
            .collect()
    }

    fn timer(actions: &Actions) -> Option<(Timer, Duration)> {
        actions.iter().find_map(|action| match action {
            Action::Arm { timer, after } => Some((*timer, *after)),
            _ => None,
        })
    }

    fn told(actions: &Actions) -> Option<(Level, &str)> {
        actions.iter().find_map(|action| match action {
            Action::Tell { level, message, .. } => Some((*level, message.as_str())),
            _ => None,
        })
    }

    #[test]
    fn steps_wait_for_what_is_above_them_and_what_is_below_waits_for_them() {
        let (mut bench, actions) =
            Bench::new(&[with_port("db"), step("migrate"), step("seed"), process("watch")]);
        assert_eq!(names_started(&actions), ["db"]);
        bench.started("db");
        assert_eq!(bench.director.preparation(), Preparation::Pending(vec!["db".into()]));
        assert_eq!(names_started(&bench.ready("db")), ["migrate"]);
        assert_eq!(bench.director.preparation(), Preparation::Pending(vec!["migrate".into()]));
        bench.started("migrate");
        assert_eq!(names_started(&bench.ended("migrate", exited(0))), ["seed"]);
        let actions = bench.ended("seed", exited(0));
        assert_eq!(names_started(&actions), ["watch"]);
        assert_eq!(bench.director.preparation(), Preparation::Done);
        assert_eq!(bench.state("migrate"), SideState::Ended);
    }

    #[test]
    fn without_ready_when_nothing_waits() {
        let (bench, actions) = Bench::new(&[process("db"), step("migrate")]);
        assert_eq!(names_started(&actions), ["db", "migrate"]);
        assert!(bench.director.awaited().is_empty());
    }

    #[test]
    fn a_step_that_fails_stops_the_build_and_runs_again_before_the_next_one() {
        let (mut bench, _) = Bench::new(&[step("one"), step("two")]);
        bench.send(Event::BuildBegins);
        bench.ended("one", exited(0));
        let actions = bench.ended("two", exited(3));
        assert_eq!(told(&actions), None, "the build tells");
        let Preparation::Failed(Failure::Process { name, message, hint, output }) =
            bench.director.preparation()
        else {
            panic!("{:?}", bench.director.preparation());
        };
        assert_eq!((name.as_str(), output.as_str()), ("two", "the last"));
        assert!(message.contains("exited with code 3") && hint.contains("runs again"), "{message} {hint}");
        // The one that has succeeded does not run again.
        assert_eq!(names_started(&bench.send(Event::BuildBegins)), ["two"]);
        bench.ended("two", exited(0));
        assert_eq!(bench.director.preparation(), Preparation::Done);
        assert!(names_started(&bench.send(Event::BuildBegins)).is_empty());
    }

    #[test]
    fn a_build_that_begins_while_a_step_runs_does_not_start_it_twice() {
        let (mut bench, _) = Bench::new(&[step("one")]);
        for _ in 0..3 {
            assert!(names_started(&bench.send(Event::BuildBegins)).is_empty());
            bench.started("one");
        }
    }

    #[test]
    fn a_step_that_fails_while_no_build_waits_is_told() {
        let (mut bench, _) = Bench::new(&[step("one")]);
        let actions = bench.ended("one", exited(3));
        assert!(matches!(told(&actions), Some((Level::Warning, message)) if message.contains("code 3")));
    }

    #[test]
    fn a_step_that_hangs_is_killed() {
        let (mut bench, actions) = Bench::new(&[step("one")]);
        let (timer, after) = timer(&actions).unwrap();
        assert_eq!(after, STEP_TIME_MAX);
        let run = bench.run_of("one");
        assert_eq!(bench.send(Event::Timer(timer)), [Action::Kill { run }]);
        bench.ended("one", SideEnd::Signalled { signal: 9 });
        let Preparation::Failed(Failure::Process { message, .. }) = bench.director.preparation() else {
            panic!()
        };
        assert!(message.contains("took too long"), "{message}");
    }

    #[test]
    fn a_process_that_dies_is_started_again_after_a_pause_and_told() {
        let (mut bench, _) = Bench::new(&[process("watch")]);
        bench.started("watch");
        bench.now += 10 * S;
        let actions = bench.ended("watch", SideEnd::Signalled { signal: 9 });
        let (level, message) = told(&actions).unwrap();
        assert_eq!(level, Level::Warning);
        assert_eq!(
            message,
            "the process `watch` was ended by SIGKILL after 10 s; it is started again in 500 ms"
        );
        assert_eq!(bench.state("watch"), SideState::BackingOff);
        let (timer, after) = timer(&actions).unwrap();
        bench.now += after;
        assert_eq!(names_started(&bench.send(Event::Timer(timer))), ["watch"]);
        assert!(bench.send(Event::Timer(timer)).is_empty(), "an old timer starts nothing");
        let status = bench.director.status_of("watch", |_| 0).unwrap();
        assert_eq!((status.restarts, status.last_end), (1, Some(SideEnd::Signalled { signal: 9 })));
    }

    #[test]
    fn a_process_that_dies_at_once_again_and_again_is_started_at_most_twice_a_minute() {
        let (mut bench, mut actions) = Bench::new(&[process("watch")]);
        let mut tolds = 0;
        for _ in 0..50 {
            assert_eq!(names_started(&actions), ["watch"]);
            let actions_of_end = bench.ended("watch", exited(1));
            tolds += u32::from(told(&actions_of_end).is_some_and(|(level, _)| level == Level::Warning));
            let (timer, after) = timer(&actions_of_end).unwrap();
            bench.now += after;
            actions = bench.send(Event::Timer(timer));
        }
        assert!(bench.now > 40 * 30 * S, "{:?}", bench.now);
        assert_eq!(tolds, 7);
    }

    #[test]
    fn restart_false_is_honoured() {
        for (code, state, level) in
            [(0, SideState::Ended, Level::Note), (1, SideState::Failed, Level::Warning)]
        {
            let (mut bench, _) = Bench::new(&[SideProcess { restart: false, ..with_port("once") }]);
            bench.started("once");
            let actions = bench.ended("once", exited(code));
            assert_eq!((timer(&actions), told(&actions).unwrap().0), (None, level));
            assert_eq!(bench.state("once"), state);
            assert!(bench.director.awaited().is_empty(), "it does not get ready any more");
        }
    }

    #[test]
    fn a_success_of_what_should_go_on_is_told_with_a_way_out() {
        let (mut bench, _) = Bench::new(&[process("codegen")]);
        let actions = bench.ended("codegen", exited(0));
        assert!(told(&actions).unwrap().1.contains("`before-build = true`"));
    }

    #[test]
    fn a_command_that_is_not_found_is_complained_of_once_and_nothing_waits_for_it() {
        let (mut bench, _) = Bench::new(&[with_port("db")]);
        let complaint = |actions: &Actions| {
            actions.iter().find_map(|action| match action {
                Action::Complain(error) => Some(error.clone()),
                _ => None,
            })
        };
        let actions = bench.ended("db", exited(127));
        let error = complaint(&actions).unwrap();
        assert_eq!(error.message, "the process `db` cannot be started: a command in `run` was not found");
        assert!(error.hint.contains("[processes.db]"), "{}", error.hint);
        assert!(bench.director.awaited().is_empty());
        let (timer, after) = timer(&actions).unwrap();
        bench.now += after;
        bench.send(Event::Timer(timer));
        let actions = bench.ended("db", SideEnd::NotStarted { message: "`x`: No such file".into() });
        assert_eq!(complaint(&actions), None);
        assert_eq!(told(&actions).map(|(level, _)| level), Some(Level::Detail));
    }

    #[test]
    fn the_wait_for_a_process_is_bounded_and_survives_its_restarts() {
        let (mut bench, actions) = Bench::new(&[with_port("db"), step("migrate")]);
        let (timer, after) = timer(&actions).unwrap();
        assert_eq!(after, READY_TIME_MAX);
        bench.ended("db", exited(1));
        assert_eq!(bench.director.awaited(), ["db"]);
        let actions = bench.send(Event::Timer(timer));
        assert!(told(&actions).unwrap().1.contains("nothing listens on port 5432"));
        assert_eq!(names_started(&actions), ["migrate"]);
        assert!(bench.director.awaited().is_empty());
    }

    #[test]
    fn a_new_list_ends_what_is_gone_or_changed_and_leaves_the_rest() {
        let (mut bench, _) = Bench::new(&[process("a"), process("b"), step("s")]);
        for name in ["a", "b"] {
            bench.started(name);
        }
        bench.ended("s", exited(0));
        let (a, b) = (bench.run_of("a"), bench.run_of("b"));
        let changed = SideProcess { command: SideCommand::Shell("other".into()), ..process("b") };
        let list = vec![step("s"), changed, process("c")];
        let actions = bench.send(Event::Apply(list.clone()));
        assert!(actions.contains(&Action::End { run: a }) && actions.contains(&Action::End { run: b }));
        assert_eq!(names_started(&actions), ["c"], "the old one of this name comes to its end first");
        assert!(bench.send(Event::Apply(list)).is_empty(), "the same list again changes nothing");
        let actions = bench.send(Event::Ended {
            run: b,
            end: SideEnd::Signalled { signal: 15 },
            last_lines: Vec::new(),
        });
        assert_eq!(names_started(&actions), ["b"]);
        bench.send(Event::Ended { run: a, end: SideEnd::Signalled { signal: 15 }, last_lines: Vec::new() });
        assert!(bench.director.status_of("a", |_| 0).is_none());
        assert_eq!(bench.state("s"), SideState::Ended, "a step that is the same does not run again");
    }

    #[test]
    fn the_end_of_devhost_ends_them_all_and_starts_nothing() {
        let (mut bench, _) = Bench::new(&[process("a"), process("b")]);
        bench.started("a");
        bench.ended("b", exited(1));
        let run = bench.run_of("a");
        let actions = bench.send(Event::Stop);
        assert_eq!(actions, [Action::End { run }]);
        assert!(!bench.director.is_empty());
        assert!(bench.ended("a", SideEnd::Signalled { signal: 15 }).is_empty());
        assert!(bench.director.is_empty());
        let run = bench.run_of("b");
        assert!(bench.send(Event::Timer(Timer::Restart { run })).is_empty());
        assert!(bench.send(Event::Apply(vec![process("c")])).is_empty());
    }
}
