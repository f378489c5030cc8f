//! The two halves of a stream at the front: one sends the request's body, the other receives the response.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};

use crate::driver::{LinkHandle, Shared};
use crate::endpoint::Refusal;
use crate::inbox::{StreamError, StreamSlot};

/// Larger pieces belong to an upload, which is not answered piece by piece.
const MESSAGE_LENGTH_MAX_BYTES: usize = 4 * 1024;

#[derive(Debug, Clone)]
struct Stream {
    id: u32,
    /// The position in the ring where the request's head ends.
    head_end: u64,
    slot: Arc<StreamSlot>,
    link: Arc<LinkHandle>,
}

impl Stream {
    fn shared(&self) -> &Shared {
        self.link.shared()
    }

    /// Ends the stream both ways unless it is over.
    fn reset(&self) {
        // Fails only if it is over already, as it often is.
        if self.shared().call(|endpoint| endpoint.reset(self.id)).is_ok() {
            self.slot.finish(Err(StreamError::Reset));
        }
    }

    fn send_error(&self, refused: Refusal) -> StreamError {
        match refused {
            Refusal::Over(over) => over.into(),
            Refusal::TooLarge => StreamError::TooLarge,
            Refusal::Dead | Refusal::Invalid => self.slot.send_error(),
        }
    }
}

/// Creates the halves of a new stream. `end`: the request has no body, and its half is finished already.
pub(crate) fn open_halves(
    id: u32,
    head_end: u64,
    slot: Arc<StreamSlot>,
    link: &Arc<LinkHandle>,
    end: bool,
) -> (SendHalf, RecvHalf) {
    let stream = Stream { id, head_end, slot, link: Arc::clone(link) };
    let state = if end { SendState::Finished } else { SendState::Open };
    (SendHalf { stream: stream.clone(), state }, RecvHalf { stream, unreturned: 0 })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SendState {
    Open,
    Finished,
}

/// Sends the body of a request. Resets the stream when dropped before [`SendHalf::finish`], unless it is over.
#[derive(Debug)]
pub struct SendHalf {
    stream: Stream,
    state: SendState,
}

impl SendHalf {
    /// Sends all of the data, waiting for credit and room: that is the back-pressure. When cancelled, part of it may have been
    /// sent.
    ///
    /// # Errors
    ///
    /// `Reset` if the worker does not want more, although its response may be fine; `Lost` or `Fault`.
    pub async fn send(&mut self, mut data: Bytes) -> Result<(), StreamError> {
        if self.state == SendState::Finished {
            return Err(StreamError::Reset);
        }
        let is_message = data.len() <= MESSAGE_LENGTH_MAX_BYTES;
        while !data.is_empty() {
            let sent = self
                .stream
                .shared()
                .call(|endpoint| endpoint.send_data(self.stream.id, &data))
                .map_err(|refused| self.stream.send_error(refused))?;
            data.advance(sent);
            if !data.is_empty() {
                self.stream.slot.writable.notified().await;
            }
        }
        if is_message {
            self.stream.shared().expect_answer();
        }
        Ok(())
    }

    /// Ends the body. Never waits: where there is no room, the end follows later.
    ///
    /// # Errors
    ///
    /// As [`SendHalf::send`].
    pub fn finish(&mut self) -> Result<(), StreamError> {
        if self.state == SendState::Finished {
            return Ok(());
        }
        self.state = SendState::Finished;
        self.stream
            .shared()
            .call(|endpoint| endpoint.send_end(self.stream.id))
            .map_err(|refused| self.stream.send_error(refused))
    }
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        if self.state == SendState::Open {
            self.stream.reset();
        }
    }
}

/// Receives the response. Resets the stream when dropped before the end, which cancels the handler.
#[derive(Debug)]
pub struct RecvHalf {
    stream: Stream,
    /// The length of the last piece. Its credit is returned when the next one is requested.
    unreturned: usize,
}

impl RecvHalf {
    /// Receives the encoded head of the response, and whether that is all of it. Once for each stream. Cancel-safe.
    ///
    /// # Errors
    ///
    /// `Reset`, `Lost` or `Fault`.
    pub async fn head(&mut self) -> Result<(Bytes, bool), StreamError> {
        std::future::poll_fn(|context| {
            let mut inbox = self.stream.slot.lock();
            if let Some(head) = inbox.head.take() {
                return Poll::Ready(Ok(head));
            }
            match &inbox.ending {
                Some(ending) => Poll::Ready(Err(ending.clone().err().unwrap_or(StreamError::Reset))),
                None => {
                    inbox.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Whether the worker has not taken the request from the ring, after [`StreamError::Lost`]. Only final once the worker's
    /// process has ended.
    pub fn was_never_read(&self) -> bool {
        self.stream.shared().lock().last_read().is_some_and(|read| read < self.stream.head_end)
    }

    /// Receives the next piece of the body, `None` at its end. Counts the last piece as consumed. Cancel-safe.
    ///
    /// # Errors
    ///
    /// `Reset`, `Lost` or `Fault`, after everything that had arrived.
    pub async fn data(&mut self) -> Result<Option<Bytes>, StreamError> {
        std::future::poll_fn(|context| self.poll_data(context)).await
    }

    /// Polls for the next piece of the body, as [`RecvHalf::data`].
    ///
    /// # Errors
    ///
    /// As [`RecvHalf::data`].
    pub fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        let consumed = std::mem::take(&mut self.unreturned);
        if consumed > 0 {
            // Fails only if the stream is over and needs no credit.
            let _ = self.stream.shared().call(|endpoint| endpoint.consume(self.stream.id, consumed));
        }
        let mut inbox = self.stream.slot.lock();
        if let Some(piece) = inbox.body.pop_front() {
            self.unreturned = piece.len();
            return Poll::Ready(Ok(Some(piece)));
        }
        match &inbox.ending {
            Some(Ok(())) => Poll::Ready(Ok(None)),
            Some(Err(error)) => Poll::Ready(Err(error.clone())),
            None => {
                inbox.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for RecvHalf {
    fn drop(&mut self) {
        let is_over = self.stream.slot.lock().ending.is_some();
        if !is_over {
            self.stream.reset();
        }
    }
}
