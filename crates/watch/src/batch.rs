//! A batch: the places where something happens, until the burst is over. Knows no file system.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::hint::Hint;

/// A batch is complete when nothing has happened for this long: as short as several files of one save are apart. What
/// comes later cancels the build that the first batch has started, which costs less than to wait for it each time.
const QUIET_MS: u64 = 1;

/// A batch is looked at this long after its first event, even if more happens or a file is still being written.
const BATCH_TIME_MAX_MS: u64 = 50;

/// Places where something has happened, until the burst is over.
#[derive(Default)]
pub(crate) struct Batch {
    /// The places and the time of the first event of each.
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

    /// When the batch is to be looked at.
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

    /// When it began to happen there: the file's own first event, or that of a directory above it, or of the batch.
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
