//! What the task that sends the request body and the response's body tell each other.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use actix_web::dev::Payload;
use bytes::Bytes;
use tokio::sync::Notify;

use super::farewell::Farewell;
use crate::inbound::Turn;
use crate::websocket::FrameTracker;
use devhost_link::CREDIT_MAX_BYTES;

/// How many bytes of a request body are kept for another worker. More than can be sent to one that reads
/// nothing.
const KEPT_SIZE_MAX: usize = 2 * CREDIT_MAX_BYTES;

/// How sending a request body ended.
pub(super) enum PumpEnd {
    Finished(Payload),
    Recalled(Payload),
    Broken,
}

/// Shared by the sending task and the response's body.
pub(super) struct Signals {
    /// Everything taken from the payload, while it is complete and may be wanted.
    kept: RefCell<Option<VecDeque<Bytes>>>,
    pub(super) turn: Turn,
    pub(super) recall: Notify,
    /// The app's half of a WebSocket whose generation ends.
    farewell: RefCell<Option<Farewell>>,
    leave: Notify,
    /// The task is ending the connection to the app and must not be stopped.
    is_leaving: Cell<bool>,
    /// Notified when the response's body is dropped.
    pub(super) gone: Notify,
    client_closing: Cell<bool>,
    pub(super) client_closed: Notify,
}

impl Signals {
    pub(super) fn new(kept: Option<VecDeque<Bytes>>, turn: Turn) -> Self {
        Self {
            kept: RefCell::new(kept),
            turn,
            recall: Notify::new(),
            farewell: RefCell::new(None),
            leave: Notify::new(),
            is_leaving: Cell::new(false),
            gone: Notify::new(),
            client_closing: Cell::new(false),
            client_closed: Notify::new(),
        }
    }

    /// Returns true while the body can be sent to another worker.
    pub(super) fn has_kept(&self) -> bool {
        self.kept.borrow().is_some()
    }

    /// Makes the task end the connection to the app.
    pub(super) fn leave(&self, farewell: Farewell) {
        self.farewell.replace(Some(farewell));
        self.is_leaving.set(true);
        self.leave.notify_one();
    }

    /// Waits until the connection to the app must end. Cancel-safe.
    pub(super) async fn farewell(&self) -> Farewell {
        loop {
            if let Some(farewell) = self.farewell.take() {
                return farewell;
            }
            self.leave.notified().await;
        }
    }

    pub(super) fn take_kept(&self) -> Option<VecDeque<Bytes>> {
        self.kept.take()
    }

    /// Returns true once the task is ending the connection to the app and must not be stopped.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving.get()
    }

    /// Looks for the close frame in the client's bytes.
    pub(super) fn follow(&self, tracker: &mut FrameTracker, chunk: &[u8]) {
        tracker.advance(chunk);
        if tracker.has_seen_close() && !self.client_closing.replace(true) {
            self.client_closed.notify_one();
        }
    }

    /// Keeps a piece about to be sent.
    pub(super) fn keep(&self, chunk: &Bytes) {
        let mut kept = self.kept.borrow_mut();
        if let Some(pieces) = kept.as_mut() {
            pieces.push_back(chunk.clone());
            if pieces.iter().map(Bytes::len).sum::<usize>() > KEPT_SIZE_MAX {
                *kept = None;
            }
        }
    }
}
