//! What has arrived on one stream of the front, unread: filled by the driver, emptied by the stream's halves.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::{Bytes, BytesMut};
use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::endpoint::Over;
use crate::fault::PeerFault;

/// Smaller pieces of a body are joined up to this size, to save the front an allocation for each if a worker
/// sends byte by byte.
const PIECE_JOIN_MAX_BYTES: usize = 4 * 1024;

/// Why a stream or a link is over, as seen from the front.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The worker aborted this response, or does not want the rest of the request.
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

/// What has arrived on a stream, unread. Bounded by the stream's credit.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// The head of the response, and whether it ends the response.
    pub(crate) head: Option<(Bytes, bool)>,
    pub(crate) body: VecDeque<Bytes>,
    /// Why nothing more will come, if so.
    pub(crate) ending: Option<Result<(), StreamError>>,
    pub(crate) waker: Option<Waker>,
}

impl Inbox {
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

/// State shared by the driver and the halves of a stream.
#[derive(Debug)]
pub(crate) struct StreamSlot {
    inbox: Mutex<Inbox>,
    /// Notified when the sender may continue or must give up.
    pub(crate) writable: Notify,
    /// The stream's permit among [`STREAMS_COUNT_MAX`](crate::STREAMS_COUNT_MAX). Returned with the last
    /// half, because the inbox takes memory until then.
    _place: OwnedSemaphorePermit,
}

impl StreamSlot {
    pub(crate) fn new(place: OwnedSemaphorePermit) -> Self {
        Self { inbox: Mutex::default(), writable: Notify::new(), _place: place }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the inbox and wakes its waiter.
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

    /// Notes that nothing more will come. The first reason stays.
    pub(crate) fn finish(&self, ending: Result<(), StreamError>) {
        self.change(|inbox| {
            inbox.ending.get_or_insert(ending);
        });
        self.writable.notify_one();
    }

    /// Returns why nothing more can be sent.
    pub(crate) fn send_error(&self) -> StreamError {
        match &self.lock().ending {
            Some(Err(error)) => error.clone(),
            Some(Ok(())) | None => StreamError::Reset,
        }
    }
}
