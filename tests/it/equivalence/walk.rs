//! A random walk through a workspace's states: edits of every kind, several at once, undone, made during a
//! build or while no devhost runs. After each, devhost's build must print what the model says. Now and then
//! it is also compared with a build by cargo alone, since the model may be wrong, too. The same seed gives
//! the same edits; only how far a build gets before it is disturbed depends on the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use devhost_model::AppKind;

use super::model::{Crate, Entry, FAULTS, FORMS, Model, Module, NAMINGS, PLACES, Script};
use super::site::{Seen, Site, set_modified};

/// One in so many steps is compared with a clean build by cargo.
const CLEAN_BUILD_INTERVAL_STEPS: u64 = 12;

/// How many states are remembered to go back to.
const HISTORY_COUNT_MAX: usize = 20;

const CRATE_COUNT_MAX: usize = 5;

/// Values are taken from a small set, so that earlier ones recur.
const VALUE_COUNT: u64 = 6;

/// How far files' times are moved forward or back.
const SKEW: Duration = Duration::from_secs(3_600);

/// `SplitMix64` (Steele, Lea and Flood, 2014): a seed always gives the same numbers, whatever libraries do.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn value(&mut self) -> u32 {
        u32::try_from(1 + self.below(VALUE_COUNT)).unwrap()
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())].clone()
    }
}

#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub kind: AppKind,
    pub seed: u64,
    pub steps: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Tally {
    /// How many builds were made without cargo.
    pub replayed_count: u64,
    /// How many of them linked the app quickly.
    pub quick_count: u64,
    /// How many steps were compared with a clean build.
    pub compared_count: u64,
    /// How often each reason was given for how a build was made.
    pub reasons: BTreeMap<String, u64>,
}

/// Where devhost and the model differ, and how that came about.
#[derive(Debug)]
pub(super) struct Difference(pub String);

/// How a file gets its new content.
#[derive(Debug, Clone, Copy)]
enum Manner {
    InPlace,
    RenamedOver,
    Recreated,
}

/// The modification time afterwards.
#[derive(Debug, Clone, Copy)]
enum Clock {
    Now,
    /// Unchanged, to the nanosecond.
    Kept,
    Past,
    Future,
}

/// When the changes are made.
#[derive(Debug, Clone, Copy)]
enum Course {
    /// Between two builds.
    Still,
    /// While no devhost runs.
    Restart,
    /// A second change comes during the build, which is given up for it, as by the supervisor.
    GivenUp,
    /// A second change comes during the build, which goes on.
    Disturbed,
}

struct Walk {
    random: Random,
    site: Site,
    model: Model,
    history: Vec<Model>,
    /// Every file's content, as known to the watcher.
    known: BTreeMap<PathBuf, Vec<u8>>,
    log: String,
    /// How long the last undisturbed build took, in microseconds.
    build_us: u64,
    /// The step is that of a person at work, who changes files' content but not which files there are: most
    /// can be replayed.
    is_plain: bool,
}

/// Walks until the steps are done or something unexpected happens.
pub(super) fn walk(plan: Plan) -> Result<Tally, Difference> {
    let mut random = Random::new(plan.seed);
    let model = first_model(plan.kind, &mut random);
    let mut walk = Walk {
        random,
        site: Site::new(plan.kind),
        model: model.clone(),
        history: vec![model],
        known: BTreeMap::new(),
        log: String::new(),
        build_us: 500_000,
        is_plain: false,
    };
    let mut compared_count = 0;
    walk.write_files(&BTreeMap::new(), Clock::Now);
    walk.look();
    let seen = walk.site.build(&[]);
    walk.compare(&seen, "devhost", plan)?;
    for step in 1..=plan.steps {
        walk.step(step, plan)?;
        if step % CLEAN_BUILD_INTERVAL_STEPS == 0 {
            let clean = walk.site.clean_build();
            walk.compare(&clean, "cargo", plan)?;
            compared_count += 1;
        }
    }
    Ok(Tally {
        replayed_count: walk.site.replayed_count,
        quick_count: walk.site.quick_count,
        compared_count,
        reasons: walk.site.reasons.clone(),
    })
}

