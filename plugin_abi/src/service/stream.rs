//! The adapter's view of one request and its response: what has arrived of the request body, and how far the
//! response is. The poll thread puts in, the request's task takes out. All host calls for a stream are made
//! under its lock, since the contract forbids overlapping calls.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use tokio::sync::Notify;

use crate::abi::StreamId;

use super::error::BodyError;
use super::host::{Host, Refusal};
use super::lock::lock;
use super::panics::PanicReport;

/// How much of an unread request body to discard before refusing the rest, so that the client gets to read
/// the response.
const DISCARDED_BYTES_MAX: usize = 64 * 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Stream {
    id: StreamId,
    host: Host,
    state: Mutex<StreamState>,
    writable: Notify,
}

#[derive(Debug)]
struct StreamState {
    request: RequestBody,
    response: ResponseState,
}

#[derive(Debug)]
enum RequestBody {
    /// Arriving and being read. Bounded by the credit: only as much comes as was read.
    Arriving { pieces: VecDeque<Bytes>, ended: bool, reader: Option<Waker> },
    /// Arriving, but dropped by the app.
    Discarding { bytes: usize, refused: bool },
    /// Ended, or never coming.
    Over,
    /// The client is gone.
    Broken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ResponseState {
    Awaited,
    Sending,
    Over,
}

impl Stream {
    pub(crate) fn new(id: StreamId, host: Host, has_body: bool) -> Self {
        let request = if has_body {
            RequestBody::Arriving { pieces: VecDeque::new(), ended: false, reader: None }
        } else {
            RequestBody::Over
        };
        let state = Mutex::new(StreamState { request, response: ResponseState::Awaited });
        Self { id, host, state, writable: Notify::new() }
    }

    pub(crate) fn id(&self) -> StreamId {
        self.id
    }

    pub(crate) fn host(&self) -> Host {
        self.host
    }

    /// Returns true if both sides are done.
    pub(crate) fn is_over(&self) -> bool {
        let state = lock(&self.state);
        state.response == ResponseState::Over
            && match &state.request {
                RequestBody::Arriving { ended, .. } => *ended,
                RequestBody::Discarding { refused, .. } => *refused,
                RequestBody::Over | RequestBody::Broken => true,
            }
    }

    /// Takes a piece of the request body.
    pub(crate) fn receive(&self, data: &[u8], end: bool) {
        let mut state = lock(&self.state);
        match &mut state.request {
            RequestBody::Arriving { pieces, ended, reader } => {
                if !data.is_empty() {
                    pieces.push_back(Bytes::copy_from_slice(data));
                }
                *ended |= end;
                if let Some(reader) = reader.take() {
                    reader.wake();
                }
            }
            RequestBody::Discarding { .. } if end => state.request = RequestBody::Over,
            RequestBody::Discarding { .. } => self.discard(&mut state, data.len()),
            RequestBody::Over | RequestBody::Broken => {}
        }
    }

    /// Records that the client is gone.
    pub(crate) fn cancel(&self) {
        let mut state = lock(&self.state);
        state.response = ResponseState::Over;
        if let RequestBody::Arriving { reader: Some(reader), .. } = &mut state.request {
            reader.wake_by_ref();
        }
        state.request = RequestBody::Broken;
        drop(state);
        self.writable.notify_one();
    }

    /// Records that the host takes response bytes again.
    pub(crate) fn wake_writer(&self) {
        self.writable.notify_one();
    }

