//! The gate: which generation a request goes to, and whether it has to wait first.
//!
//! The runner turns the gate (hold, swap, fail), requests pass through it. A request that was admitted keeps
//! its generation alive until its [`Visit`] is dropped, so a generation that is told to drain and has no visit
//! left is idle for good: entering and swapping happen under one lock.
//!
//! A generation may have several workers. A request goes to the one that has the fewest, and stays with it. If each has as
//! many as it may (`slots`), it waits in turn.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::slots::{Slot, SlotKind, Slots};
use super::upstream::Upstream;
use devhost_model::{End, Failure, StopReason};
use devhost_sys::output::{Output, Position};

/// How long a request waits for a build before it gets a page instead.
pub const HOLD_TIME_MAX: Duration = Duration::from_secs(60);

/// How many requests may wait for a build at once; the next one gets a page.
pub const HELD_COUNT_MAX: usize = 1024;

/// How long a request may wait for a slot in a worker; then it gets a page.
pub const SLOT_TIME_MAX: Duration = Duration::from_secs(10);

/// How many requests may wait for a slot at once; the next one gets a page.
pub const SLOT_WAITERS_COUNT_MAX: usize = 4096;

/// How often those who wait for a slot look for what has become long-lived.
const SLOT_LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How long a waiting client is kept for the report of how its worker ended.
pub const END_REPORT_TIME_MAX: Duration = Duration::from_millis(1500);

/// What changes this soon before a request comes in or after one has ended may have changed because of it.
const BUSY_MARGIN: Duration = Duration::from_millis(50);

/// One generation in one of its workers, as the front sees it.
#[derive(Debug)]
pub struct Backend {
    /// The number of its generation, from 1.
    pub generation: u64,
    /// The worker's number, which no other worker has in this run.
    pub worker: u64,
    /// The way to its worker.
    pub upstream: Upstream,
    slots: Slots,
    output: Option<Arc<Output>>,
    /// How its worker ended; `None` while it runs.
    end: watch::Sender<Option<End>>,
    /// Why devhost ends its worker, once it does.
    stopping: OnceLock<StopReason>,
    /// True once its long-lived streams (WebSockets, server-sent events) shall be closed.
    closing: watch::Sender<bool>,
    /// It has not responded to anything yet.
    silent: AtomicBool,
}

impl Backend {
    /// A generation whose worker has just been linked.
    pub fn new(
        generation: u64,
        worker: u64,
        upstream: impl Into<Upstream>,
        output: Option<Arc<Output>>,
    ) -> Arc<Self> {
        Self::with_slots(generation, worker, upstream, output, Slots::default())
    }

    /// The same, with other slots than the usual ones.
    pub fn with_slots(
        generation: u64,
        worker: u64,
        upstream: impl Into<Upstream>,
        output: Option<Arc<Output>>,
        slots: Slots,
    ) -> Arc<Self> {
        Arc::new(Self {
            generation,
            worker,
            upstream: upstream.into(),
            slots,
            output,
            end: watch::Sender::new(None),
            stopping: OnceLock::new(),
            closing: watch::Sender::new(false),
            silent: AtomicBool::new(true),
        })
    }

    /// Records how the worker ended. The first report wins.
    pub fn set_end(&self, end: End) {
        self.end.send_if_modified(|slot| {
            let first = slot.is_none();
            if first {
                *slot = Some(end);
            }
            first
        });
    }

    /// How the worker ended, where that was reported.
    pub fn reported_end(&self) -> Option<End> {
        self.end.borrow().clone()
    }

    /// How the worker ended, waiting a moment for the report when the link broke first.
    pub async fn end(&self) -> End {
        let mut end = self.end.subscribe();
        let reported = tokio::time::timeout(END_REPORT_TIME_MAX, end.wait_for(Option::is_some)).await;
        let end = match reported {
            Ok(Ok(end)) => end.clone().unwrap_or(End::Lost),
            _ => End::Lost,
        };
        end.explained(self.stopping(), || self.last_output())
    }

    /// From now on devhost ends the worker, for this reason. The first reason counts.
    pub fn set_stopping(&self, reason: StopReason) {
        let _ = self.stopping.set(reason);
    }

    /// Why devhost ends the worker, if it does.
    pub fn stopping(&self) -> Option<StopReason> {
        self.stopping.get().copied()
    }

    /// Notes a response; true for the first one.
    pub fn is_first_response(&self) -> bool {
        self.silent.load(Ordering::Relaxed) && self.silent.swap(false, Ordering::Relaxed)
    }

    /// What the worker has written last, as far as that is known.
    pub fn last_output(&self) -> String {
        self.output.as_ref().map(|output| output.last()).unwrap_or_default()
    }

    /// Where the worker's output is now.
    pub fn output_position(&self) -> Position {
        self.output.as_ref().map(|output| output.position()).unwrap_or_default()
    }

