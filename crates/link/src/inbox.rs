//! What has arrived for one stream and was not taken yet: filled by the driver, emptied by the stream's halves.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::{Bytes, BytesMut};
use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::endpoint::Over;
use crate::fault::PeerFault;

/// Pieces of a body that are smaller than this together are joined, so that a worker that sends byte by byte does not
/// cost the front an allocation for each.
const PIECE_JOIN_MAX_BYTES: usize = 4 * 1024;

/// Why a stream or a link is over, seen from the front.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The worker cut this one response off, or wants no more of its request.
    #[error("the worker has reset the stream")]
    Reset,
    /// The link is gone: the worker died or was killed.
    #[error("the worker is gone")]
    Lost,
    /// The worker broke the protocol.
    #[error("the worker broke the protocol: {0}")]
    Fault(PeerFault),
    /// The head exceeds [`crate::HEAD_LENGTH_MAX_BYTES`].
    #[error("the head is too large")]
    TooLarge,
}

impl From<Over> for StreamError {
    fn from(over: Over) -> Self {
        match over {
            Over::Lost => Self::Lost,
            Over::Fault(fault) => Self::Fault(fault),
        }
    }
}

/// What has arrived for a stream and was not taken yet. Its size is bounded by the credit of the stream.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// The head of the response, and whether the response is over with it.
    pub(crate) head: Option<(Bytes, bool)>,
    pub(crate) body: VecDeque<Bytes>,
    /// Set once nothing more will come, and why.
    pub(crate) ending: Option<Result<(), StreamError>>,
    pub(crate) waker: Option<Waker>,
}

impl Inbox {
    /// Appends a piece of the body.
    pub(crate) fn push(&mut self, piece: Bytes) {
        match self.body.back_mut() {
            Some(last) if last.len() + piece.len() <= PIECE_JOIN_MAX_BYTES => {
                let mut joined = BytesMut::from(std::mem::take(last));
                joined.extend_from_slice(&piece);
                *last = joined.freeze();
            }
            _ => self.body.push_back(piece),
        }
    }
}

/// What the driver and the halves of a stream share.
#[derive(Debug)]
pub(crate) struct StreamSlot {
    inbox: Mutex<Inbox>,
    /// The sender may go on, or must give up.
    pub(crate) writable: Notify,
    /// The stream's place among [`STREAMS_COUNT_MAX`], given back with the last half: until then its inbox takes
    /// memory.
    _place: OwnedSemaphorePermit,
}

impl StreamSlot {
    pub(crate) fn new(place: OwnedSemaphorePermit) -> Self {
        Self { inbox: Mutex::default(), writable: Notify::new(), _place: place }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the inbox and wakes whoever waits for that.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Inbox)) {
        let waker = {
            let mut inbox = self.lock();
            change(&mut inbox);
            inbox.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Nothing more will come. The first reason stays.
    pub(crate) fn finish(&self, ending: Result<(), StreamError>) {
        self.change(|inbox| {
            inbox.ending.get_or_insert(ending);
        });
        self.writable.notify_one();
    }

    /// Why nothing more can be sent.
    pub(crate) fn send_error(&self) -> StreamError {
        match &self.lock().ending {
            Some(Err(error)) => error.clone(),
            Some(Ok(())) | None => StreamError::Reset,
        }
    }
}
