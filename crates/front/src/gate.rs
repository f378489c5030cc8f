//! The gate: which generation a request goes to, and whether it has to wait first.
//!
//! The runner turns the gate (hold, swap, fail), requests pass through it. A request that was admitted keeps
//! its generation alive until its [`Entry`] is dropped, so a generation that is told to drain and has no entry
//! left is idle for good: entering and swapping happen under one lock.
//!
//! A generation may have several workers. A request goes to the one that has the fewest, and stays with it. If each has as
//! many as it may (`places`), it waits in turn.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::places::{Place, Places, Stay};
use super::upstream::Upstream;
use devhost_model::{End, Failure, StopReason};
use devhost_sys::output::{Output, Position};

/// How long a request waits for a build before it gets a page instead.
pub const HOLD_TIME_MAX: Duration = Duration::from_secs(60);

/// How many requests may wait for a build at once; the next one gets a page.
pub const HELD_COUNT_MAX: usize = 1024;

/// How long a request may wait for a place in a worker; then it gets a page.
pub const PLACE_TIME_MAX: Duration = Duration::from_secs(10);

/// How many requests may wait for a place at once; the next one gets a page.
pub const PLACE_WAITERS_COUNT_MAX: usize = 4096;

/// How often those who wait for a place look for what has become long-lived.
const PLACE_LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How long a waiting client is kept for the report of how its worker ended.
pub const END_REPORT_TIME_MAX: Duration = Duration::from_millis(1500);

/// What changes this soon before a request comes in or after one has ended may have changed because of it.
const BUSY_MARGIN: Duration = Duration::from_millis(50);

/// One generation in one of its workers, as the front sees it.
#[derive(Debug)]
pub struct Generation {
    /// Its number, from 1.
    pub number: u64,
    /// The worker's number, which no other worker has in this run.
    pub worker: u64,
    /// The way to its worker.
    pub client: Upstream,
    places: Places,
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

impl Generation {
    /// A generation whose worker has just been linked.
    pub fn new(
        number: u64,
        worker: u64,
        client: impl Into<Upstream>,
        output: Option<Arc<Output>>,
    ) -> Arc<Self> {
        Self::with_places(number, worker, client, output, Places::default())
    }