    /// What the worker has written last since then, as far as that is known.
    pub fn last_output_since(&self, position: Position) -> String {
        self.output.as_ref().map(|output| output.last_since(position)).unwrap_or_default()
    }

    /// Asks the long-lived streams to close.
    pub fn close_streams(&self) {
        self.closing.send_replace(true);
    }

    /// Resolves once the long-lived streams of this generation shall close.
    pub async fn closing(&self) {
        let mut closing = self.closing.subscribe();
        // An error means that the generation is gone, which closes its streams all the same.
        let _ = closing.wait_for(|closing| *closing).await;
    }
}

/// What the gate did with a request.
#[derive(Debug)]
pub enum Admission {
    /// It goes to this generation.
    Enter(Visit),
    /// There is no generation to serve it, and why.
    Failed(Failure),
    /// The build took longer than [`HOLD_TIME_MAX`].
    TimedOut,
    /// More than [`HELD_COUNT_MAX`] requests wait already.
    Full,
    /// The app has as many requests as it may, and this one has waited for a slot for long enough. With the most
    /// long-lived ones there may be.
    Busy(usize),
    /// devhost is ending.
    Closed,
}

/// A request inside a generation. Dropped when request and response are over.
#[derive(Debug)]
pub struct Visit {
    backend: Arc<Backend>,
    gate: Arc<Shared>,
    endless: bool,
    slot: Slot,
}

impl Visit {
    /// The generation that serves the request.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// Moves the request to the slots of long-lived ones. False if none is free.
    pub fn make_long_lived(&mut self) -> bool {
        self.slot.make_long_lived()
    }

    /// How many long-lived requests there may be at once.
    pub fn long_lived_count_max(&self) -> usize {
        self.backend.slots.long_lived_count_max()
    }

    /// Marks the request as one that has no end of its own (a WebSocket, server-sent events): a draining
    /// generation does not wait for it.
    pub fn mark_endless(&mut self) {
        if !self.endless {
            self.endless = true;
            let mut state = self.gate.lock();
            if let Some(count) = state.visits.get_mut(&self.backend.worker) {
                count.finite -= 1;
                count.endless += 1;
            }
            drop(state);
            self.gate.changed.send_modify(|version| *version += 1);
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        if !self.endless {
            state.left = Some(std::time::Instant::now());
        }
        if let Some(count) = state.visits.get_mut(&self.backend.worker) {
            if self.endless {
                count.endless -= 1;
            } else {
                count.finite -= 1;
            }
            if *count == Visits::default() {
                state.visits.remove(&self.backend.worker);
            }
        }
        drop(state);
        self.gate.changed.send_modify(|version| *version += 1);
    }
}

/// Requests inside one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Visits {
    /// Those that end by themselves.
    pub finite: usize,
    /// WebSockets and server-sent events.
    pub endless: usize,
}

#[derive(Debug, Default)]
struct GateState {
    /// The current generation in each of its workers; nothing without one.
    current: Vec<Arc<Backend>>,
    /// Whose turn it is among workers that have the same number of requests.
    turn: usize,
    failure: Option<Failure>,
    /// A generation has served, however long ago.
    served: bool,
    hold: bool,
    held: usize,
    /// How many requests wait for a slot.
    waiting: usize,
    closed: bool,
    /// By worker.
    visits: HashMap<u64, Visits>,
    /// When the last request ended that ends by itself.
    left: Option<std::time::Instant>,
}

impl GateState {
    /// The worker of the current generation that has the fewest requests; of several such, each in its turn.
    fn choose(&mut self) -> Option<&Arc<Backend>> {
        let count = self.current.len();
        if count > 1 {
            let load = |index: &usize| {
                let visits = self.visits.get(&self.current[*index].worker).copied().unwrap_or_default();
                (visits.finite, visits.endless)
            };
            let in_turn = (0..count).map(|ahead| (self.turn + ahead) % count);
            let chosen = in_turn.min_by_key(load)?;
            self.turn = (chosen + 1) % count;
            return self.current.get(chosen);
        }
        self.current.first()
    }

    /// A worker is gone. Where it was the last one, requests wait for the next.
    fn leave(&mut self, worker: u64) {
        if let Some(index) = self.current.iter().position(|current| current.worker == worker) {
            self.current.remove(index);
            self.hold |= self.current.is_empty();
        }
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<GateState>,
    /// Anything has changed.
    changed: watch::Sender<u64>,
    /// It has changed where requests go. Other than that, not each request that ends tells of it.
    turned: watch::Sender<u64>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut GateState)) {
        change(&mut self.lock());
        self.changed.send_modify(|version| *version += 1);
        self.turned.send_modify(|version| *version += 1);
    }
}

