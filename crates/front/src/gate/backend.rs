//! One worker behind the gate, as the front sees it. Makes no decisions and does no I/O of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;

use crate::slots::Slots;
use crate::upstream::Upstream;
use devhost_model::{End, StopReason};
use devhost_sys::output::{Output, Position};
use devhost_watch::{Look, Seat};

/// How long a client waits for the report of how its worker ended.
const END_REPORT_TIME_MAX: Duration = Duration::from_millis(1500);

/// One worker of a generation, as the front sees it.
#[derive(Debug)]
pub struct Backend {
    /// The number of its generation, from 1.
    pub generation: u64,
    /// The worker's number, which no other worker has in this run.
    pub worker: u64,
    /// How the front reaches the worker.
    pub upstream: Upstream,
    slots: Slots,
    output: Option<Arc<Output>>,
    /// How the worker ended; `None` while it runs.
    end: watch::Sender<Option<End>>,
    /// Why devhost ends the worker, once it does.
    stopping: OnceLock<StopReason>,
    /// True once its long-lived streams (WebSocket, server-sent events) are to close.
    closing: watch::Sender<bool>,
    /// It has not sent a response yet.
    silent: AtomicBool,
    /// What its app does with files.
    seat: OnceLock<Arc<Seat>>,
}

impl Backend {
    /// Creates the front's view of a worker that has just been linked.
    pub fn new(
        generation: u64,
        worker: u64,
        upstream: impl Into<Upstream>,
        output: Option<Arc<Output>>,
    ) -> Arc<Self> {
        Self::with_slots(generation, worker, upstream, output, Slots::default())
    }

    /// Like [`Backend::new`], with other limits than the usual ones.
    pub(crate) fn with_slots(
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
            seat: OnceLock::new(),
        })
    }

    /// Has responses compared with the files that the app opens.
    pub fn set_seat(&self, seat: Arc<Seat>) {
        let _ = self.seat.set(seat);
    }

    /// Notes a request for something that may be a file.
    pub(crate) fn look(&self) -> Option<Look> {
        self.seat.get().map(Seat::enter)
    }

    pub(super) fn slots(&self) -> &Slots {
        &self.slots
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

    /// Returns how the worker ended, if that has been reported.
    pub fn reported_end(&self) -> Option<End> {
        self.end.borrow().clone()
    }

    /// Returns how the worker ended, waiting a moment for the report if the link broke first.
    pub(crate) async fn end(&self) -> End {
        let mut end = self.end.subscribe();
        let reported = tokio::time::timeout(END_REPORT_TIME_MAX, end.wait_for(Option::is_some)).await;
        let end = match reported {
            Ok(Ok(end)) => end.clone().unwrap_or(End::Lost),
            _ => End::Lost,
        };
        end.explained(self.stopping(), || self.last_output())
    }

    /// Records why devhost ends the worker. The first reason counts.
    pub fn set_stopping(&self, reason: StopReason) {
        let _ = self.stopping.set(reason);
    }

    /// Returns why devhost ends the worker, if it does.
    pub(crate) fn stopping(&self) -> Option<StopReason> {
        self.stopping.get().copied()
    }

    /// Notes a response. Returns true for the first one.
    pub(crate) fn take_first_response(&self) -> bool {
        self.silent.load(Ordering::Relaxed) && self.silent.swap(false, Ordering::Relaxed)
    }

    /// Returns the last output of the worker, as far as it is known.
    pub fn last_output(&self) -> String {
        self.output.as_ref().map(|output| output.last()).unwrap_or_default()
    }

    /// Returns the current position in the worker's output.
    pub(crate) fn output_position(&self) -> Position {
        self.output.as_ref().map(|output| output.position()).unwrap_or_default()
    }

    /// Returns the last output of the worker since `position`, as far as it is known.
    pub(crate) fn last_output_since(&self, position: Position) -> String {
        self.output.as_ref().map(|output| output.last_since(position)).unwrap_or_default()
    }

    /// Asks the long-lived streams to close.
    pub fn close_streams(&self) {
        self.closing.send_replace(true);
    }

    /// Resolves once the long-lived streams are to close.
    pub(crate) async fn closing(&self) {
        let mut closing = self.closing.subscribe();
        // An error means that the backend is gone, which closes its streams as well.
        let _ = closing.wait_for(|closing| *closing).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fake::fake_worker;
    use crate::tests::soon;

    #[tokio::test]
    async fn the_first_report_of_an_end_counts() {
        let generation = Backend::new(1, 1, fake_worker().0, None);
        generation.set_end(End::Signalled { signal: 11 });
        generation.set_end(End::Lost);
        assert_eq!(soon(generation.end()).await, End::Signalled { signal: 11 });
    }
}