    /// The same, with other places than the usual ones.
    pub fn with_places(
        number: u64,
        worker: u64,
        client: impl Into<Upstream>,
        output: Option<Arc<Output>>,
        places: Places,
    ) -> Arc<Self> {
        Arc::new(Self {
            number,
            worker,
            client: client.into(),
            places,
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
    Enter(Entry),
    /// There is no generation to serve it, and why.
    Failed(Failure),
    /// The build took longer than [`HOLD_TIME_MAX`].
    TimedOut,
    /// More than [`HELD_COUNT_MAX`] requests wait already.
    Full,
    /// The app has as many requests as it may, and this one has waited for a place for long enough. With the most
    /// long-lived ones there may be.
    Busy(usize),
    /// devhost is ending.
    Closed,
}

/// A request inside a generation. Dropped when request and response are over.
#[derive(Debug)]
pub struct Entry {
    generation: Arc<Generation>,
    gate: Arc<Shared>,
    endless: bool,
    place: Place,
}

impl Entry {
    /// The generation that serves the request.
    pub fn generation(&self) -> &Arc<Generation> {
        &self.generation
    }

    /// Moves the request to the places of long-lived ones. False if none is free.
    pub fn stay(&mut self) -> bool {
        self.place.stay()
    }

    /// How many long-lived requests there may be at once.
    pub fn long_lived_count_max(&self) -> usize {
        self.generation.places.long_lived_count_max()
    }

    /// Marks the request as one that has no end of its own (a WebSocket, server-sent events): a draining
    /// generation does not wait for it.
    pub fn mark_endless(&mut self) {
        if !self.endless {
            self.endless = true;
            let mut state = self.gate.lock();
            if let Some(count) = state.entries.get_mut(&self.generation.worker) {
                count.finite -= 1;
                count.endless += 1;
            }
            drop(state);
            self.gate.changed.send_modify(|version| *version += 1);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        if !self.endless {
            state.left = Some(std::time::Instant::now());
        }
        if let Some(count) = state.entries.get_mut(&self.generation.worker) {
            if self.endless {
                count.endless -= 1;
            } else {
                count.finite -= 1;
            }
            if *count == Entries::default() {
                state.entries.remove(&self.generation.worker);
            }
        }
        drop(state);
        self.gate.changed.send_modify(|version| *version += 1);
    }
}

/// Requests inside one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Entries {
    /// Those that end by themselves.
    pub finite: usize,
    /// WebSockets and server-sent events.
    pub endless: usize,
}

#[derive(Debug, Default)]
struct State {
    /// The current generation in each of its workers; nothing without one.
    current: Vec<Arc<Generation>>,
    /// Whose turn it is among workers that have the same number of requests.
    turn: usize,
    failure: Option<Failure>,
    /// A generation has served, however long ago.
    served: bool,
    hold: bool,
    held: usize,
    /// How many requests wait for a place.
    waiting: usize,
    closed: bool,
    /// By worker.
    entries: HashMap<u64, Entries>,
    /// When the last request ended that ends by itself.
    left: Option<std::time::Instant>,
}

impl State {
    /// The worker of the current generation that has the fewest requests; of several such, each in its turn.
    fn choose(&mut self) -> Option<&Arc<Generation>> {
        let count = self.current.len();
        if count > 1 {
            let load = |index: &usize| {
                let entries = self.entries.get(&self.current[*index].worker).copied().unwrap_or_default();
                (entries.finite, entries.endless)
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
    state: Mutex<State>,
    /// Anything has changed.
    changed: watch::Sender<u64>,
    /// It has changed where requests go. Other than that, not each request that ends tells of it.
    turned: watch::Sender<u64>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
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
        let state = State { hold: true, ..State::default() };
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
    pub fn swap(&self, workers: Vec<Arc<Generation>>, release: bool) {
        self.0.change(|state| {
            state.current = workers;
            state.served = true;
            state.hold &= !release;
        });
    }

    /// The current generation has one worker more. With `release` the waiting requests go on.
    pub fn join(&self, worker: Arc<Generation>, release: bool) {
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

    /// The same as [`Gate::leave`], for a request that found a worker gone, perhaps before the runner has heard of it.
    pub fn lose(&self, generation: &Generation) {
        self.leave(generation.worker);
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
    pub fn current(&self) -> Option<Arc<Generation>> {
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
        state.entries.values().any(|entries| entries.finite > 0)
            || state.left.is_some_and(|left| left + BUSY_MARGIN >= at)
    }

    /// The requests inside a worker.
    pub fn entries(&self, worker: u64) -> Entries {
        self.0.lock().entries.get(&worker).copied().unwrap_or_default()
    }

    /// The requests in all workers that end by themselves.
    pub fn finite_count(&self) -> usize {
        self.0.lock().entries.values().map(|entries| entries.finite).sum()
    }

    /// Changes whenever anything about the gate does.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Lets a request in, waiting as long as it is held, and then for a place.
    pub async fn admit(&self, stay: Stay) -> Admission {
        self.admit_within(stay, HOLD_TIME_MAX, PLACE_TIME_MAX).await
    }

    async fn admit_within(&self, stay: Stay, hold_limit: Duration, place_limit: Duration) -> Admission {
        let mut next = self.try_admit(stay, None);
        let mut place_deadline = None;
        loop {
            next = match next {
                Step::Done(admission) => return admission,
                Step::Held => match self.wait_while_held(stay, hold_limit).await {
                    Some(next) => next,
                    None => return Admission::TimedOut,
                },
                Step::Full(generation) => {
                    let deadline = *place_deadline.get_or_insert_with(|| Instant::now() + place_limit);
                    match self.wait_for_place(&generation, stay, deadline).await {
                        Some(next) => next,
                        None => return Admission::Busy(generation.places.long_lived_count_max()),
                    }
                }
            };
        }
    }

    /// Waits until requests go on; `None` if that takes too long.
    async fn wait_while_held(&self, stay: Stay, limit: Duration) -> Option<Step> {
        let _waits = {
            let mut state = self.0.lock();
            if state.held >= HELD_COUNT_MAX {
                return Some(Step::Done(Admission::Full));
            }
            state.held += 1;
            Waits { gate: &self.0, count: |state| &mut state.held }
        };
        let mut turns = self.0.turned.subscribe();
        let wait = async {
            loop {
                turns.mark_unchanged();
                match self.try_admit(stay, None) {
                    Step::Held => {}
                    next => return next,
                }
                if turns.changed().await.is_err() {
                    return Step::Done(Admission::Closed);
                }
            }
        };
        tokio::time::timeout(limit, wait).await.ok()
    }

    /// Waits for a place in a worker, or until requests go elsewhere; `None` if that takes too long.
    async fn wait_for_place(
        &self,
        generation: &Arc<Generation>,
        stay: Stay,
        deadline: Instant,
    ) -> Option<Step> {
        let _waits = {
            let mut state = self.0.lock();
            if state.waiting >= PLACE_WAITERS_COUNT_MAX {
                return None;
            }
            state.waiting += 1;
            Waits { gate: &self.0, count: |state| &mut state.waiting }
        };
        let mut turns = self.0.turned.subscribe();
        let mut place = std::pin::pin!(generation.places.take(stay));
        let wait = async {
            loop {
                turns.mark_unchanged();
                // Either may have happened before this end could hear of it.
                match self.try_admit(stay, None) {
                    Step::Full(_) if self.is_current(generation) => {}
                    next => return next,
                }
                generation.places.move_old_ones();
                tokio::select! {
                    place = &mut place => return self.try_admit(stay, Some((generation.worker, place))),
                    _ = turns.changed() => {}
                    () = tokio::time::sleep(PLACE_LOOK_INTERVAL) => {}
                }
            }
        };
        tokio::time::timeout_at(deadline, wait).await.ok()
    }

    fn is_current(&self, generation: &Generation) -> bool {
        self.0.lock().current.iter().any(|current| current.worker == generation.worker)
    }

    /// How many requests wait for a place.
    #[cfg(test)]
    pub fn waiting_count(&self) -> usize {
        self.0.lock().waiting
    }

    /// Lets a request in if it need not wait. It may have a place in a worker already.
    fn try_admit(&self, stay: Stay, place: Option<(u64, Place)>) -> Step {
        let mut state = self.0.lock();
        if state.closed {
            return Step::Done(Admission::Closed);
        }
        if state.hold {
            return Step::Held;
        }
        let having = place.as_ref().and_then(|(worker, _)| {
            state.current.iter().find(|generation| generation.worker == *worker).cloned()
        });
        let Some(generation) = having.or_else(|| state.choose().cloned()) else {
            return state
                .failure
                .clone()
                .map_or(Step::Held, |failure| Step::Done(Admission::Failed(failure)));
        };
        let place = match place {
            Some((worker, place)) if worker == generation.worker => Some(place),
            _ => generation.places.try_take(stay),
        };
        let Some(place) = place else { return Step::Full(generation) };
        state.entries.entry(generation.worker).or_default().finite += 1;
        drop(state);
        Step::Done(Admission::Enter(Entry { generation, gate: Arc::clone(&self.0), endless: false, place }))
    }
}

/// How far a request has come.
enum Step {
    Done(Admission),
    /// It waits for a build.
    Held,
    /// It waits for a place in this worker, which has fewer requests than the others.
    Full(Arc<Generation>),
}

/// A request that waits and is counted.
struct Waits<'g> {
    gate: &'g Shared,
    count: fn(&mut State) -> &mut usize,
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

    fn generation(number: u64) -> Vec<Arc<Generation>> {
        vec![worker(number, number)]
    }

    fn worker(generation: u64, number: u64) -> Arc<Generation> {
        Generation::new(generation, number, fake_worker().0, None)
    }

    fn entry(gate: &Gate) -> Entry {
        entered(gate.admit(Stay::Ordinary).now_or_never().expect("nothing holds it"))
    }

    fn entered(admission: Admission) -> Entry {
        match admission {
            Admission::Enter(entry) => entry,
            other => panic!("not entered: {other:?}"),
        }
    }

    fn number(admission: Option<Admission>) -> Option<u64> {
        admission.map(|admission| entered(admission).generation().number)
    }

    #[tokio::test]
    async fn held_requests_go_to_the_new_generation() {
        let gate = Gate::new();
        gate.swap(generation(1), true);
        assert_eq!(number(gate.admit(Stay::Ordinary).now_or_never()), Some(1));
        gate.hold();
        let mut held = Box::pin(gate.admit(Stay::Ordinary));
        assert!(held.as_mut().now_or_never().is_none());
        gate.swap(generation(2), true);
        assert_eq!(entered(soon(held).await).generation().number, 2);
    }

    #[tokio::test]
    async fn released_requests_go_to_the_last_good_generation() {
        let gate = Gate::new();
        gate.swap(generation(1), true);
        gate.hold();
        let mut held = Box::pin(gate.admit(Stay::Ordinary));
        assert!(held.as_mut().now_or_never().is_none());
        gate.set_failure(Some(Failure::start("", "")));
        gate.release();
        assert_eq!(entered(soon(held).await).generation().number, 1);
    }

    #[tokio::test]
    async fn without_a_generation_the_failure_is_given() {
        let gate = Gate::new();
        assert!(gate.is_starting());
        gate.set_failure(Some(Failure::start("m", "")));
        assert!(!gate.is_starting());
        gate.release();
        assert!(matches!(soon(gate.admit(Stay::Ordinary)).await, Admission::Failed(Failure::Start { .. })));
    }

    #[tokio::test]
    async fn a_lost_generation_is_waited_for_and_is_no_first_start() {
        let gate = Gate::new();
        gate.swap(generation(1), true);
        gate.lose_current();
        assert!(!gate.is_starting());
        let mut held = Box::pin(gate.admit(Stay::Ordinary));
        assert!(held.as_mut().now_or_never().is_none());
        gate.swap(generation(2), true);
        assert_eq!(entered(soon(held).await).generation().number, 2);
    }

    #[tokio::test]
    async fn waiting_is_bounded_in_time_and_number() {
        let gate = Gate::new();
        assert!(matches!(
            soon(gate.admit_within(Stay::Ordinary, Duration::from_millis(1), PLACE_TIME_MAX)).await,
            Admission::TimedOut
        ));
        let mut held: Vec<_> = (0..HELD_COUNT_MAX).map(|_| Box::pin(gate.admit(Stay::Ordinary))).collect();
        assert!(held.iter_mut().all(|held| held.as_mut().now_or_never().is_none()));
        assert!(matches!(gate.admit(Stay::Ordinary).now_or_never(), Some(Admission::Full)));
        // A client that goes away leaves its place to another one.
        held.pop();
        assert!(gate.admit(Stay::Ordinary).now_or_never().is_none());
        gate.close();
        for held in held {
            assert!(matches!(soon(held).await, Admission::Closed));
        }
    }

    #[tokio::test]
    async fn entries_are_counted_until_they_are_dropped() {
        let gate = Gate::new();
        gate.swap(generation(1), true);
        let first = entered(gate.admit(Stay::Ordinary).await);
        let mut second = entered(gate.admit(Stay::Ordinary).await);
        assert_eq!(gate.entries(1), Entries { finite: 2, endless: 0 });
        let mut changes = gate.changes();
        changes.mark_unchanged();
        second.mark_endless();
        second.mark_endless();
        assert_eq!(gate.entries(1), Entries { finite: 1, endless: 1 });
        assert!(changes.has_changed().unwrap());
        drop(first);
        drop(second);
        assert_eq!(gate.entries(1), Entries::default());
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
        let first: Vec<Entry> = (0..3).map(|_| entry(&gate)).collect();
        let went_to: Vec<u64> = first.iter().map(|entry| entry.generation().worker).collect();
        assert_eq!(went_to, [10, 11, 12], "each in its turn");
        let busy: Vec<Entry> = first.into_iter().filter(|entry| entry.generation().worker != 11).collect();
        assert_eq!(entry(&gate).generation().worker, 11);
        assert_eq!(entry(&gate).generation().worker, 11, "the one before is over");
        drop(busy);
        let one_after_the_other: Vec<u64> = (0..6).map(|_| entry(&gate).generation().worker).collect();
        assert_eq!(one_after_the_other, [12, 10, 11, 12, 10, 11]);
    }

    #[tokio::test]
    async fn long_lived_requests_are_spread_as_well() {
        let gate = Gate::new();
        gate.swap(vec![worker(1, 10), worker(1, 11)], true);
        let mut feeds = Vec::new();
        for _ in 0..4 {
            let mut feed = entry(&gate);
            feed.mark_endless();
            feeds.push(feed);
        }
        let feeds_of = |worker| feeds.iter().filter(|feed| feed.generation().worker == worker).count();
        assert_eq!((feeds_of(10), feeds_of(11)), (2, 2));
    }

    #[tokio::test]
    async fn the_others_serve_where_one_worker_is_gone_and_a_new_one_joins_them() {
        let gate = Gate::new();
        gate.swap(vec![worker(1, 10), worker(1, 11)], true);
        let lost = entry(&gate);
        assert_eq!(lost.generation().worker, 10);
        gate.lose(lost.generation());
        assert!((0..4).all(|_| entry(&gate).generation().worker == 11));
        gate.leave(10);
        gate.join(worker(1, 12), true);
        assert!((0..4).any(|_| entry(&gate).generation().worker == 12));
        gate.leave(11);
        gate.leave(12);
        let mut held = Box::pin(gate.admit(Stay::Ordinary));
        assert!(held.as_mut().now_or_never().is_none(), "nobody is left");
        gate.join(worker(1, 13), true);
        assert_eq!(entered(soon(held).await).generation().worker, 13);
    }

    #[tokio::test]
    async fn a_worker_that_joins_during_a_build_does_not_let_requests_in() {
        let gate = Gate::new();
        gate.swap(vec![worker(1, 10), worker(1, 11)], true);
        gate.hold();
        gate.leave(10);
        gate.join(worker(1, 12), false);
        let mut held = Box::pin(gate.admit(Stay::Ordinary));
        assert!(held.as_mut().now_or_never().is_none());
        gate.swap(vec![worker(2, 13), worker(2, 14)], true);
        assert_eq!(entered(soon(held).await).generation().number, 2);
    }

    fn with_places(number: u64, ordinary: usize, long_lived: usize) -> Vec<Arc<Generation>> {
        let places = Places::new(ordinary, long_lived);
        vec![Generation::with_places(number, number, fake_worker().0, None, places)]
    }

    #[tokio::test]
    async fn long_lived_requests_leave_the_places_of_the_others() {
        let gate = Gate::new();
        gate.swap(with_places(1, 1, 2), true);
        let sockets: Vec<Entry> = (0..2)
            .map(|_| entered(gate.admit(Stay::LongLived).now_or_never().expect("there is a place")))
            .collect();
        let mut third = Box::pin(gate.admit(Stay::LongLived));
        assert!(third.as_mut().now_or_never().is_none());
        let mut other = entry(&gate);
        assert!(!other.stay(), "it cannot become one either");
        drop(sockets);
        assert!(other.stay());
        assert_eq!(entered(soon(third).await).generation().number, 1);
    }

    #[tokio::test]
    async fn requests_that_never_end_make_room_and_waiting_for_a_place_is_bounded() {
        let gate = Gate::new();
        gate.swap(with_places(1, 2, 2), true);
        let stuck: Vec<Entry> = (0..2).map(|_| entry(&gate)).collect();
        // They are not old yet, and move when they are.
        let more = [
            entered(soon(gate.admit(Stay::Ordinary)).await),
            entered(soon(gate.admit(Stay::Ordinary)).await),
        ];
        let short = Duration::from_millis(1);
        let turned_away = soon(gate.admit_within(Stay::Ordinary, HOLD_TIME_MAX, short)).await;
        assert!(matches!(turned_away, Admission::Busy(2)));
        assert_eq!(gate.waiting_count(), 0);
        let mut waiting: Vec<_> =
            (0..PLACE_WAITERS_COUNT_MAX).map(|_| Box::pin(gate.admit(Stay::Ordinary))).collect();
        assert!(waiting.iter_mut().all(|waiting| waiting.as_mut().now_or_never().is_none()));
        assert!(matches!(gate.admit(Stay::Ordinary).now_or_never(), Some(Admission::Busy(2))));
        drop((stuck, more));
    }

    #[tokio::test]
    async fn who_waits_for_a_place_goes_where_one_is() {
        let gate = Gate::new();
        gate.swap(with_places(1, 1, 0), true);
        let first = entry(&gate);
        let mut second = Box::pin(gate.admit(Stay::Ordinary));
        let mut third = Box::pin(gate.admit(Stay::Ordinary));
        assert!(second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
        drop(first);
        let second = entered(soon(second).await);
        assert_eq!(second.generation().number, 1);
        // A newer generation has places of its own.
        gate.swap(with_places(2, 1, 0), true);
        assert_eq!(entered(soon(third).await).generation().number, 2);
    }

    #[tokio::test]
    async fn a_place_that_comes_during_a_build_lets_nobody_in() {
        let gate = Gate::new();
        gate.swap(with_places(1, 1, 0), true);
        let first = entry(&gate);
        let mut second = Box::pin(gate.admit(Stay::Ordinary));
        assert!(second.as_mut().now_or_never().is_none());
        gate.hold();
        drop(first);
        assert!(second.as_mut().now_or_never().is_none());
        gate.swap(with_places(2, 1, 0), true);
        assert_eq!(entered(soon(second).await).generation().number, 2);
    }
}
