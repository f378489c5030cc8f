//! Admission of one request: it may wait for a build, then for a slot in a worker. Every wait is bounded.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::backend::Backend;
use super::control::Gate;
use super::state::{GateState, Shared};
use super::visit::Visit;
use crate::slots::{Slot, SlotKind};
use devhost_model::Failure;

/// How long a request waits for a build before it gets a page instead.
pub(crate) const HOLD_TIME_MAX: Duration = Duration::from_secs(60);

/// How many requests may wait for a build at once. The next one gets a page.
pub(crate) const HELD_COUNT_MAX: usize = 1024;

/// How long a request waits for a slot in a worker before it gets a page instead.
const SLOT_TIME_MAX: Duration = Duration::from_secs(10);

/// How many requests may wait for a slot at once. The next one gets a page.
const SLOT_WAITERS_COUNT_MAX: usize = 4096;

/// How often a request that waits for a slot looks for ordinary ones that have become long-lived.
const SLOT_LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// What the gate did with a request.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It was admitted to a worker.
    Enter(Visit),
    /// No generation serves, for this reason.
    Failed(Failure),
    /// The build took longer than [`HOLD_TIME_MAX`].
    TimedOut,
    /// [`HELD_COUNT_MAX`] requests are waiting already.
    Full,
    /// The app is at its limit and no slot became free in time. Holds the limit on long-lived requests.
    Busy(usize),
    /// devhost is ending.
    Closed,
}

impl Gate {
    /// Admits a request, waiting while requests are held and then for a slot.
    pub(crate) async fn admit(&self, kind: SlotKind) -> Admission {
        self.admit_within(kind, HOLD_TIME_MAX, SLOT_TIME_MAX).await
    }

    async fn admit_within(&self, kind: SlotKind, hold_limit: Duration, slot_limit: Duration) -> Admission {
        let mut next = self.try_admit(kind, None);
        let mut slot_deadline = None;
        loop {
            next = match next {
                Progress::Done(admission) => return admission,
                Progress::Held => match self.wait_while_held(kind, hold_limit).await {
                    Some(next) => next,
                    None => return Admission::TimedOut,
                },
                Progress::Full(backend) => {
                    let deadline = *slot_deadline.get_or_insert_with(|| Instant::now() + slot_limit);
                    match self.wait_for_slot(&backend, kind, deadline).await {
                        Some(next) => next,
                        None => return Admission::Busy(backend.slots().long_lived_count_max()),
                    }
                }
            };
        }
    }

    /// Waits until requests are released. Returns `None` if that takes too long.
    async fn wait_while_held(&self, kind: SlotKind, limit: Duration) -> Option<Progress> {
        let _waits = {
            let mut state = self.0.lock();
            if state.held >= HELD_COUNT_MAX {
                return Some(Progress::Done(Admission::Full));
            }
            state.held += 1;
            Waits { gate: &self.0, count: |state| &mut state.held }
        };
        let mut turns = self.0.turned.subscribe();
        let wait = async {
            loop {
                turns.mark_unchanged();
                match self.try_admit(kind, None) {
                    Progress::Held => {}
                    next => return next,
                }
                if turns.changed().await.is_err() {
                    return Progress::Done(Admission::Closed);
                }
            }
        };
        tokio::time::timeout(limit, wait).await.ok()
    }

    /// Waits for a slot in a worker, or until requests go elsewhere. Returns `None` if that takes too long.
    async fn wait_for_slot(
        &self,
        backend: &Arc<Backend>,
        kind: SlotKind,
        deadline: Instant,
    ) -> Option<Progress> {
        let _waits = {
            let mut state = self.0.lock();
            if state.waiting >= SLOT_WAITERS_COUNT_MAX {
                return None;
            }
            state.waiting += 1;
            Waits { gate: &self.0, count: |state| &mut state.waiting }
        };
        let mut turns = self.0.turned.subscribe();
        let mut slot = std::pin::pin!(backend.slots().take(kind));
        let wait = async {
            loop {
                turns.mark_unchanged();
                // Either may have happened before the subscription.
                match self.try_admit(kind, None) {
                    Progress::Full(_) if self.is_current(backend) => {}
                    next => return next,
                }
                backend.slots().move_old_ones();
                tokio::select! {
                    slot = &mut slot => return self.try_admit(kind, Some((backend.worker, slot))),
                    _ = turns.changed() => {}
                    () = tokio::time::sleep(SLOT_LOOK_INTERVAL) => {}
                }
            }
        };
        tokio::time::timeout_at(deadline, wait).await.ok()
    }

