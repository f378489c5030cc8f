//! The response's body on its way to the client, and what ends it.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use futures_util::{FutureExt, Stream};
use tokio::task::JoinHandle;
use tokio::time::Sleep;

use super::error::BodyError;
use super::farewell::{Farewell, WEBSOCKET_CLOSE_TIME_MAX};
use super::pump::Pump;
use super::signals::Signals;
use crate::client_gone::ClientWatch;
use crate::gate::{Backend, Visit};
use crate::upstream::{RecvHalf, UpstreamError};
use crate::websocket::{CLOSE_SERVICE_RESTART, FrameTracker};
use devhost_model::End;

/// How long an ending WebSocket may wait for the client before it takes leave of the app regardless.
const CLIENT_TURN_TIME_MAX: Duration = Duration::from_millis(100);

/// What ends a response body, besides its own end.
enum Ending {
    /// Nothing else.
    Own,
    /// The end of its generation, at once (server-sent events).
    WithGeneration(LocalBoxFuture<'static, ()>),
    /// The end of its generation, with a close frame.
    WebSocket(WebSocketEnding),
}

struct WebSocketEnding {
    half: Rc<AppHalf>,
    stage: Stage,
    /// Takes leave of the app even if nobody polls the body because the client does not read.
    _watch: AbortOnDrop,
}

struct AppHalf {
    /// `None` once the client gets no more of it.
    recv: RefCell<Option<(RecvHalf, Visit)>>,
    tracker: RefCell<FrameTracker>,
    signals: Rc<Signals>,
}

impl AppHalf {
    /// Takes leave of the app. Is a no-op the second time.
    fn leave(&self) {
        if let Some((recv, visit)) = self.recv.take() {
            self.signals.leave(Farewell::new(recv, self.tracker.borrow().clone(), visit));
        }
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

enum Stage {
    /// Frames flow.
    Open { closing: LocalBoxFuture<'static, ()> },
    /// The generation ends, but the app is within a frame or closing by itself.
    UntilBoundary { deadline: Pin<Box<Sleep>> },
    /// The close frame comes next.
    SendClose,
    /// The close frame is sent.
    AwaitClient { deadline: Pin<Box<Sleep>>, closed: LocalBoxFuture<'static, ()> },
}

/// The response body as the app sends it.
pub(crate) struct AppBody {
    /// `None` for a WebSocket: its ending has it.
    recv: Option<RecvHalf>,
    pump: Pump,
    /// `None` for a WebSocket, too.
    visit: Option<Visit>,
    backend: Arc<Backend>,
    watch: Option<ClientWatch>,
    gone: LocalBoxFuture<'static, ()>,
    ending: Ending,
    over: bool,
}

impl AppBody {
    /// Creates a body that ends by itself.
    pub(crate) fn finite(recv: RecvHalf, pump: Pump, visit: Visit, watch: Option<ClientWatch>) -> Self {
        let gone = match watch.clone() {
            Some(watch) => async move { watch.gone().await }.boxed_local(),
            None => std::future::pending().boxed_local(),
        };
        let backend = Arc::clone(visit.backend());
        let visit = Some(visit);
        Self { recv: Some(recv), pump, visit, backend, watch, gone, ending: Ending::Own, over: false }
    }

    /// Makes the body end cleanly with its generation.
    #[must_use]
    pub(crate) fn ending_with_generation(mut self) -> Self {
        self.mark_endless();
        self.ending = Ending::WithGeneration(self.closing());
        self
    }

    /// Makes the body, a WebSocket, end with its generation by a close frame.
    #[must_use]
    pub(crate) fn ending_with_close_frame(mut self) -> Self {
        self.mark_endless();
        let half = Rc::new(AppHalf {
            recv: RefCell::new(self.recv.take().zip(self.visit.take())),
            tracker: RefCell::default(),
            signals: Rc::clone(&self.pump.signals),
        });
        let watch = {
            let (half, closing) = (Rc::downgrade(&half), self.closing());
            actix_web::rt::spawn(async move {
                closing.await;
                tokio::time::sleep(CLIENT_TURN_TIME_MAX).await;
                if let Some(half) = half.upgrade() {
                    half.leave();
                }
            })
        };
        let stage = Stage::Open { closing: self.closing() };
        self.ending = Ending::WebSocket(WebSocketEnding { half, stage, _watch: AbortOnDrop(watch) });
        self
    }

    fn mark_endless(&mut self) {
        if let Some(visit) = &mut self.visit {
            visit.mark_endless();
        }
    }

    pub(crate) fn generation_number(&self) -> u64 {
        self.backend.generation
    }

    fn closing(&self) -> LocalBoxFuture<'static, ()> {
        let backend = Arc::clone(&self.backend);
        async move { backend.closing().await }.boxed_local()
    }

    fn poll_app(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let polled = match (&mut self.recv, &self.ending) {
            (Some(recv), _) => recv.poll_data(cx),
            (None, Ending::WebSocket(WebSocketEnding { half, .. })) => {
                match half.recv.borrow_mut().as_mut() {
                    Some((recv, _)) => recv.poll_data(cx),
                    None => return Poll::Ready(Some(Err(BodyError::FrameUnfinished))),
                }
            }
            (None, _) => return Poll::Ready(None),
        };
        Poll::Ready(match ready!(polled) {
            Ok(data) => data.map(Ok),
            Err(error) => {
                if let UpstreamError::Fault(fault) = &error {
                    self.backend.set_end(End::Fault { message: fault.to_string() });
                }
                Some(Err(error.into()))
            }
        })
    }

    fn poll_websocket(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            let Ending::WebSocket(WebSocketEnding { half, stage, .. }) = &mut self.ending else {
                return Poll::Ready(None);
            };
            let half = Rc::clone(half);
            match stage {
                Stage::Open { closing } => {
                    if closing.poll_unpin(cx).is_ready() {
                        let tracker = half.tracker.borrow();
                        *stage = if tracker.is_at_boundary() && !tracker.has_seen_close() {
                            Stage::SendClose
                        } else {
                            Stage::UntilBoundary { deadline: close_deadline() }
                        };
                        continue;
                    }
                    let item = ready!(self.poll_app(cx));
                    if let Some(Ok(chunk)) = &item {
                        half.tracker.borrow_mut().advance(chunk);
                    }
                    return Poll::Ready(item);
                }
                Stage::UntilBoundary { deadline } => {
                    if deadline.poll_unpin(cx).is_ready() {
                        half.leave();
                        return Poll::Ready(Some(Err(BodyError::FrameUnfinished)));
                    }
                    let item = ready!(self.poll_app(cx));
                    let mut chunk = match item {
                        Some(Ok(chunk)) => chunk,
                        Some(Err(error @ BodyError::FrameUnfinished)) => {
                            return Poll::Ready(Some(Err(error)));
                        }
                        Some(Err(_)) | None => return Poll::Ready(None),
                    };
                    let mut tracker = half.tracker.borrow_mut();
                    let used = tracker.advance_to_boundary(&chunk);
                    if tracker.has_seen_close() {
                        tracker.advance(&chunk[used..]);
                    } else if tracker.is_at_boundary() {
                        // The rest is dropped, but a close frame in it counts as an answer.
                        tracker.advance(&chunk[used..]);
                        if let Ending::WebSocket(websocket) = &mut self.ending {
                            websocket.stage = Stage::SendClose;
                        }
                        chunk.truncate(used);
                    }
                    return Poll::Ready(Some(Ok(chunk)));
                }
                Stage::SendClose => {
                    half.leave();
                    let signals = Rc::clone(&self.pump.signals);
                    let closed = async move { signals.client_closed.notified().await }.boxed_local();
                    *stage = Stage::AwaitClient { deadline: close_deadline(), closed };
                    return Poll::Ready(Some(Ok(CLOSE_SERVICE_RESTART)));
                }
                Stage::AwaitClient { deadline, closed } => {
                    if closed.poll_unpin(cx).is_ready() {
                        // The client has answered, so it has everything. It now waits for us to close first
                        // (RFC 6455 §7.1.1), but actix would wait for it.
                        if let Some(watch) = &self.watch {
                            watch.finish_sending();
                        }
                        return Poll::Ready(None);
                    }
                    ready!(deadline.poll_unpin(cx));
                    return Poll::Ready(None);
                }
            }
        }
    }
}

fn close_deadline() -> Pin<Box<Sleep>> {
    Box::pin(tokio::time::sleep(WEBSOCKET_CLOSE_TIME_MAX))
}

impl Stream for AppBody {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let item = if self.gone.poll_unpin(cx).is_ready() {
            Some(Err(BodyError::ClientGone))
        } else if self.pump.poll_broken(cx).is_ready() {
            Some(Err(BodyError::RequestBroken))
        } else {
            match &mut self.ending {
                Ending::Own => ready!(self.poll_app(cx)),
                Ending::WithGeneration(closing) => match closing.poll_unpin(cx) {
                    Poll::Ready(()) => None,
                    Poll::Pending => ready!(self.poll_app(cx)),
                },
                Ending::WebSocket(_) => ready!(self.poll_websocket(cx)),
            }
        };
        self.over = !matches!(item, Some(Ok(_)));
        Poll::Ready(item)
    }
}
