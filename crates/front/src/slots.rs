//! The slots of one worker: how many requests it may have at once.
//!
//! Short and long-lived requests have separate slots, so that neither keeps the other out. A WebSocket or
//! event stream is recognised on arrival. Other long requests (an unfinished upload, an unread response) are
//! recognised by age, and move to the long-lived slots when theirs is wanted. Waiters are served in FIFO
//! order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use devhost_link::STREAMS_COUNT_MAX;
use devhost_sys::limits;

/// How many ordinary requests one worker may have.
pub(crate) const ORDINARY_COUNT_MAX: usize = 256;

/// How many long-lived requests one worker may have, if there are descriptors enough.
pub(crate) const LONG_LIVED_COUNT_MAX: usize = 2000;

/// The same, however few descriptors there are.
const LONG_LIVED_COUNT_MIN: usize = 64;

/// Descriptors per long-lived request in the front: the client's connection, its watch, the app's connection.
const DESCRIPTORS_PER_REQUEST_COUNT: usize = 3;

/// Descriptors reserved for everything else.
const DESCRIPTORS_KEPT_COUNT: usize = ORDINARY_COUNT_MAX * DESCRIPTORS_PER_REQUEST_COUNT + 256;

/// The age at which a request counts as long-lived.
pub(crate) const LONG_LIVED_TIME_MIN: Duration = Duration::from_secs(2);

// A link must have a stream for each.
const _: () = assert!(ORDINARY_COUNT_MAX + LONG_LIVED_COUNT_MAX <= STREAMS_COUNT_MAX);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotKind {
    /// A request that ends by itself, as far as is known.
    Ordinary,
    /// A WebSocket or event stream.
    LongLived,
}

impl SlotKind {
    pub(crate) fn describe_full(self, long_lived_count_max: usize) -> String {
        let long_lived = format!("{long_lived_count_max} WebSockets, event streams and other long requests");
        match self {
            Self::Ordinary => format!("the app has {ORDINARY_COUNT_MAX} requests open, and {long_lived}"),
            Self::LongLived => format!("the app has {long_lived} open"),
        }
    }
}

/// The slots of one worker. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Slots(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ordinary: Semaphore,
    long_lived: Semaphore,
    long_lived_count_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    last: u64,
    /// When the taken ordinary slots were taken, oldest first.
    ordinary: BTreeMap<u64, Instant>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn semaphore(&self, kind: SlotKind) -> &Semaphore {
        match kind {
            SlotKind::Ordinary => &self.ordinary,
            SlotKind::LongLived => &self.long_lived,
        }
    }
}

impl Default for Slots {
    /// Creates as many slots as the limits allow.
    fn default() -> Self {
        let for_long_lived = limits::descriptors_count_max().saturating_sub(DESCRIPTORS_KEPT_COUNT);
        let long_lived = for_long_lived / DESCRIPTORS_PER_REQUEST_COUNT;
        Self::new(ORDINARY_COUNT_MAX, long_lived.clamp(LONG_LIVED_COUNT_MIN, LONG_LIVED_COUNT_MAX))
    }
}

impl Slots {
    pub(crate) fn new(ordinary: usize, long_lived: usize) -> Self {
        Self(Arc::new(Shared {
            ordinary: Semaphore::new(ordinary),
            long_lived: Semaphore::new(long_lived),
            long_lived_count_max: long_lived,
            taken: Mutex::default(),
        }))
    }

    pub(crate) fn long_lived_count_max(&self) -> usize {
        self.0.long_lived_count_max
    }

    /// Takes a slot if one is free and nobody is waiting.
    pub(crate) fn try_take(&self, kind: SlotKind) -> Option<Slot> {
        self.0.semaphore(kind).try_acquire().ok()?.forget();
        Some(self.slot(kind))
    }

    /// Waits in turn for a slot. Cancel-safe.
    pub(crate) async fn take(&self, kind: SlotKind) -> Slot {
        match self.0.semaphore(kind).acquire().await {
            Ok(permit) => permit.forget(),
            // Never closed.
            Err(_) => std::future::pending().await,
        }
        self.slot(kind)
    }

