//! The worker's end of a link, without a runtime or a thread: its user calls [`WorkerLink::poll`] when
//! [`WorkerLink::event_fd`] is readable, and sends from any thread.
//!
//! It blocks only during another thread's call, which is short.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::copy::Access;
use crate::endpoint::{Endpoint, Incoming, Over, Refusal};
use crate::fault::{PeerFault, RegionError};
use crate::fds::LinkFds;
use crate::region::{Direction, Region, verify_seals};
use crate::streams::Side;
use crate::wake::Event;

/// How often a poll retries when something arrived while it parked.
const PARK_RETRIES_COUNT_MAX: usize = 8;

/// What a worker's link has received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerEvent {
    /// A request.
    Head {
        /// Its stream, which is new.
        stream: u32,
        /// The encoded head.
        bytes: Bytes,
        /// Whether there is no body.
        end: bool,
    },
    /// A piece of a request's body.
    Data {
        /// Its stream.
        stream: u32,
        /// At most [`crate::DATA_LENGTH_MAX_BYTES`]; empty only at the end.
        bytes: Bytes,
        /// Whether this is the last piece.
        end: bool,
    },
    /// A send that took less than all may be tried again.
    Writable {
        /// Its stream.
        stream: u32,
    },
    /// The client is gone or wants no more: the stream is over.
    Cancel {
        /// The stream.
        stream: u32,
    },
    /// A newer generation has taken over. Requests that the front had admitted before may still come.
    GoAway,
}

/// Why a call at the worker's end has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The client is gone, or the response has ended.
    #[error("the stream is over")]
    DeadStream,
    /// The front is gone, or the link is broken.
    #[error("the link is closed")]
    Closed,
    /// A call out of order, or more consumed than was received.
    #[error("the call is out of order")]
    Invalid,
    /// The head is longer than [`crate::HEAD_LENGTH_MAX_BYTES`].
    #[error("the head is too large")]
    TooLarge,
}

impl From<Refusal> for SendError {
    fn from(refused: Refusal) -> Self {
        match refused {
            Refusal::Dead => Self::DeadStream,
            Refusal::Invalid => Self::Invalid,
            Refusal::TooLarge => Self::TooLarge,
            Refusal::Over(_) => Self::Closed,
        }
    }
}

/// The worker's end of a link, usable from any thread. Dropping it tells the front that nothing more will come.
#[derive(Debug)]
pub struct WorkerLink {
    endpoint: Mutex<Endpoint<()>>,
    event: Event,
    generation: u64,
}

impl WorkerLink {
    /// Attaches to the link that the front created and attached to.
    ///
    /// # Errors
    ///
    /// A region is malformed or not sealed, or memory is short.
    pub fn attach(fds: LinkFds) -> Result<Self, RegionError> {
        verify_seals(&fds.down, Direction::Down)?;
        verify_seals(&fds.up, Direction::Up)?;
        let down = Region::map(&fds.down, Direction::Down, Access::Read)?;
        let up = Region::map(&fds.up, Direction::Up, Access::Write)?;
        let generation = down.header().generation;
        let endpoint = Endpoint::new(up, down, Event::new(fds.front_event), Side::Worker(()));
        Ok(Self { endpoint: Mutex::new(endpoint), event: Event::new(fds.worker_event), generation })
    }

    fn lock(&self) -> MutexGuard<'_, Endpoint<()>> {
        self.endpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The generation that the link was created for.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How the front broke the protocol, if it did.
    pub fn fault(&self) -> Option<PeerFault> {
        match self.lock().over() {
            Some(Over::Fault(fault)) => Some(fault.clone()),
            Some(Over::Lost) | None => None,
        }
    }

