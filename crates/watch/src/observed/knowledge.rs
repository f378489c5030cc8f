//! What is known of the app's use of files: by the serving generation, by later ones, and by earlier ones. Pure but for looks
//! at the identity of files; no clock, no trail.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use devhost_sys::trail::{Look, Written};

use super::generation::Generation;
use super::written::{Found, Kind, WrittenFiles};
use super::{Line, is_left_out};
use crate::tree::below;

/// How many files of earlier generations are remembered. Of more, browsers are not told.
const EARLIER_COUNT_MAX: usize = 65_536;

/// How many names touched by the app itself are remembered at once.
const TOUCHED_COUNT_MAX: usize = 65_536;

/// How many URLs are known to serve a file.
const URLS_COUNT_MAX: usize = 16_384;

/// How many generations besides the serving one are told apart: failed starts, and the one that is starting.
const LATER_COUNT_MAX: usize = 2;

/// What a change of a file leads to, besides a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// The app is started anew.
    Restart(Why),
    /// Browsers load it again.
    Reload(Why),
}

/// Why a change matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The app read it before it was ready.
    ReadAtStart,
    /// The app read it while it served.
    ReadLater,
    /// The app looked at its metadata only.
    LookedAt,
    /// The app looked for it when it did not exist.
    Missed,
    /// It is in a directory that the app has listed.
    Listed,
    /// The app has answered from memory although the file had changed.
    Remembered,
    /// The app sends it as it is.
    Served,
    /// An earlier generation used it.
    Earlier,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ReadAtStart => "read at start",
            Self::ReadLater => "read while serving",
            Self::LookedAt => "the app looked at its metadata",
            Self::Missed => "the app had looked for it in vain",
            Self::Listed => "in a directory that the app has listed",
            Self::Remembered => "served from the app's memory",
            Self::Served => "served as it is",
            Self::Earlier => "used before the last restart",
        })
    }
}

/// A place that the watcher does not follow yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fresh {
    pub(crate) place: PathBuf,
    /// The names in it matter.
    pub(crate) is_listed: bool,
    /// The app expected something to be there, or nothing.
    pub(crate) was_there: bool,
    /// When the app first used it: whatever has changed since then has changed for the app.
    pub(crate) first: SystemTime,
}

#[derive(Debug, Default)]
pub(super) struct Knowledge {
    /// The serving generation; 0 before the first.
    current: u64,
    /// The serving generation, and later ones, whether or not they have failed.
    live: BTreeMap<u64, Generation>,
    /// What earlier generations used; true for a directory that was listed.
    earlier: HashMap<PathBuf, bool>,
    /// Served files of which the app has answered from memory.
    remembered: HashSet<PathBuf>,
    /// Names that the app has made or removed since they were last looked at: which of these it did last, and when.
    touched: HashMap<PathBuf, (Look, SystemTime)>,
    written: WrittenFiles,
    /// Which files the responses for a URL's path have shown.
    urls: HashMap<String, Vec<PathBuf>>,
    /// What was handed out, and whether it is followed as a listed directory.
    followed: BTreeMap<PathBuf, bool>,
    fresh: Vec<Fresh>,
}

impl Knowledge {
    pub(super) fn generation(&mut self, number: u64) -> Option<&mut Generation> {
        if number < self.current {
            return None;
        }
        let later = self.live.keys().filter(|live| **live > self.current).count();
        if !self.live.contains_key(&number) && later >= LATER_COUNT_MAX {
            let oldest = self.live.keys().copied().find(|live| *live > self.current);
            if let Some(old) = oldest.and_then(|oldest| self.live.remove(&oldest)) {
                self.live.entry(number).or_default().absorb(old);
            }
        }
        Some(self.live.entry(number).or_default())
    }

    /// Makes a generation the serving one. What the ones before it used is left to browsers, unless it only takes the place of
    /// one that has crashed: it is going to use the same, and may crash by it.
    pub(super) fn make_current(&mut self, number: u64, is_fresh: bool) {
        self.current = number;
        let live = self.live.split_off(&number);
        let before = std::mem::replace(&mut self.live, live);
        for (_, generation) in before {
            if !is_fresh {
                self.live.entry(number).or_default().absorb(generation);
                continue;
            }
            for (place, was_listed) in generation.into_places() {
                if self.earlier.len() < EARLIER_COUNT_MAX || self.earlier.contains_key(&place) {
                    *self.earlier.entry(place).or_default() |= was_listed;
                }
            }
        }
    }

