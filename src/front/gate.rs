//! The gate: which generation a request goes to, and whether it has to wait first.
//!
//! The runner turns the gate (hold, swap, fail), requests pass through it. A request that was admitted keeps
//! its generation alive until its [`Entry`] is dropped, so a generation that is told to drain and has no entry
//! left is idle for good: entering and swapping happen under one lock.
//!
//! A generation may have several workers. A request goes to the one that has the fewest, and stays with it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::upstream::Upstream;
use crate::model::{End, Failure, StopReason};
use crate::sys::output::{Output, Position};

/// How long a request waits for a build before it gets a page instead.
pub const HOLD_TIME_MAX: Duration = Duration::from_secs(60);

/// How many requests may wait for a build at once; the next one gets a page.
pub const HELD_COUNT_MAX: usize = 1024;

/// How long a waiting client is kept for the report of how its worker ended.
pub const END_REPORT_TIME_MAX: Duration = Duration::from_millis(1500);

/// One generation in one of its workers, as the front sees it.
#[derive(Debug)]
pub struct Generation {
    /// Its number, from 1.
    pub number: u64,
    /// The worker's number, which no other worker has in this run.
    pub worker: u64,
    /// The way to its worker.
    pub client: Upstream,
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
        Arc::new(Self {
            number,
            worker,
            client: client.into(),
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
    /// devhost is ending.
    Closed,
}

/// A request inside a generation. Dropped when request and response are over.
#[derive(Debug)]
pub struct Entry {
    generation: Arc<Generation>,
    gate: Arc<Shared>,
    endless: bool,
}

impl Entry {
    /// The generation that serves the request.
    pub fn generation(&self) -> &Arc<Generation> {
        &self.generation
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
    closed: bool,
    /// By worker.
    entries: HashMap<u64, Entries>,
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
    changed: watch::Sender<u64>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.send_modify(|version| *version += 1);
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
        Self(Arc::new(Shared { state: Mutex::new(state), changed: watch::Sender::new(0) }))
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

    /// Lets a request in, waiting as long as it is held.
    pub async fn admit(&self) -> Admission {
        self.admit_within(HOLD_TIME_MAX).await
    }

    async fn admit_within(&self, limit: Duration) -> Admission {
        if let Some(now) = self.try_admit() {
            return now;
        }
        let _place = {
            let mut state = self.0.lock();
            if state.held >= HELD_COUNT_MAX {
                return Admission::Full;
            }
            state.held += 1;
            HeldPlace(&self.0)
        };
        let mut changes = self.changes();
        let wait = async {
            loop {
                changes.mark_unchanged();
                if let Some(now) = self.try_admit() {
                    return now;
                }
                if changes.changed().await.is_err() {
                    return Admission::Closed;
                }
            }
        };
        tokio::time::timeout(limit, wait).await.unwrap_or(Admission::TimedOut)
    }

    fn try_admit(&self) -> Option<Admission> {
        let mut state = self.0.lock();
        if state.closed {
            return Some(Admission::Closed);
        }
        if state.hold {
            return None;
        }
        let Some(generation) = state.choose().cloned() else {
            return state.failure.clone().map(Admission::Failed);
        };
        state.entries.entry(generation.worker).or_default().finite += 1;
        drop(state);
        Some(Admission::Enter(Entry { generation, gate: Arc::clone(&self.0), endless: false }))
    }
}

struct HeldPlace<'a>(&'a Shared);

impl Drop for HeldPlace<'_> {
    fn drop(&mut self) {
        self.0.lock().held -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::tests::fake::fake_worker;
    use crate::front::tests::soon;
    use futures_util::FutureExt;

    fn generation(number: u64) -> Vec<Arc<Generation>> {
        vec![worker(number, number)]
    }

    fn worker(generation: u64, number: u64) -> Arc<Generation> {
        Generation::new(generation, number, fake_worker().0, None)
    }

    fn entry(gate: &Gate) -> Entry {
        entered(gate.admit().now_or_never().expect("nothing holds it"))
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
        assert_eq!(number(gate.admit().now_or_never()), Some(1));
        gate.hold();
        let mut held = Box::pin(gate.admit());
        assert!(held.as_mut().now_or_never().is_none());
        gate.swap(generation(2), true);
        assert_eq!(entered(soon(held).await).generation().number, 2);
    }

    #[tokio::test]
    async fn released_requests_go_to_the_last_good_generation() {
        let gate = Gate::new();
        gate.swap(generation(1), true);
        gate.hold();
        let mut held = Box::pin(gate.admit());
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
        assert!(matches!(soon(gate.admit()).await, Admission::Failed(Failure::Start { .. })));
    }

    #[tokio::test]
    async fn a_lost_generation_is_waited_for_and_is_no_first_start() {
        let gate = Gate::new();
        gate.swap(generation(1), true);
        gate.lose_current();
        assert!(!gate.is_starting());
        let mut held = Box::pin(gate.admit());
        assert!(held.as_mut().now_or_never().is_none());
        gate.swap(generation(2), true);
        assert_eq!(entered(soon(held).await).generation().number, 2);
    }

    #[tokio::test]
    async fn waiting_is_bounded_in_time_and_number() {
        let gate = Gate::new();
        assert!(matches!(soon(gate.admit_within(Duration::from_millis(1))).await, Admission::TimedOut));
        let mut held: Vec<_> = (0..HELD_COUNT_MAX).map(|_| Box::pin(gate.admit())).collect();
        assert!(held.iter_mut().all(|held| held.as_mut().now_or_never().is_none()));
        assert!(matches!(gate.admit().now_or_never(), Some(Admission::Full)));
        // A client that goes away leaves its place to another one.
        held.pop();
        assert!(gate.admit().now_or_never().is_none());
        gate.close();
        for held in held {
            assert!(matches!(soon(held).await, Admission::Closed));
        }
    }

    #[tokio::test]
    async fn entries_are_counted_until_they_are_dropped() {
        let gate = Gate::new();
        gate.swap(generation(1), true);
        let first = entered(gate.admit().await);
        let mut second = entered(gate.admit().await);
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
        let mut held = Box::pin(gate.admit());
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
        let mut held = Box::pin(gate.admit());
        assert!(held.as_mut().now_or_never().is_none());
        gate.swap(vec![worker(2, 13), worker(2, 14)], true);
        assert_eq!(entered(soon(held).await).generation().number, 2);
    }
}