    fn is_current(&self, backend: &Backend) -> bool {
        self.0.lock().current.iter().any(|current| current.worker == backend.worker)
    }

    /// Returns how many requests wait for a slot.
    #[cfg(test)]
    pub(crate) fn waiting_count(&self) -> usize {
        self.0.lock().waiting
    }

    /// Admits a request if it need not wait. It may hold a slot in a worker already.
    fn try_admit(&self, kind: SlotKind, slot: Option<(u64, Slot)>) -> Progress {
        let mut state = self.0.lock();
        if state.closed {
            return Progress::Done(Admission::Closed);
        }
        if state.hold {
            return Progress::Held;
        }
        let having = slot
            .as_ref()
            .and_then(|(worker, _)| state.current.iter().find(|backend| backend.worker == *worker).cloned());
        let Some(backend) = having.or_else(|| state.choose().cloned()) else {
            return state
                .failure
                .clone()
                .map_or(Progress::Held, |failure| Progress::Done(Admission::Failed(failure)));
        };
        let slot = match slot {
            Some((worker, slot)) if worker == backend.worker => Some(slot),
            _ => backend.slots().try_take(kind),
        };
        let Some(slot) = slot else { return Progress::Full(backend) };
        state.visits.entry(backend.worker).or_default().finite += 1;
        drop(state);
        Progress::Done(Admission::Enter(Visit::new(backend, Arc::clone(&self.0), slot)))
    }
}

/// How far a request has got.
enum Progress {
    Done(Admission),
    /// It waits for a build.
    Held,
    /// It waits for a slot in this worker, the least busy one.
    Full(Arc<Backend>),
}