/// The gate. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Shared>);

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A gate with no generation behind it, holding.
    pub fn new() -> Self {
        let state = GateState { hold: true, ..GateState::default() };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
            turned: watch::Sender::new(0),
        }))
    }

    /// From now on requests wait.
    pub fn hold(&self) {
        self.0.change(|state| state.hold = true);
    }

    /// Lets the waiting requests go on, to whatever serves now.
    pub fn release(&self) {
        self.0.change(|state| state.hold = false);
    }

    /// Makes a generation the current one, in these workers. With `release` the waiting requests go on to it; without,
    /// they wait for the one after it.
    pub fn swap(&self, workers: Vec<Arc<Backend>>, release: bool) {
        self.0.change(|state| {
            state.current = workers;
            state.served = true;
            state.hold &= !release;
        });
    }

    /// The current generation has one worker more. With `release` the waiting requests go on.
    pub fn join(&self, worker: Arc<Backend>, release: bool) {
        self.0.change(|state| {
            state.current.push(worker);
            state.hold &= !release;
        });
    }

    /// A worker of the current generation is gone: requests go to the others, or wait where there are none.
    pub fn leave(&self, worker: u64) {
        self.0.change(|state| state.leave(worker));
    }

    /// The current generation is gone: requests wait for the next one.
    pub fn lose_current(&self) {
        self.0.change(|state| {
            state.current.clear();
            state.hold = true;
        });
    }

    /// Sets or clears what the newest code failed with. Requests get it only where no generation serves.
    pub fn set_failure(&self, failure: Option<Failure>) {
        self.0.change(|state| state.failure = failure);
    }

    /// Ends all waiting; later requests are turned away.
    pub fn close(&self) {
        self.0.change(|state| state.closed = true);
    }

    /// The current generation, in one of its workers.
    pub fn current(&self) -> Option<Arc<Backend>> {
        self.0.lock().current.first().cloned()
    }

    /// Why the newest code is not being served.
    pub fn failure(&self) -> Option<Failure> {
        self.0.lock().failure.clone()
    }

    /// True while there has never been a generation and none has failed: the first build is running.
    pub fn is_starting(&self) -> bool {
        let state = self.0.lock();
        !state.served && state.failure.is_none()
    }

    /// Whether a request that ends by itself was being answered at that time, or about then.
    pub fn was_busy_at(&self, at: std::time::Instant) -> bool {
        let state = self.0.lock();
        state.visits.values().any(|visits| visits.finite > 0)
            || state.left.is_some_and(|left| left + BUSY_MARGIN >= at)
    }

    /// The requests inside a worker.
    pub fn visits(&self, worker: u64) -> Visits {
        self.0.lock().visits.get(&worker).copied().unwrap_or_default()
    }

    /// The requests in all workers that end by themselves.
    pub fn finite_count(&self) -> usize {
        self.0.lock().visits.values().map(|visits| visits.finite).sum()
    }

    /// Changes whenever anything about the gate does.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Lets a request in, waiting as long as it is held, and then for a slot.
    pub async fn admit(&self, kind: SlotKind) -> Admission {
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
                        None => return Admission::Busy(backend.slots.long_lived_count_max()),
                    }
                }
            };
        }
    }

    /// Waits until requests go on; `None` if that takes too long.
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

    /// Waits for a slot in a worker, or until requests go elsewhere; `None` if that takes too long.
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
        let mut slot = std::pin::pin!(backend.slots.take(kind));
        let wait = async {
            loop {
                turns.mark_unchanged();
                // Either may have happened before this end could hear of it.
                match self.try_admit(kind, None) {
                    Progress::Full(_) if self.is_current(backend) => {}
                    next => return next,
                }
                backend.slots.move_old_ones();
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

    /// How many requests wait for a slot.
    #[cfg(test)]
    pub fn waiting_count(&self) -> usize {
        self.0.lock().waiting
    }

    /// Lets a request in if it need not wait. It may have a slot in a worker already.
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
            _ => backend.slots.try_take(kind),
        };
        let Some(slot) = slot else { return Progress::Full(backend) };
        state.visits.entry(backend.worker).or_default().finite += 1;
        drop(state);
        Progress::Done(Admission::Enter(Visit { backend, gate: Arc::clone(&self.0), endless: false, slot }))
    }
}

/// How far a request has come.
enum Progress {
    Done(Admission),
    /// It waits for a build.
    Held,
    /// It waits for a slot in this worker, which has fewer requests than the others.
    Full(Arc<Backend>),
}

/// A request that waits and is counted.
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
    async fn the_first_report_of_an_end_counts() {
        let generation = worker(1, 1);
        generation.set_end(End::Signalled { signal: 11 });
        generation.set_end(End::Lost);
        assert_eq!(soon(generation.end()).await, End::Signalled { signal: 11 });
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
