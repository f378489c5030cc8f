//! A batch of events: the places where something happens during one burst. Does not touch the file system.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::hint::Hint;

/// A batch is complete once nothing has happened for this long, the time between the files of one save. A later event
/// cancels the build that the batch started, which costs less than waiting longer every time.
const QUIET_MS: u64 = 1;

/// A batch is complete this long after its first event in any case, even while a file is being written.
const BATCH_TIME_MAX_MS: u64 = 50;

/// The places where something happens during one burst.
#[derive(Default)]
pub(crate) struct Batch {
    /// Each place with the time of its first event.
    pub(crate) places: BTreeMap<PathBuf, Instant>,
    pub(crate) unfinished: BTreeSet<PathBuf>,
    pub(crate) span: Option<Span>,
}

#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) first: Instant,
    pub(crate) last: Instant,
}

impl Batch {
    pub(crate) fn add(&mut self, place: PathBuf, hint: Hint, at: Instant) {
        let span = self.span.get_or_insert(Span { first: at, last: at });
        span.first = span.first.min(at);
        span.last = span.last.max(at);
        match hint {
            Hint::Unfinished => {
                self.unfinished.insert(place.clone());
            }
            Hint::Finished => {
                self.unfinished.remove(&place);
            }
            Hint::Touched => {}
        }
        let first = self.places.entry(place).or_insert(at);
        *first = at.min(*first);
    }

    /// Returns when the batch is complete, unless it is empty.
    pub(crate) fn due(&self) -> Option<Instant> {
        let span = self.span?;
        let latest = span.first + Duration::from_millis(BATCH_TIME_MAX_MS);
        if self.unfinished.is_empty() {
            Some(latest.min(span.last + Duration::from_millis(QUIET_MS)))
        } else {
            Some(latest)
        }
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.due().is_some_and(|due| due <= now)
    }

    /// Returns the time of the first event at the place, or else of a directory above it, or else of the batch.
    pub(crate) fn began_at(&self, place: &Path) -> Instant {
        place
            .ancestors()
            .find_map(|place| self.places.get(place).copied())
            .or(self.span.map(|span| span.first))
            .unwrap_or_else(Instant::now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn batch_waits_for_quiet_but_not_for_ever() {
        let start = Instant::now();
        let mut batch = Batch::default();
        batch.add("/a".into(), Hint::Finished, start);
        assert_eq!(batch.due(), Some(start + milliseconds(QUIET_MS)));
        for step in 1..40 {
            batch.add("/b".into(), Hint::Finished, start + milliseconds(2 * step));
        }
        assert_eq!(batch.due(), Some(start + milliseconds(BATCH_TIME_MAX_MS)));
    }

    #[test]
    fn batch_waits_for_a_file_that_is_being_written() {
        let start = Instant::now();
        let mut batch = Batch::default();
        batch.add("/a".into(), Hint::Unfinished, start);
        batch.add("/b".into(), Hint::Finished, start);
        batch.add("/a".into(), Hint::Touched, start);
        assert_eq!(batch.due(), Some(start + milliseconds(BATCH_TIME_MAX_MS)));
        batch.add("/a".into(), Hint::Finished, start + milliseconds(3));
        assert_eq!(batch.due(), Some(start + milliseconds(3 + QUIET_MS)));
        assert_eq!(batch.began_at(Path::new("/a/below")), start);
    }
}
