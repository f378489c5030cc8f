//! What one generation of the app has done with each file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use devhost_sys::trail::Look;

use super::knowledge::Why;
use super::{Line, is_left_out};

/// How a generation has used a file or directory.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Use {
    /// How often it was opened for reading, and how often that has served it.
    opens: u64,
    opens_served: u64,
    /// How often its metadata was looked at, and how often that has served it.
    stats: u64,
    stats_served: u64,
    was_missed: bool,
    was_listed: bool,
    /// Its first use was before the generation was ready.
    at_start: bool,
}

impl Use {
    /// Returns why the app may have kept something of the file, or `None` if all it did is known to have served it.
    fn why_kept(&self) -> Option<Why> {
        if self.opens > self.opens_served && !is_left_out(Line::Read) {
            return Some(if self.at_start { Why::ReadAtStart } else { Why::ReadLater });
        }
        if self.was_missed && !is_left_out(Line::Missed) {
            return Some(Why::Missed);
        }
        let was_looked_at = self.opens == 0 && self.stats > self.stats_served;
        (was_looked_at && !is_left_out(Line::LookedAt)).then_some(Why::LookedAt)
    }

    /// Returns true if the file itself, and not only the names in it, was of interest.
    fn is_of_file(&self) -> bool {
        self.opens + self.stats > 0 || self.was_missed
    }
}

/// What one generation has done so far.
#[derive(Debug, Default)]
pub(super) struct Generation {
    uses: HashMap<PathBuf, Use>,
    pub(super) is_ready: bool,
    /// The interposer of one of its workers has reported something.
    pub(super) is_observed: bool,
    /// Something that it did had no room.
    pub(super) is_full: bool,
}

impl Generation {
    pub(super) fn note(&mut self, place: PathBuf, look: Look, count: u32) {
        let at_start = !self.is_ready;
        let using = self.uses.entry(place).or_insert_with(|| Use { at_start, ..Use::default() });
        let count = u64::from(count);
        match look {
            Look::Read => using.opens += count,
            Look::Stat => using.stats += count,
            Look::Missed => using.was_missed = true,
            Look::Listed => using.was_listed = true,
            Look::Made | Look::Removed => {}
        }
    }

    /// Notes that opens and looks at metadata have served the file as it is.
    pub(super) fn served(&mut self, place: &Path, opens: u64, stats: u64) {
        if let Some(using) = self.uses.get_mut(place)
            && !is_left_out(Line::Served)
        {
            using.opens_served = (using.opens_served + opens).min(using.opens);
            using.stats_served = (using.stats_served + stats).min(using.stats);
        }
    }

    pub(super) fn has_used(&self, place: &Path) -> bool {
        self.uses.get(place).is_some_and(Use::is_of_file)
    }

    pub(super) fn has_listed(&self, directory: &Path) -> bool {
        self.uses.get(directory).is_some_and(|using| using.was_listed)
    }

    /// Returns why the app may have kept something of the file.
    pub(super) fn why_kept(&self, place: &Path) -> Option<Why> {
        self.uses.get(place)?.why_kept()
    }

    pub(super) fn places(&self) -> impl Iterator<Item = &PathBuf> {
        self.uses.keys()
    }

    /// Takes over what another generation has done.
    pub(super) fn absorb(&mut self, other: Self) {
        for (place, theirs) in other.uses {
            let ours = self.uses.entry(place).or_default();
            ours.opens += theirs.opens;
            ours.opens_served += theirs.opens_served;
            ours.stats += theirs.stats;
            ours.stats_served += theirs.stats_served;
            ours.was_missed |= theirs.was_missed;
            ours.was_listed |= theirs.was_listed;
            ours.at_start |= theirs.at_start;
        }
        self.is_full |= other.is_full;
    }

    /// Returns the files and the directories that it has used.
    pub(super) fn into_places(self) -> impl Iterator<Item = (PathBuf, bool)> {
        self.uses.into_iter().map(|(place, using)| (place, using.was_listed))
    }
}