impl Walk {
    fn step(&mut self, step: u64, plan: Plan) -> Result<(), Difference> {
        self.is_plain = self.random.below(3) < 2;
        let course = match self.random.below(10) {
            0..6 => Course::Still,
            6 => Course::Restart,
            7..9 => Course::GivenUp,
            _ => Course::Disturbed,
        };
        let clock = match self.random.below(10) {
            0..6 => Clock::Now,
            6 => Clock::Kept,
            7..9 => Clock::Past,
            _ => Clock::Future,
        };
        write!(self.log, "{step}. {course:?}, {clock:?}:").unwrap();
        let before = self.model.clone();
        self.change();
        let mut changed = self.save(&before, clock);
        let seen = match course {
            Course::Still => self.build(&changed),
            Course::Restart => {
                self.site.restart();
                self.build(&[])
            }
            Course::GivenUp | Course::Disturbed => {
                // The later, the more often the build is just over.
                let delay = Duration::from_micros(self.random.below(self.build_us.max(1) * 5 / 4));
                write!(self.log, " |").unwrap();
                let first = self.model.clone();
                // Half of them undo what the build is about.
                if self.random.one_in(2) {
                    self.model = before;
                    self.log.push_str(" undo");
                } else {
                    self.change();
                }
                self.disturb(&first, &mut changed, delay, clock, matches!(course, Course::GivenUp))
            }
        };
        writeln!(self.log, " ({})", self.site.reason).unwrap();
        if self.history.len() == HISTORY_COUNT_MAX {
            let oldest = self.random.index(HISTORY_COUNT_MAX);
            self.history.remove(oldest);
        }
        self.history.push(self.model.clone());
        self.compare(&seen, "devhost", plan)
    }

    fn compare(&mut self, seen: &Seen, who: &str, plan: Plan) -> Result<(), Difference> {
        let expected = self.model.response();
        if seen.response() == expected.as_deref() {
            return Ok(());
        }
        Err(Difference(format!(
            "{who} and the model differ. The seed is {}, the app is {:?}.\nexpected: {expected:?}\nseen:     {seen:?}\n\
             {:#?}\nsteps:\n{}",
            plan.seed, plan.kind, self.model, self.log
        )))
    }

    fn build(&mut self, changed: &[PathBuf]) -> Seen {
        let told = self.as_told(changed);
        let began = Instant::now();
        let seen = self.site.build(&told);
        self.build_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        seen
    }

    /// A build during which the files go from the state `first` to the model's.
    fn disturb(
        &mut self,
        first: &Model,
        changed: &mut Vec<PathBuf>,
        delay: Duration,
        clock: Clock,
        give_up: bool,
    ) -> Seen {
        let told = self.as_told(changed);
        let (old, new) = (first.files(), self.model.files());
        let manner = self.manner();
        let root = self.site.path("");
        // A delay and no event: the point is to hit it anywhere.
        let edit = async {
            tokio::time::sleep(delay).await;
            write_files(&root, &old, &new, manner, clock);
        };
        if give_up {
            let mut edited = false;
            self.site.begin_build(&told, async {
                edit.await;
                edited = true;
            });
            if !edited {
                write_files(&root, &old, &new, manner, clock);
            }
            changed.extend(self.look());
        } else {
            let mut edited = false;
            self.site.build_while(&told, async {
                edit.await;
                edited = true;
            });
            if !edited {
                write_files(&root, &old, &new, manner, clock);
            }
            *changed = self.look();
        }
        changed.sort();
        changed.dedup();
        self.build(&changed.clone())
    }

    /// The list as a builder may get it: with unchanged files, or with duplicates.
    fn as_told(&mut self, changed: &[PathBuf]) -> Vec<PathBuf> {
        let mut told = changed.to_vec();
        if self.is_plain {
            return told;
        }
        if self.random.one_in(4) {
            told.extend(changed.iter().cloned());
        }
        if self.random.one_in(4) {
            let known: Vec<&PathBuf> = self.known.keys().collect();
            let more = known[self.random.index(known.len())].clone();
            told.push(more);
        }
        if self.random.one_in(8) {
            told.push(self.site.path("ws/never/there.rs"));
        }
        told
    }

    fn manner(&mut self) -> Manner {
        self.random.pick(&[Manner::InPlace, Manner::RenamedOver, Manner::Recreated])
    }

    fn save(&mut self, before: &Model, clock: Clock) -> Vec<PathBuf> {
        self.write_files(&before.files(), clock);
        if !self.is_plain && self.random.one_in(5) {
            self.touch();
        }
        self.look()
    }

    fn write_files(&mut self, old: &BTreeMap<String, Entry>, clock: Clock) {
        let manner = self.manner();
        write_files(&self.site.path(""), old, &self.model.files(), manner, clock);
    }

    /// A save without changes.
    fn touch(&mut self) {
        let files: Vec<String> = self.model.files().into_keys().collect();
        let path = self.site.path(&self.random.pick(&files));
        self.log.push_str(" touch");
        set_modified(&path, SystemTime::now());
    }

