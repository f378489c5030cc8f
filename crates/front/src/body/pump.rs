//! The request's body on its way to the app.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_web::dev::Payload;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::task::JoinHandle;

use super::signals::{PumpEnd, Signals};
use super::tunnel;
use crate::inbound::Turn;
use crate::upstream::{SendHalf, UpstreamError};

/// A request body, from its beginning.
pub(crate) struct RequestBody {
    payload: Payload,
    /// What has been taken from the payload already.
    kept: VecDeque<Bytes>,
    turn: Turn,
}

impl RequestBody {
    /// Creates a body of which nothing has been read.
    pub(crate) fn new(payload: Payload, turn: Turn) -> Self {
        Self { payload, kept: VecDeque::new(), turn }
    }
}

/// The task that sends a request body to the app. Stops when dropped, and drops both ends.
pub(crate) struct Pump {
    task: Option<JoinHandle<PumpEnd>>,
    /// A payload sent whole.
    finished: Option<Payload>,
    pub(super) signals: Rc<Signals>,
    /// Without a body: must not be dropped before the response is over.
    _unused: Option<SendHalf>,
}

impl Pump {
    /// Creates a pump without a body.
    pub(crate) fn idle(send: SendHalf) -> Self {
        Self {
            task: None,
            finished: None,
            signals: Rc::new(Signals::new(None, Turn::default())),
            _unused: Some(send),
        }
    }

    /// Starts sending. A `websocket` takes leave of the app when the generation ends.
    pub(crate) fn start(body: RequestBody, send: SendHalf, websocket: bool) -> Self {
        let RequestBody { payload, kept, turn } = body;
        let signals = Rc::new(Signals::new(Some(kept.clone()), turn));
        let shared = Rc::clone(&signals);
        let task = if websocket {
            actix_web::rt::spawn(tunnel::run(payload, kept, send, shared))
        } else {
            actix_web::rt::spawn(pump(payload, kept, send, shared))
        };
        Self { task: Some(task), finished: None, signals, _unused: None }
    }

    /// Stops keeping the body: the response has begun, so it will not be sent again.
    pub(crate) fn keep_no_more(&self) {
        self.signals.take_kept();
    }

    /// Stops, and returns the body from its beginning. Returns `None` if too much of it was sent, or the
    /// client broke it off.
    pub(crate) async fn recall(mut self) -> Option<RequestBody> {
        self.signals.recall.notify_one();
        let payload = match (self.finished.take(), self.task.as_mut()) {
            (Some(payload), _) => payload,
            (None, Some(task)) => match task.await.ok()? {
                PumpEnd::Finished(payload) | PumpEnd::Recalled(payload) => payload,
                PumpEnd::Broken => return None,
            },
            (None, None) => return None,
        };
        let kept = self.signals.take_kept()?;
        Some(RequestBody { payload, kept, turn: self.signals.turn.clone() })
    }

    /// Resolves if the client breaks off its body. Stays pending once the body is sent.
    pub(crate) fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(task) = &mut self.task else { return Poll::Pending };
        let end = ready!(Pin::new(task).poll(cx));
        self.task = None;
        match end {
            Ok(PumpEnd::Finished(payload) | PumpEnd::Recalled(payload)) => {
                self.finished = Some(payload);
                Poll::Pending
            }
            Ok(PumpEnd::Broken) | Err(_) => Poll::Ready(()),
        }
    }

    /// Resolves if the client breaks off its body.
    pub(crate) async fn broken(&mut self) {
        std::future::poll_fn(|cx| self.poll_broken(cx)).await;
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        if self.signals.is_leaving() {
            self.signals.gone.notify_one();
        } else if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn pump(mut payload: Payload, kept: VecDeque<Bytes>, send: SendHalf, signals: Rc<Signals>) -> PumpEnd {
    match send_all(&mut payload, kept, send, &signals).await {
        Sent::All => PumpEnd::Finished(payload),
        Sent::Broken => PumpEnd::Broken,
        Sent::Recalled => PumpEnd::Recalled(payload),
        Sent::Refused(send, UpstreamError::Lost) if signals.has_kept() => {
            // Another worker may be sent all of it.
            let _kept = send;
            signals.recall.notified().await;
            PumpEnd::Recalled(payload)
        }
        Sent::Refused(send, _) => {
            // Dropping the payload makes actix drain it, or close the connection after the response. Dropping
            // the other half would cut the response off.
            drop(payload);
            let _kept = send;
            std::future::pending().await
        }
    }
}

enum Sent {
    /// The app has all of it.
    All,
    Broken,
    /// The app wants no more, or is gone.
    Refused(SendHalf, UpstreamError),
    /// The front wants the body back.
    Recalled,
}

async fn send_all(
    payload: &mut Payload,
    mut again: VecDeque<Bytes>,
    mut send: SendHalf,
    signals: &Signals,
) -> Sent {
    loop {
        let chunk = match again.pop_front() {
            Some(chunk) => chunk,
            None => {
                let next = tokio::select! {
                    biased;
                    next = payload.next() => next,
                    () = signals.turn.breaks() => return Sent::Broken,
                    () = signals.recall.notified() => return Sent::Recalled,
                };
                match next {
                    Some(Ok(chunk)) => {
                        signals.keep(&chunk);
                        chunk
                    }
                    Some(Err(_)) => return Sent::Broken,
                    None => {
                        // The response shows an error here, too.
                        let _ = send.finish().await;
                        return Sent::All;
                    }
                }
            }
        };
        let sent = tokio::select! {
            sent = send.send(chunk) => sent,
            () = signals.recall.notified() => return Sent::Recalled,
        };
        if let Err(error) = sent {
            return Sent::Refused(send, error);
        }
    }
}