    fn slot(&self, kind: SlotKind) -> Slot {
        let mut taken = self.0.lock();
        taken.last += 1;
        let number = taken.last;
        if kind == SlotKind::Ordinary {
            taken.ordinary.insert(number, Instant::now());
        }
        drop(taken);
        Slot { slots: self.clone(), number }
    }

    /// Moves requests older than [`LONG_LIVED_TIME_MIN`] to the long-lived slots while there is room.
    pub(crate) fn move_old_ones(&self) {
        self.move_old_ones_as_of(Instant::now());
    }

    fn move_old_ones_as_of(&self, now: Instant) {
        let mut taken = self.0.lock();
        while let Some(oldest) = taken.ordinary.first_entry()
            && now.duration_since(*oldest.get()) >= LONG_LIVED_TIME_MIN
            && let Ok(permit) = self.0.long_lived.try_acquire()
        {
            permit.forget();
            oldest.remove();
            self.0.ordinary.add_permits(1);
        }
    }
}

/// A taken slot, freed on drop.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Slots,
    number: u64,
}

impl Slot {
    /// Moves the request to the long-lived slots. Returns false if none is free.
    pub(crate) fn make_long_lived(&mut self) -> bool {
        let shared = &self.slots.0;
        let mut taken = shared.lock();
        if !taken.ordinary.contains_key(&self.number) {
            return true;
        }
        let Ok(permit) = shared.long_lived.try_acquire() else { return false };
        permit.forget();
        taken.ordinary.remove(&self.number);
        shared.ordinary.add_permits(1);
        true
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let shared = &self.slots.0;
        let was_ordinary = shared.lock().ordinary.remove(&self.number).is_some();
        shared.semaphore(if was_ordinary { SlotKind::Ordinary } else { SlotKind::LongLived }).add_permits(1);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn free(slots: &Slots) -> (usize, usize) {
        (slots.0.ordinary.available_permits(), slots.0.long_lived.available_permits())
    }

    #[tokio::test]
    async fn each_kind_has_places_of_its_own() {
        let slots = Slots::new(2, 1);
        let first = slots.try_take(SlotKind::LongLived).unwrap();
        assert!(slots.try_take(SlotKind::LongLived).is_none());
        let mut ordinary = slots.try_take(SlotKind::Ordinary).unwrap();
        assert_eq!(free(&slots), (1, 0));
        assert!(!ordinary.make_long_lived(), "no slot is left for it");
        drop(first);
        assert!(ordinary.make_long_lived() && ordinary.make_long_lived());
        assert_eq!(free(&slots), (2, 0));
        drop(ordinary);
        assert_eq!(free(&slots), (2, 1));
    }

    #[test]
    fn what_has_been_open_for_long_moves_when_its_place_is_wanted() {
        let slots = Slots::new(2, 1);
        let taken = [(); 2].map(|()| slots.try_take(SlotKind::Ordinary).unwrap());
        slots.move_old_ones();
        assert!(slots.try_take(SlotKind::Ordinary).is_none(), "nothing is old");
        slots.move_old_ones_as_of(Instant::now() + LONG_LIVED_TIME_MIN);
        assert_eq!(free(&slots), (1, 0), "there is room for one");
        drop(taken);
        assert_eq!(free(&slots), (2, 1));
    }

    #[tokio::test]
    async fn places_are_given_in_turn_and_not_lost_with_those_who_wait() {
        let slots = Slots::new(1, 0);
        let taken = slots.try_take(SlotKind::Ordinary).unwrap();
        let mut first = Box::pin(slots.take(SlotKind::Ordinary));
        let mut second = Box::pin(slots.take(SlotKind::Ordinary));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        drop(taken);
        assert!(slots.try_take(SlotKind::Ordinary).is_none(), "the first of those who wait has it");
        drop(first);
        assert!(second.now_or_never().is_some());
        assert_eq!(free(&slots), (1, 0));
    }
}