    /// Polls for the next piece of the request body. Taking it gives the client credit for as much.
    pub(crate) fn poll_request_body(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let mut state = lock(&self.state);
        match &mut state.request {
            RequestBody::Arriving { pieces, ended, reader } => {
                if let Some(piece) = pieces.pop_front() {
                    // A refusal means that the stream is over, which `cancel` will report.
                    let _ = self.host.consume(self.id, piece.len());
                    Poll::Ready(Some(Ok(piece)))
                } else if *ended {
                    state.request = RequestBody::Over;
                    Poll::Ready(None)
                } else {
                    *reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
            RequestBody::Broken => {
                Poll::Ready(Some(Err(BodyError::new("the client went away before the end of the body"))))
            }
            RequestBody::Over | RequestBody::Discarding { .. } => Poll::Ready(None),
        }
    }

    pub(crate) fn is_request_body_read(&self) -> bool {
        match &lock(&self.state).request {
            RequestBody::Arriving { pieces, ended, .. } => *ended && pieces.is_empty(),
            RequestBody::Discarding { .. } | RequestBody::Over => true,
            RequestBody::Broken => false,
        }
    }

    /// Records that the app has dropped the request body.
    pub(crate) fn discard_request_body(&self) {
        let mut state = lock(&self.state);
        if let RequestBody::Arriving { pieces, ended, .. } = &mut state.request {
            let bytes = pieces.drain(..).map(|piece| piece.len()).sum();
            if *ended {
                state.request = RequestBody::Over;
            } else {
                state.request = RequestBody::Discarding { bytes: 0, refused: false };
                self.discard(&mut state, bytes);
            }
        }
    }

    /// Lets the client continue, or stops it once too much was discarded.
    fn discard(&self, state: &mut StreamState, len: usize) {
        if let RequestBody::Discarding { bytes, refused } = &mut state.request {
            *bytes += len;
            if *bytes <= DISCARDED_BYTES_MAX {
                let _ = self.host.consume(self.id, len);
            } else if state.response == ResponseState::Over && !*refused {
                *refused = true;
                let _ = self.host.reset(self.id);
            }
        }
    }

    pub(crate) fn respond_head(
        &self,
        status: u16,
        headers: &http::HeaderMap,
        end: bool,
    ) -> Result<(), Refusal> {
        let mut state = lock(&self.state);
        if state.response != ResponseState::Awaited {
            return Err(Refusal::Over);
        }
        self.host.respond_head(self.id, status, headers, end)?;
        state.response = if end { ResponseState::Over } else { ResponseState::Sending };
        self.discard(&mut state, 0);
        Ok(())
    }

    /// Sends a response with a complete body, waiting for a slow client.
    pub(crate) async fn respond(
        &self,
        status: u16,
        headers: &http::HeaderMap,
        mut data: Bytes,
    ) -> Result<(), Refusal> {
        {
            let mut state = lock(&self.state);
            if state.response != ResponseState::Awaited {
                return Err(Refusal::Over);
            }
            let taken = self.host.respond(self.id, status, headers, &data)?;
            let is_over = taken == data.len();
            state.response = if is_over { ResponseState::Over } else { ResponseState::Sending };
            self.discard(&mut state, 0);
            if is_over {
                return Ok(());
            }
            data.advance(taken);
        }
        self.respond_body(data).await?;
        self.respond_end()
    }

    /// Sends all bytes, waiting for a slow client.
    pub(crate) async fn respond_body(&self, mut data: Bytes) -> Result<(), Refusal> {
        while !data.is_empty() {
            let taken = {
                let state = lock(&self.state);
                if state.response != ResponseState::Sending {
                    return Err(Refusal::Over);
                }
                self.host.respond_body(self.id, &data)?
            };
            data.advance(taken);
            if taken == 0 {
                // A permit left over from an earlier call only costs one more try.
                self.writable.notified().await;
            }
        }
        Ok(())
    }

    pub(crate) fn respond_end(&self) -> Result<(), Refusal> {
        self.finish(|| self.host.respond_end(self.id))
    }

    pub(crate) fn respond_panic(&self, report: &PanicReport) -> Result<(), Refusal> {
        self.finish(|| self.host.respond_panic(self.id, report))
    }

    /// Aborts the response, and the request body with it.
    pub(crate) fn reset(&self) {
        let _ = self.finish(|| self.host.reset(self.id));
        let mut state = lock(&self.state);
        if !matches!(state.request, RequestBody::Over) {
            state.request = RequestBody::Broken;
        }
    }

    fn finish(&self, end: impl FnOnce() -> Result<(), Refusal>) -> Result<(), Refusal> {
        let mut state = lock(&self.state);
        if state.response == ResponseState::Over {
            return Err(Refusal::Over);
        }
        state.response = ResponseState::Over;
        end()?;
        self.discard(&mut state, 0);
        Ok(())
    }
}