    /// Notes that the app has made or removed a name.
    pub(super) fn touch(&mut self, place: PathBuf, how: Look, when: SystemTime) {
        if self.touched.len() >= TOUCHED_COUNT_MAX {
            self.touched.clear();
        }
        let last = self.touched.entry(place).or_insert((how, when));
        if when >= last.1 {
            *last = (how, when);
        }
    }

    /// Forgets it: the place was looked at.
    pub(super) fn forget_touch(&mut self, place: &Path) {
        self.touched.remove(place);
    }

    /// Notes a use of a place. What an old generation does no longer counts, but for what it writes.
    pub(super) fn note(
        &mut self,
        generation: u64,
        place: PathBuf,
        look: Look,
        count: u32,
        first: SystemTime,
    ) {
        let Some(uses) = self.generation(generation) else { return };
        uses.note(place.clone(), look, count);
        let is_listed = look == Look::Listed;
        let known = self.followed.get(&place).copied();
        if known.is_none_or(|listed| is_listed && !listed) {
            self.followed.insert(place.clone(), is_listed);
            self.fresh.push(Fresh { place, is_listed, was_there: look != Look::Missed, first });
        }
    }

    pub(super) fn add_written(&mut self, worker: u64, written: &Written) {
        self.written.add(worker, written);
    }

    pub(super) fn forget_open(&mut self, worker: u64) {
        self.written.forget_open(worker);
    }

    pub(super) fn take_fresh(&mut self) -> Vec<Fresh> {
        std::mem::take(&mut self.fresh)
    }

    /// Hands everything out again, for a new watcher. What has changed since `since` may not have been reported.
    pub(super) fn hand_out_again(&mut self, since: SystemTime) {
        self.fresh.clear();
        for (place, is_listed) in &self.followed {
            self.fresh.push(Fresh {
                place: place.clone(),
                is_listed: *is_listed,
                was_there: true,
                first: since,
            });
        }
    }

    /// Returns true if devhost sees what the app does. One that starts is not seen at first: it is taken for what the one
    /// before it was.
    pub(super) fn is_seeing(&self) -> bool {
        let newest_ready = self.live.values().rev().find(|generation| generation.is_ready);
        newest_ready.or(self.live.values().next_back()).is_some_and(|newest| newest.is_observed)
            && self.live.values().all(|generation| !generation.is_full)
    }

    pub(super) fn is_full(&self) -> bool {
        self.live.values().any(|generation| generation.is_full)
    }

    /// Finds what a change of the place leads to. `appeared` says that it is new or gone.
    pub(super) fn reaction(&self, place: &Path, appeared: bool) -> Option<Reaction> {
        let mut is_served = false;
        for generation in self.live.values() {
            if let Some(why) = generation.why_kept(place) {
                return Some(Reaction::Restart(why));
            }
            if generation.has_used(place) {
                if self.remembered.contains(place) && !is_left_out(Line::Remembered) {
                    return Some(Reaction::Restart(Why::Remembered));
                }
                is_served = true;
            }
        }
        let directory = place.parent().filter(|_| appeared);
        if let Some(directory) = directory
            && self.live.values().any(|generation| generation.has_listed(directory))
            && !is_left_out(Line::Listed)
        {
            return Some(Reaction::Restart(Why::Listed));
        }
        if is_served {
            return Some(Reaction::Reload(Why::Served));
        }
        let was_used = self.earlier.get(place).is_some_and(|was_listed| !was_listed)
            || directory.is_some_and(|directory| self.earlier.get(directory) == Some(&true));
        if was_used && !is_left_out(Line::Earlier) {
            return Some(Reaction::Reload(Why::Earlier));
        }
        is_left_out(Line::Unused).then_some(Reaction::Restart(Why::ReadLater))
    }

    /// Returns true if a change of the place, or of something below it, may start the app anew, or be shown by it.
    pub(super) fn may_matter(&self, place: &Path) -> bool {
        let has_below = || below(&self.followed, place).any(|used| used != place);
        self.reaction(place, true).is_some() || has_below()
    }

    /// Returns true if the app has made the place what was found there.
    pub(super) fn is_own_work(&self, place: &Path, found: &Found) -> bool {
        if is_left_out(Line::OwnWork) {
            return false;
        }
        let last = self.touched.get(place).map(|(how, _)| *how);
        match found.kind {
            Kind::Absent => last == Some(Look::Removed),
            Kind::File => self.written.has(found),
            Kind::Other => last == Some(Look::Made) || self.written.has(found),
        }
    }