    /// What the watcher would find: files whose content, through links, differs from its last look.
    fn look(&mut self) -> Vec<PathBuf> {
        let mut now = BTreeMap::new();
        for path in self.model.files().into_keys() {
            let path = self.site.path(&path);
            let content = std::fs::read(&path).unwrap_or_default();
            now.insert(path, content);
        }
        let paths: BTreeSet<&PathBuf> = self.known.keys().chain(now.keys()).collect();
        let changed: Vec<PathBuf> = paths
            .into_iter()
            .filter(|path| self.known.get(*path) != now.get(*path))
            .filter(|path| is_watched(path, &self.site.sources))
            .cloned()
            .collect();
        self.known = now;
        changed
    }

    fn change(&mut self) {
        let count = if self.random.one_in(3) { 2 + self.random.below(3) } else { 1 };
        for _ in 0..count {
            let before = self.model.clone();
            let what = self.change_once();
            if self.model.is_sound() {
                write!(self.log, " {what}").unwrap();
            } else {
                self.model = before;
            }
        }
    }

    fn change_once(&mut self) -> String {
        let random = &mut self.random;
        if self.model.response().is_none() && random.below(4) < 3 {
            self.model.mend();
            return "mend".into();
        }
        if self.is_plain {
            let index = random.index(self.model.crates.len());
            change_content(&mut self.model.crates[index], random);
            return format!("{}:content", self.model.directory(index));
        }
        match random.below(24) {
            0 | 1 => {
                self.model = random.pick(&self.history);
                return "back".into();
            }
            2 => {
                self.model.variable = if random.one_in(3) { None } else { Some(random.value()) };
                return format!("variable={:?}", self.model.variable);
            }
            3 => {
                self.model.shared = random.value();
                return "shared".into();
            }
            4 => {
                self.model.maker = random.value();
                return "maker".into();
            }
            5 => {
                self.change_uses();
                return "uses".into();
            }
            _ => {}
        }
        let index = random.index(self.model.crates.len());
        let name = self.model.directory(index);
        let part = &mut self.model.crates[index];
        let what = change_crate(part, random);
        format!("{name}:{what}")
    }

    /// Adds or removes a crate's dependency on another.
    fn change_uses(&mut self) {
        let count = self.model.crates.len();
        let user = self.random.index(count - 1);
        let used = user + 1 + self.random.index(count - 1 - user);
        let uses = &mut self.model.crates[user].uses;
        if !uses.remove(&used) {
            uses.insert(used);
        }
    }
}

/// How many of the values of every crate `change_value` tells apart.
const VALUES_COUNT: u64 = 9;

fn change_value(part: &mut Crate, which: u64, random: &mut Random) {
    match which {
        0 | 1 => part.text = random.value(),
        2 => part.constant = random.value(),
        3 => part.length = random.value(),
        4 => part.wide = !part.wide,
        5 => part.generic = random.value(),
        6 => part.inlined = random.value(),
        7 => part.macro_text = random.value(),
        _ => part.lines = random.value(),
    }
}

fn change_crate(part: &mut Crate, random: &mut Random) -> String {
    match random.below(22) {
        which @ 0..VALUES_COUNT => change_value(part, which, random),
        9..=12 => {
            let name = random.pick(&["one", "two", "three"]).to_owned();
            return change_module(part, &name, random);
        }
        13 | 14 => {
            part.include = if random.one_in(4) { None } else { Some((random.pick(&PLACES), random.value())) };
            return "include".into();
        }
        15 | 16 => match &mut part.script {
            Some(_) if random.one_in(5) => part.script = None,
            Some(script) if random.one_in(5) => script.text = random.value(),
            Some(script) if random.one_in(4) => script.helper = !script.helper,
            Some(script) if random.one_in(4) => script.naming = random.pick(&NAMINGS),
            Some(script) => script.input = random.value(),
            None => {
                let (input, text) = (random.value(), random.value());
                let (directory, helper) = (random.one_in(2), random.one_in(3));
                let naming = random.pick(&NAMINGS);
                part.script = Some(Script { input, text, directory, naming, helper });
            }
        },
        17 => part.variable = random.pick(&[None, Some(false), Some(true)]),
        18 => part.maker = !part.maker,
        19 => match random.below(3) {
            0 => part.extra = !part.extra,
            1 => part.asked = !part.asked,
            _ => part.version = random.value(),
        },
        _ => {
            part.fault = Some(random.pick(&FAULTS));
            return format!("{:?}", part.fault);
        }
    }
    "edit".into()
}