    /// The descriptor that becomes readable when [`WorkerLink::poll`] has something to do. Fit for edge-triggered and
    /// level-triggered waits.
    #[inline]
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// Takes what has arrived, at most 64 frames, and appends it. Call it until it appends nothing: then it has parked, and the
    /// next arrival makes `event_fd` readable. Resets the eventfd's counter itself.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] once the front is gone and everything that it had sent was taken, or when it broke the protocol.
    pub fn poll(&self, events: &mut Vec<WorkerEvent>) -> Result<(), SendError> {
        let mut endpoint = self.lock();
        let mut incoming = Vec::new();
        for _ in 0..PARK_RETRIES_COUNT_MAX {
            let collected = endpoint.collect(&mut incoming);
            let count = events.len();
            events.extend(incoming.drain(..).filter_map(into_event));
            if events.len() > count {
                return Ok(());
            }
            collected.map_err(|_| SendError::Closed)?;
            // Before the announcement, so that a ring in answer to it stays in the counter.
            self.event.clear();
            if endpoint.park().map_err(|_| SendError::Closed)? {
                return Ok(());
            }
        }
        // The front is as busy as this end. This end has not parked, so it must wake itself.
        self.event.ring();
        Ok(())
    }

    /// Sends the head of a response, or keeps it until there is room. `end`: there is no body.
    ///
    /// # Errors
    ///
    /// Any [`SendError`].
    #[inline]
    pub fn head(&self, stream: u32, head: &[u8], end: bool) -> Result<(), SendError> {
        Ok(self.lock().send_head(stream, head, end)?)
    }

    /// Sends bytes of a body. Returns how many were taken; if not all, for want of credit or room,
    /// [`WorkerEvent::Writable`] follows.
    ///
    /// # Errors
    ///
    /// Any [`SendError`] but `TooLarge`.
    #[inline]
    pub fn data(&self, stream: u32, data: &[u8]) -> Result<usize, SendError> {
        Ok(self.lock().send_data(stream, data)?)
    }

    /// Sends the head of a response and as much of its body as there is credit and room for. Returns how many bytes of the body
    /// were taken: if all, the response is over; else it continues as after [`WorkerLink::head`] and [`WorkerLink::data`]. The
    /// front is woken once.
    ///
    /// # Errors
    ///
    /// Any [`SendError`].
    #[inline]
    pub fn respond(&self, stream: u32, head: &[u8], data: &[u8]) -> Result<usize, SendError> {
        Ok(self.lock().send_response(stream, head, data)?)
    }

    /// Ends a response.
    ///
    /// # Errors
    ///
    /// Any [`SendError`] but `TooLarge`.
    #[inline]
    pub fn end(&self, stream: u32) -> Result<(), SendError> {
        Ok(self.lock().send_end(stream)?)
    }

    /// Aborts a response and ends its stream.
    ///
    /// # Errors
    ///
    /// `DeadStream` or `Closed`.
    #[inline]
    pub fn reset(&self, stream: u32) -> Result<(), SendError> {
        Ok(self.lock().reset(stream)?)
    }

    /// Notes that bytes of a request's body were consumed, so that the front may send more.
    ///
    /// # Errors
    ///
    /// `Invalid` if that is more than was received; `DeadStream` or `Closed`.
    #[inline]
    pub fn consume(&self, stream: u32, bytes: usize) -> Result<(), SendError> {
        Ok(self.lock().consume(stream, bytes)?)
    }
}

impl Drop for WorkerLink {
    fn drop(&mut self) {
        let _ = self.lock().shut(Over::Lost);
    }
}

fn into_event(incoming: Incoming<()>) -> Option<WorkerEvent> {
    Some(match incoming {
        Incoming::Head { stream, bytes, end, .. } => WorkerEvent::Head { stream, bytes, end },
        Incoming::Data { stream, bytes, end, .. } => WorkerEvent::Data { stream, bytes, end },
        Incoming::Writable { stream, .. } => WorkerEvent::Writable { stream },
        Incoming::Reset { stream, .. } => WorkerEvent::Cancel { stream },
        Incoming::GoAway => WorkerEvent::GoAway,
        Incoming::Space => return None,
    })
}