    /// Notes that the opens of a file were those of responses for a URL that showed it as it is.
    pub(super) fn served(&mut self, generation: u64, url: &str, place: &Path, opens: u64, stats: u64) {
        if let Some(uses) = self.live.get_mut(&generation) {
            uses.served(place, opens, stats);
        }
        if let Some(places) = self.urls.get_mut(url) {
            if !places.iter().any(|known| known == place) {
                places.push(place.to_owned());
            }
        } else if self.urls.len() < URLS_COUNT_MAX {
            self.urls.insert(url.to_owned(), vec![place.to_owned()]);
        }
    }

    /// Returns the files that responses for a URL have shown.
    pub(super) fn shown_at(&self, url: &str) -> &[PathBuf] {
        self.urls.get(url).map_or(&[], Vec::as_slice)
    }

    /// Notes that the app answers from memory instead of looking at the file. Returns true if that is new.
    pub(super) fn remember(&mut self, place: &Path) -> bool {
        self.remembered.insert(place.to_owned())
    }

    /// Lists the places that live generations use, sorted.
    pub(super) fn used_places(&self) -> Vec<PathBuf> {
        let places: BTreeSet<&PathBuf> = self.live.values().flat_map(Generation::places).collect();
        places.into_iter().cloned().collect()
    }