/// Replaces a value.
fn change_content(part: &mut Crate, random: &mut Random) {
    match random.below(14) {
        which @ 0..VALUES_COUNT => change_value(part, which, random),
        9 | 10 => {
            if let Some(script) = &mut part.script {
                script.input = random.value();
            }
        }
        11 => {
            if let Some((_, value)) = &mut part.include {
                *value = random.value();
            }
        }
        _ => {
            let names: Vec<String> = part.modules.keys().cloned().collect();
            if names.is_empty() {
                part.text = random.value();
                return;
            }
            let module = part.modules.get_mut(&random.pick(&names)).expect("a module of this name");
            match &mut module.inner {
                Some(inner) if random.one_in(2) => *inner = random.value(),
                _ => module.text = random.value(),
            }
        }
    }
}

fn change_module(part: &mut Crate, name: &str, random: &mut Random) -> String {
    if let Some(module) = part.modules.get_mut(name) {
        match random.below(6) {
            0 => drop(part.modules.remove(name)),
            1 | 2 => module.form = random.pick(&FORMS),
            3 => module.inner = if random.one_in(3) { None } else { Some(random.value()) },
            _ => module.text = random.value(),
        }
    } else {
        let inner = if random.one_in(3) { Some(random.value()) } else { None };
        part.modules.insert(name.into(), Module { form: random.pick(&FORMS), text: random.value(), inner });
    }
    format!("mod {name}={:?}", part.modules.get(name).map(|module| module.form))
}

fn first_model(kind: AppKind, random: &mut Random) -> Model {
    let count = 2 + random.index(CRATE_COUNT_MAX - 1);
    let mut crates: Vec<Crate> = (0..count).map(|_| Crate::new()).collect();
    for (user, part) in crates.iter_mut().enumerate() {
        for used in user + 1..count {
            if used == user + 1 || random.one_in(3) {
                part.uses.insert(used);
            }
        }
        for _ in 0..4 {
            change_crate(part, random);
        }
        part.fault = None;
        part.variable = None;
    }
    let library = random.one_in(2);
    let outside = random.one_in(3);
    let mut model = Model { kind, library, crates, outside, maker: 1, variable: None, shared: 1 };
    if !model.is_sound() {
        model.crates.iter_mut().for_each(|part| part.modules.clear());
    }
    model
}

/// A package's code and manifests, and whatever the last good build was made from.
fn is_watched(path: &Path, sources: &[PathBuf]) -> bool {
    let name = path.file_name().unwrap_or_default();
    path.extension().is_some_and(|extension| extension == "rs")
        || name == "Cargo.toml"
        || name == "config.toml"
        // A script that names no inputs has its whole package as input.
        || name == "value.txt"
        || sources.iter().any(|source| path.starts_with(source))
}

/// Turns the files of `old` into those of `new`, leaving alone what is the same.
fn write_files(
    root: &Path,
    old: &BTreeMap<String, Entry>,
    new: &BTreeMap<String, Entry>,
    manner: Manner,
    clock: Clock,
) {
    for path in old.keys().filter(|path| !new.contains_key(*path)) {
        std::fs::remove_file(root.join(path)).unwrap();
        remove_empty_directories(root, path);
    }
    for (path, entry) in new.iter().filter(|(path, entry)| old.get(*path) != Some(entry)) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match entry {
            Entry::Text(text) => write_file(&path, text, manner, clock),
            Entry::Link(target) => {
                let _ = std::fs::remove_file(&path);
                std::os::unix::fs::symlink(target, &path).unwrap();
            }
        }
    }
}

fn write_file(path: &Path, text: &str, manner: Manner, clock: Clock) {
    let is_link = path.is_symlink();
    let old_time = path.metadata().and_then(|metadata| metadata.modified()).ok();
    match manner {
        Manner::InPlace if !is_link => std::fs::write(path, text).unwrap(),
        Manner::InPlace | Manner::RenamedOver => {
            let temporary = path.with_extension("new~");
            std::fs::write(&temporary, text).unwrap();
            std::fs::rename(temporary, path).unwrap();
        }
        Manner::Recreated => {
            let _ = std::fs::remove_file(path);
            std::fs::write(path, text).unwrap();
        }
    }
    match (clock, old_time) {
        (Clock::Now, _) | (Clock::Kept, None) => {}
        (Clock::Kept, Some(time)) => set_modified(path, time),
        (Clock::Past, _) => set_modified(path, SystemTime::now() - SKEW),
        (Clock::Future, _) => set_modified(path, SystemTime::now() + SKEW),
    }
}

/// Below the crates' own directories, an empty directory is as good as none.
fn remove_empty_directories(root: &Path, path: &str) {
    for directory in Path::new(path).ancestors().skip(1).filter(|path| path.components().count() > 1) {
        if std::fs::remove_dir(root.join(directory)).is_err() {
            return;
        }
    }
}