/// Counts a waiting request until it is dropped.
struct Waits<'g> {
    gate: &'g Shared,
    count: fn(&mut GateState) -> &mut usize,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        *(self.count)(&mut self.gate.lock()) -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Visits;
    use crate::slots::Slots;
    use crate::tests::fake::fake_worker;
    use crate::tests::soon;
    use futures_util::FutureExt;

    fn generation(number: u64) -> Vec<Arc<Backend>> {
        vec![worker(number, number)]
    }

    fn worker(generation: u64, number: u64) -> Arc<Backend> {
        Backend::new(generation, number, fake_worker().0, None)
    }

    fn visit(gate: &Gate) -> Visit {
        entered(gate.admit(SlotKind::Ordinary).now_or_never().expect("nothing holds it"))
    }

    fn entered(admission: Admission) -> Visit {
        match admission {
            Admission::Enter(visit) => visit,
            other => panic!("not entered: {other:?}"),
        }
    }

    fn number(admission: Option<Admission>) -> Option<u64> {
        admission.map(|admission| entered(admission).backend().generation)
    }

    #[tokio::test]
    async fn held_requests_go_to_the_new_generation() {
        let gate = Gate::new();
        gate.swap(generation(1), true);
        assert_eq!(number(gate.admit(SlotKind::Ordinary).now_or_never()), Some(1));
        gate.hold();
        let mut held = Box::pin(gate.admit(SlotKind::Ordinary));
        assert!(held.as_mut().now_or_never().is_none());
        gate.swap(generation(2), true);
        assert_eq!(entered(soon(held).await).backend().generation, 2);
    }

    #[tokio::test]
    async fn released_requests_go_to_the_last_good_generation() {
        let gate = Gate::new();
        gate.swap(generation(1), true);
        gate.hold();
        let mut held = Box::pin(gate.admit(SlotKind::Ordinary));
        assert!(held.as_mut().now_or_never().is_none());
        gate.set_failure(Some(Failure::start("", "")));
        gate.release();
        assert_eq!(entered(soon(held).await).backend().generation, 1);
    }

    #[tokio::test]
    async fn without_a_generation_the_failure_is_given() {
        let gate = Gate::new();
        assert!(gate.is_starting());
        gate.set_failure(Some(Failure::start("m", "")));
        assert!(!gate.is_starting());
        gate.release();
        assert!(matches!(
            soon(gate.admit(SlotKind::Ordinary)).await,
            Admission::Failed(Failure::Start { .. })
        ));
    }

    #[tokio::test]
    async fn a_lost_generation_is_waited_for_and_is_no_first_start() {
        let gate = Gate::new();
        gate.swap(generation(1), true);
        gate.lose_current();
        assert!(!gate.is_starting());
        let mut held = Box::pin(gate.admit(SlotKind::Ordinary));
        assert!(held.as_mut().now_or_never().is_none());
        gate.swap(generation(2), true);
        assert_eq!(entered(soon(held).await).backend().generation, 2);
    }

    #[tokio::test]
    async fn waiting_is_bounded_in_time_and_number() {
        let gate = Gate::new();
        assert!(matches!(
            soon(gate.admit_within(SlotKind::Ordinary, Duration::from_millis(1), SLOT_TIME_MAX)).await,
            Admission::TimedOut
        ));
        let mut held: Vec<_> =
            (0..HELD_COUNT_MAX).map(|_| Box::pin(gate.admit(SlotKind::Ordinary))).collect();
        assert!(held.iter_mut().all(|held| held.as_mut().now_or_never().is_none()));
        assert!(matches!(gate.admit(SlotKind::Ordinary).now_or_never(), Some(Admission::Full)));
        // A client that goes away leaves its slot to another one.
        held.pop();
        assert!(gate.admit(SlotKind::Ordinary).now_or_never().is_none());
        gate.close();
        for held in held {
            assert!(matches!(soon(held).await, Admission::Closed));
        }
    }

    #[tokio::test]
    async fn entries_are_counted_until_they_are_dropped() {
        let gate = Gate::new();
        gate.swap(generation(1), true);
        let first = entered(gate.admit(SlotKind::Ordinary).await);
        let mut second = entered(gate.admit(SlotKind::Ordinary).await);
        assert_eq!(gate.visits(1), Visits { finite: 2, endless: 0 });
        let mut changes = gate.changes();
        changes.mark_unchanged();
        second.mark_endless();
        second.mark_endless();
        assert_eq!(gate.visits(1), Visits { finite: 1, endless: 1 });
        assert!(changes.has_changed().unwrap());
        drop(first);
        drop(second);
        assert_eq!(gate.visits(1), Visits::default());
    }

    #[tokio::test]
    async fn a_request_goes_to_the_worker_that_has_the_fewest() {
        let gate = Gate::new();
        gate.swap(vec![worker(1, 10), worker(1, 11), worker(1, 12)], true);
        let first: Vec<Visit> = (0..3).map(|_| visit(&gate)).collect();
        let went_to: Vec<u64> = first.iter().map(|visit| visit.backend().worker).collect();
        assert_eq!(went_to, [10, 11, 12], "each in its turn");
        let busy: Vec<Visit> = first.into_iter().filter(|visit| visit.backend().worker != 11).collect();
        assert_eq!(visit(&gate).backend().worker, 11);
        assert_eq!(visit(&gate).backend().worker, 11, "the one before is over");
        drop(busy);
        let one_after_the_other: Vec<u64> = (0..6).map(|_| visit(&gate).backend().worker).collect();
        assert_eq!(one_after_the_other, [12, 10, 11, 12, 10, 11]);
    }

    #[tokio::test]
    async fn long_lived_requests_are_spread_as_well() {
        let gate = Gate::new();
        gate.swap(vec![worker(1, 10), worker(1, 11)], true);
        let mut feeds = Vec::new();
        for _ in 0..4 {
            let mut feed = visit(&gate);
            feed.mark_endless();
            feeds.push(feed);
        }
        let feeds_of = |worker| feeds.iter().filter(|feed| feed.backend().worker == worker).count();
        assert_eq!((feeds_of(10), feeds_of(11)), (2, 2));
    }

    #[tokio::test]
    async fn the_others_serve_where_one_worker_is_gone_and_a_new_one_joins_them() {
        let gate = Gate::new();
        gate.swap(vec![worker(1, 10), worker(1, 11)], true);
        let lost = visit(&gate);
        assert_eq!(lost.backend().worker, 10);
        gate.leave(lost.backend().worker);
        assert!((0..4).all(|_| visit(&gate).backend().worker == 11));
        gate.leave(10);
        gate.join(worker(1, 12), true);
        assert!((0..4).any(|_| visit(&gate).backend().worker == 12));
        gate.leave(11);
        gate.leave(12);
        let mut held = Box::pin(gate.admit(SlotKind::Ordinary));
        assert!(held.as_mut().now_or_never().is_none(), "nobody is left");
        gate.join(worker(1, 13), true);
        assert_eq!(entered(soon(held).await).backend().worker, 13);
    }

    #[tokio::test]
    async fn a_worker_that_joins_during_a_build_does_not_let_requests_in() {
        let gate = Gate::new();
        gate.swap(vec![worker(1, 10), worker(1, 11)], true);
        gate.hold();
        gate.leave(10);
        gate.join(worker(1, 12), false);
        let mut held = Box::pin(gate.admit(SlotKind::Ordinary));
        assert!(held.as_mut().now_or_never().is_none());
        gate.swap(vec![worker(2, 13), worker(2, 14)], true);
        assert_eq!(entered(soon(held).await).backend().generation, 2);
    }

    fn with_slots(number: u64, ordinary: usize, long_lived: usize) -> Vec<Arc<Backend>> {
        let slots = Slots::new(ordinary, long_lived);
        vec![Backend::with_slots(number, number, fake_worker().0, None, slots)]
    }

    #[tokio::test]
    async fn long_lived_requests_leave_the_places_of_the_others() {
        let gate = Gate::new();
        gate.swap(with_slots(1, 1, 2), true);
        let sockets: Vec<Visit> = (0..2)
            .map(|_| entered(gate.admit(SlotKind::LongLived).now_or_never().expect("there is a slot")))
            .collect();
        let mut third = Box::pin(gate.admit(SlotKind::LongLived));
        assert!(third.as_mut().now_or_never().is_none());
        let mut other = visit(&gate);
        assert!(!other.make_long_lived(), "it cannot become one either");
        drop(sockets);
        assert!(other.make_long_lived());
        assert_eq!(entered(soon(third).await).backend().generation, 1);
    }

    #[tokio::test]
    async fn requests_that_never_end_make_room_and_waiting_for_a_place_is_bounded() {
        let gate = Gate::new();
        gate.swap(with_slots(1, 2, 2), true);
        let stuck: Vec<Visit> = (0..2).map(|_| visit(&gate)).collect();
        // They are not old yet, and move when they are.
        let more = [
            entered(soon(gate.admit(SlotKind::Ordinary)).await),
            entered(soon(gate.admit(SlotKind::Ordinary)).await),
        ];
        let short = Duration::from_millis(1);
        let turned_away = soon(gate.admit_within(SlotKind::Ordinary, HOLD_TIME_MAX, short)).await;
        assert!(matches!(turned_away, Admission::Busy(2)));
        assert_eq!(gate.waiting_count(), 0);
        let mut waiting: Vec<_> =
            (0..SLOT_WAITERS_COUNT_MAX).map(|_| Box::pin(gate.admit(SlotKind::Ordinary))).collect();
        assert!(waiting.iter_mut().all(|waiting| waiting.as_mut().now_or_never().is_none()));
        assert!(matches!(gate.admit(SlotKind::Ordinary).now_or_never(), Some(Admission::Busy(2))));
        drop((stuck, more));
    }

    #[tokio::test]
    async fn who_waits_for_a_place_goes_where_one_is() {
        let gate = Gate::new();
        gate.swap(with_slots(1, 1, 0), true);
        let first = visit(&gate);
        let mut second = Box::pin(gate.admit(SlotKind::Ordinary));
        let mut third = Box::pin(gate.admit(SlotKind::Ordinary));
        assert!(second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
        drop(first);
        let second = entered(soon(second).await);
        assert_eq!(second.backend().generation, 1);
        // A newer generation has slots of its own.
        gate.swap(with_slots(2, 1, 0), true);
        assert_eq!(entered(soon(third).await).backend().generation, 2);
    }

    #[tokio::test]
    async fn a_place_that_comes_during_a_build_lets_nobody_in() {
        let gate = Gate::new();
        gate.swap(with_slots(1, 1, 0), true);
        let first = visit(&gate);
        let mut second = Box::pin(gate.admit(SlotKind::Ordinary));
        assert!(second.as_mut().now_or_never().is_none());
        gate.hold();
        drop(first);
        assert!(second.as_mut().now_or_never().is_none());
        gate.swap(with_slots(2, 1, 0), true);
        assert_eq!(entered(soon(second).await).backend().generation, 2);
    }
}
