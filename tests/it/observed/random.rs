//! Random edits around an app that reads in every way there is. Each must reach the next response, or touch a file that the app
//! has nothing of in memory: then the app must stay. With any line of the rule left out, that fails.
//!
//! `DEVHOST_TEST_EDITS` says how many, `DEVHOST_TEST_SEED` repeats a walk that failed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use super::{Reader, shown};
use crate::support::{Devhost, cargo_turn, write_file};

/// How long devhost may take to say that browsers load a file again.
const TOLD_TIME_MAX: Duration = Duration::from_secs(20);

/// What devhost does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// A response was older than the disk.
    Stale,
    /// The app was started anew for nothing.
    NeedlessRestart,
    /// The app was not started anew although the user has said so.
    NoRestart,
    /// Browsers were not told of a file that they show.
    Untold,
}

/// How the app uses a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Using {
    /// It keeps something of it, and `/all` shows that. Whether a change needs a restart is up to devhost.
    Kept,
    /// The same, but it is the time of the last write that it keeps.
    KeptStamp,
    /// The compiler reads it, and `/all` shows it.
    Built,
    /// It is sent as it is at this URL.
    Served(&'static str),
    /// It is kept when it was sent once at this URL.
    Remembered(&'static str),
    /// Not at all, or what is read of it must not matter.
    Not,
    /// Not at all, but the user wants a restart.
    Forced,
}

/// The file that the app keeps in memory once it was sent.
const REMEMBERED: &str = "static/cached.html";

const FILES: &[(&str, Using)] = &[
    ("config/app.toml", Using::Kept),
    ("templates/lazy.html", Using::Kept),
    ("assets/stamp.txt", Using::KeptStamp),
    ("posts/one.md", Using::Kept),
    ("posts/new.md", Using::Kept),
    ("flags/maintenance", Using::Kept),
    ("linked/extra.toml", Using::Kept),
    ("data/db.json", Using::Kept),
    ("data/db.json", Using::Kept),
    ("static/site.css", Using::Served("/site.css")),
    ("ignored/out.css", Using::Served("/out.css")),
    ("uploads/1.png", Using::Served("/1.png")),
    ("static/earlier.css", Using::Served("/earlier.css")),
    (REMEMBERED, Using::Remembered("/cached.html")),
    ("templates/unread.html", Using::Not),
    ("static/unread.css", Using::Not),
    ("ignored/unread.css", Using::Not),
    ("notes.toml", Using::Not),
    ("data/pages", Using::Not),
    ("config/left_out.toml", Using::Not),
    ("config/forced.toml", Using::Forced),
];

/// Of how many edits one is of a file that the compiler reads.
const BUILT_SHARE: u32 = 100;

struct Walk {
    seed: u64,
    number: u32,
    reader: Reader,
    devhost: Devhost,
    random: fastrand::Rng,
    /// The generation that answered last.
    generation: u64,
    /// Served files that this generation, or an earlier one, has sent.
    sent: BTreeSet<&'static str>,
    /// Served files that this generation has looked for in vain.
    missed: BTreeSet<&'static str>,
    /// A file that the app remembers has changed, and nobody has asked for it since: whoever does starts the app anew.
    is_owing: bool,
    /// The last edit.
    edit: String,
}

/// What an edit was.
struct Edit {
    file: &'static str,
    using: Using,
    /// The file is there now.
    is_there: bool,
    /// The content is another one.
    is_other: bool,
}

impl Walk {
    fn new(seed: u64, left_out: Option<&str>) -> Self {
        let reader = Reader::new();
        let devhost = reader.start(&[], left_out);
        let sent = BTreeSet::from(["static/site.css", "ignored/out.css"]);
        Self {
            seed,
            number: 0,
            reader,
            devhost,
            random: fastrand::Rng::with_seed(seed),
            generation: 1,
            sent,
            missed: BTreeSet::new(),
            is_owing: false,
            edit: String::new(),
        }
    }

    fn fail(&self, fault: Fault, details: &str) -> (Fault, String) {
        let Self { seed, number, edit, .. } = self;
        let printed = self.devhost.printed();
        (fault, format!("{fault:?} at edit {number} of seed {seed}, {edit}: {details}\n{printed}"))
    }

    /// Sends a request for a file that is sent, and compares.
    fn ask(&mut self, url: &'static str, file: &'static str) -> Result<(), (Fault, String)> {
        let expected = std::fs::read_to_string(self.reader.path(file)).unwrap_or_else(|_| "none".into());
        self.compare(url, &expected)?;
        self.is_owing &= file != REMEMBERED;
        self.sent.insert(file);
        if !self.reader.path(file).exists() {
            self.missed.insert(file);
        }
        Ok(())
    }

    fn compare(&mut self, url: &str, expected: &str) -> Result<(), (Fault, String)> {
        let began = Instant::now();
        let answer = self.devhost.get(url);
        let took = began.elapsed();
        if answer.body != expected {
            let generation = answer.header("x-devhost-generation").map(str::to_owned);
            let next = self.devhost.get(url);
            let details = format!(
                "{url} is {:?} (generation {generation:?}, after {took:?}), not {expected:?}; asked again: {:?}",
                answer.body, next.body
            );
            return Err(self.fail(Fault::Stale, &details));
        }
        if answer.generation() != self.generation {
            self.generation = answer.generation();
            self.missed.clear();
            self.is_owing = false;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), (Fault, String)> {
        self.number += 1;
        if self.random.u8(..10) == 0 {
            return self.save();
        }
        let (file, using) = if self.random.u32(..BUILT_SHARE) == 0 {
            ("text/built.txt", Using::Built)
        } else {
            FILES[self.random.usize(..FILES.len())]
        };
        if let Using::Served(url) = using
            && self.random.bool()
        {
            self.ask(url, file)?;
        }
        let (before, was_missed) = (self.generation, self.missed.contains(file));
        let was_shown = matches!(using, Using::Served(_)) && self.sent.contains(file);
        let printed = self.devhost.printed().lines().count();
        let was_owing = self.is_owing;
        let edit = self.edit(file, using);
        self.is_owing |= file == REMEMBERED && edit.is_other;
        self.look(&edit)?;
        let has_restarted = self.generation != before;
        let must_stay = match using {
            Using::Not => true,
            Using::Served(_) => !was_missed,
            Using::Built => !edit.is_other,
            _ => false,
        };
        if has_restarted && must_stay && !was_owing {
            return Err(self.fail(Fault::NeedlessRestart, &format!("from generation {before}")));
        }
        if !has_restarted && using == Using::Forced && edit.is_other {
            return Err(self.fail(Fault::NoRestart, "the user has said so"));
        }
        if was_shown && edit.is_other && edit.is_there && !has_restarted {
            self.wait_until_told(file, printed)?;
        }
        Ok(())
    }

    /// Looks at what the app shows, in an order of chance.
    fn look(&mut self, edit: &Edit) -> Result<(), (Fault, String)> {
        if let Using::Served(url) | Using::Remembered(url) = edit.using
            && self.random.bool()
        {
            self.ask(url, edit.file)?;
        }
        let expected = shown(&self.reader.root());
        self.compare("/all", &expected)?;
        for (file, using) in FILES {
            if let Using::Served(url) | Using::Remembered(url) = *using
                && *file != "static/earlier.css"
                && self.random.u8(..4) == 0
            {
                self.ask(url, file)?;
            }
        }
        Ok(())
    }

    /// Lets the app write, which never starts it anew.
    fn save(&mut self) -> Result<(), (Fault, String)> {
        let text = self.random.u32(..4).to_string();
        self.edit = format!("the app saves {text}");
        let before = self.generation;
        self.compare(&format!("/save/{text}"), "saved")?;
        let expected = shown(&self.reader.root());
        self.compare("/all", &expected)?;
        if self.random.bool() {
            self.ask("/1.png", "uploads/1.png")?;
        }
        if self.generation == before {
            return Ok(());
        }
        Err(self.fail(Fault::NeedlessRestart, &format!("from generation {before}")))
    }

    fn edit(&mut self, file: &'static str, using: Using) -> Edit {
        let path = self.reader.path(file);
        let before = std::fs::read(&path).ok();
        let text = match file {
            "data/pages" => format!("SQLite format 3\0{}", self.number),
            _ => self.number.to_string(),
        };
        let may_go = !matches!(using, Using::Remembered(_) | Using::Built)
            && !["data/pages", "static/earlier.css"].contains(&file);
        let how = self.random.u8(..6);
        self.edit = format!("{file} in way {how}");
        match how {
            0 if may_go => drop(std::fs::remove_file(&path)),
            1 => replace(&path, text.as_bytes()),
            2 => {
                let _ = std::fs::remove_file(&path);
                write_file(path.clone(), &text);
            }
            3 if using != Using::KeptStamp
                && let Some(same) = &before =>
            {
                replace(&path, same);
            }
            _ => drop(write_file(path.clone(), &text)),
        }
        let after = std::fs::read(&path).ok();
        Edit { file, using, is_there: after.is_some(), is_other: before != after }
    }

    fn wait_until_told(&self, file: &str, printed: usize) -> Result<(), (Fault, String)> {
        let deadline = Instant::now() + TOLD_TIME_MAX;
        let is_told = |line: &str| {
            line.contains(file) && (line.starts_with("css update") || line.starts_with("page reload"))
        };
        while !self.devhost.printed().lines().skip(printed).any(is_told) {
            if Instant::now() >= deadline {
                return Err(self.fail(Fault::Untold, "it was used before"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

fn replace(path: &PathBuf, content: &[u8]) {
    let other = path.with_file_name("other~");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&other, content).unwrap();
    std::fs::rename(other, path).unwrap();
}

/// Edits at random, and compares each next response with what is on the disk.
fn edit_at_random(edits: u64, seed: u64, left_out: Option<&str>) -> Result<(), (Fault, String)> {
    let _turn = cargo_turn();
    let mut walk = Walk::new(seed, left_out);
    for _ in 0..edits {
        walk.step()?;
    }
    let printed = walk.devhost.printed();
    assert!(!printed.contains("unread"), "nobody uses these:\n{printed}");
    assert!(walk.devhost.stop().success());
    Ok(())
}

#[test]
fn no_random_edit_is_missed_and_none_restarts_the_app_for_nothing() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let edits = number("DEVHOST_TEST_EDITS").unwrap_or(200);
    let by_chance = || u64::from(SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos());
    let seed = number("DEVHOST_TEST_SEED").unwrap_or_else(by_chance);
    println!("{edits} edits of seed {seed}");
    if let Err((_, what)) = edit_at_random(edits, seed, None) {
        panic!("{what}");
    }
}

#[test]
fn random_edits_find_out_that_a_line_of_the_rule_is_left_out() {
    let lines: [(&str, &[Fault]); 12] = [
        ("Configured", &[Fault::NoRestart, Fault::NeedlessRestart]),
        ("Built", &[Fault::Stale]),
        ("OwnWork", &[Fault::NeedlessRestart]),
        ("Remembered", &[Fault::Stale]),
        ("Read", &[Fault::Stale]),
        ("Missed", &[Fault::Stale]),
        ("Listed", &[Fault::Stale]),
        ("LookedAt", &[Fault::Stale]),
        ("Served", &[Fault::NeedlessRestart]),
        ("Earlier", &[Fault::Untold]),
        ("Unused", &[Fault::NeedlessRestart]),
        ("Database", &[Fault::NeedlessRestart]),
    ];
    for (line, expected) in lines {
        let (fault, what) = edit_at_random(1_000, 1, Some(line)).expect_err(line);
        println!("without {line}: {}", what.lines().next().unwrap_or_default());
        assert!(expected.contains(&fault), "without {line}: {what}");
    }
}