    /// Returns true if a file is as the app left it, or the app is writing it.
    pub(super) fn is_left_by_app(&self, place: &Path) -> bool {
        self.written.has(&Found::at(place))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn noted(knowledge: &mut Knowledge, generation: u64, place: &str, look: Look) {
        knowledge.note(generation, place.into(), look, 1, NOW);
    }

    fn reaction(knowledge: &Knowledge, place: &str) -> Option<Reaction> {
        knowledge.reaction(Path::new(place), false)
    }

    #[test]
    fn what_was_read_starts_the_app_anew_unless_all_of_it_was_served() {
        let mut knowledge = Knowledge::default();
        noted(&mut knowledge, 1, "/c.toml", Look::Read);
        knowledge.generation(1).unwrap().is_ready = true;
        knowledge.make_current(1, true);
        noted(&mut knowledge, 1, "/a.css", Look::Read);
        noted(&mut knowledge, 1, "/a.css", Look::Stat);
        assert_eq!(reaction(&knowledge, "/c.toml"), Some(Reaction::Restart(Why::ReadAtStart)));
        assert_eq!(reaction(&knowledge, "/a.css"), Some(Reaction::Restart(Why::ReadLater)));
        knowledge.served(1, "/a.css", Path::new("/a.css"), 1, 0);
        assert_eq!(reaction(&knowledge, "/a.css"), Some(Reaction::Reload(Why::Served)));
        noted(&mut knowledge, 1, "/a.css", Look::Read);
        assert_eq!(reaction(&knowledge, "/a.css"), Some(Reaction::Restart(Why::ReadLater)));
        assert_eq!(reaction(&knowledge, "/never"), None);
    }

    #[test]
    fn what_the_new_generation_has_not_used_is_left_to_browsers() {
        let mut knowledge = Knowledge::default();
        knowledge.make_current(1, true);
        noted(&mut knowledge, 1, "/a.html", Look::Read);
        noted(&mut knowledge, 1, "/posts", Look::Listed);
        noted(&mut knowledge, 2, "/b.html", Look::Read);
        assert_eq!(reaction(&knowledge, "/b.html"), Some(Reaction::Restart(Why::ReadAtStart)), "it starts");
        knowledge.make_current(2, true);
        assert_eq!(reaction(&knowledge, "/a.html"), Some(Reaction::Reload(Why::Earlier)));
        assert_eq!(knowledge.reaction(Path::new("/posts/1"), true), Some(Reaction::Reload(Why::Earlier)));
        noted(&mut knowledge, 1, "/late.html", Look::Read);
        assert_eq!(reaction(&knowledge, "/late.html"), None, "by the old one");
    }

    #[test]
    fn a_generation_that_starts_is_trusted_like_the_one_that_serves() {
        let mut knowledge = Knowledge::default();
        assert!(!knowledge.is_seeing());
        for (generation, is_observed) in [(1, true), (2, false)] {
            let before = knowledge.is_seeing();
            knowledge.generation(generation).unwrap();
            assert_eq!(knowledge.is_seeing(), before);
            knowledge.generation(generation).unwrap().is_observed = is_observed;
            knowledge.generation(generation).unwrap().is_ready = true;
            knowledge.make_current(generation, true);
            assert_eq!(knowledge.is_seeing(), is_observed);
        }
    }

    #[test]
    fn names_matter_in_a_listed_directory_and_where_one_was_missed() {
        let mut knowledge = Knowledge::default();
        noted(&mut knowledge, 1, "/posts", Look::Listed);
        noted(&mut knowledge, 1, "/off", Look::Missed);
        noted(&mut knowledge, 1, "/stamp", Look::Stat);
        assert_eq!(knowledge.reaction(Path::new("/posts/1"), true), Some(Reaction::Restart(Why::Listed)));
        assert_eq!(knowledge.reaction(Path::new("/posts/1"), false), None, "it was not read");
        assert_eq!(knowledge.reaction(Path::new("/posts/1/a"), true), None, "its directory was not listed");
        assert_eq!(reaction(&knowledge, "/off"), Some(Reaction::Restart(Why::Missed)));
        assert_eq!(reaction(&knowledge, "/stamp"), Some(Reaction::Restart(Why::LookedAt)));
    }

    #[test]
    fn what_a_crashed_generation_has_used_is_what_the_next_one_will() {
        let mut knowledge = Knowledge::default();
        knowledge.make_current(1, true);
        noted(&mut knowledge, 1, "/a.html", Look::Read);
        knowledge.make_current(2, false);
        assert_eq!(reaction(&knowledge, "/a.html"), Some(Reaction::Restart(Why::ReadAtStart)));
    }

    #[test]
    fn an_answer_from_memory_makes_a_served_file_one_that_was_read() {
        let mut knowledge = Knowledge::default();
        noted(&mut knowledge, 1, "/a.html", Look::Read);
        knowledge.served(1, "/a", Path::new("/a.html"), 1, 0);
        assert_eq!(knowledge.shown_at("/a"), [PathBuf::from("/a.html")]);
        assert!(knowledge.may_matter(Path::new("/a.html")), "requests wait for the verdict");
        assert!(!knowledge.may_matter(Path::new("/b.html")));
        knowledge.remember(Path::new("/a.html"));
        assert_eq!(reaction(&knowledge, "/a.html"), Some(Reaction::Restart(Why::Remembered)));
    }

    #[test]
    fn each_place_is_handed_out_once_and_again_when_it_is_listed() {
        let mut knowledge = Knowledge::default();
        noted(&mut knowledge, 1, "/d", Look::Stat);
        noted(&mut knowledge, 2, "/d", Look::Stat);
        assert_eq!(knowledge.take_fresh().len(), 1);
        noted(&mut knowledge, 2, "/d", Look::Listed);
        assert!(knowledge.take_fresh()[0].is_listed);
        assert!(knowledge.take_fresh().is_empty());
        knowledge.hand_out_again(NOW);
        assert_eq!(knowledge.take_fresh().len(), 1);
    }

    #[test]
    fn failed_starts_are_remembered_until_one_serves() {
        let mut knowledge = Knowledge::default();
        for generation in 1..10 {
            noted(&mut knowledge, generation, &format!("/{generation}"), Look::Read);
        }
        assert!(knowledge.live.len() <= LATER_COUNT_MAX);
        assert_eq!(reaction(&knowledge, "/1"), Some(Reaction::Restart(Why::ReadAtStart)));
        knowledge.make_current(10, true);
        assert_eq!(reaction(&knowledge, "/1"), Some(Reaction::Reload(Why::Earlier)));
    }

    #[test]
    fn what_the_app_removes_is_its_own_work_and_what_it_has_only_made_is_not() {
        let mut knowledge = Knowledge::default();
        let place = Path::new("/no/such/file");
        let found = Found::at(place);
        assert!(!knowledge.is_own_work(place, &found));
        knowledge.touch(place.into(), Look::Removed, NOW);
        assert!(knowledge.is_own_work(place, &found));
        knowledge.touch(place.into(), Look::Made, NOW + Duration::from_secs(1));
        assert!(!knowledge.is_own_work(place, &found), "somebody else has removed it");
        knowledge.touch(place.into(), Look::Removed, NOW);
        assert!(!knowledge.is_own_work(place, &found), "it did that before");
        knowledge.touch(place.into(), Look::Removed, NOW + Duration::from_secs(2));
        assert!(knowledge.is_own_work(place, &found));
        knowledge.forget_touch(place);
        assert!(!knowledge.is_own_work(place, &found));
    }
}
