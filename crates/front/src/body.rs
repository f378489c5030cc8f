//! Bodies on their way through the front: the request's, pumped to the app by a task of its own so that a
//! slow response does not stop it, and the response's, taken from the app only when actix wants more. Both end
//! when the response is over or the client is gone. No buffer here grows: the link's credit is the limit.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::Payload;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::LocalBoxStream;
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Sleep;

use super::client_gone::ClientWatch;
use super::gate::{Backend, Visit};
use super::inbound::Turn;
use super::tunnel::{self, Farewell};
use super::upstream::{RecvHalf, SendHalf, UpstreamError};
use super::websocket::{CLOSE_SERVICE_RESTART, FrameTracker};
use devhost_link::CREDIT_MAX_BYTES;
use devhost_model::End;

/// How long the end of a WebSocket waits for the frame it is in, and then for the client's close frame.
pub(crate) const WEBSOCKET_CLOSE_TIME_MAX: Duration = Duration::from_secs(1);

/// Why a response broke off after its head.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The app or its worker failed.
    #[error("the app's response broke off: {0}")]
    Upstream(#[from] UpstreamError),
    /// The client closed the connection.
    #[error("the client is gone")]
    ClientGone,
    /// The client broke its request body off.
    #[error("the request body broke off")]
    RequestBroken,
    /// What the app sent is not what its content-encoding says.
    #[error("failed to decode the response: {0}")]
    Decode(std::io::Error),
    /// The app announced a longer body.
    #[error("the response ended {0} bytes early")]
    Short(u64),
    /// The app did not finish its WebSocket frame in time.
    #[error("the generation ended within a frame")]
    FrameUnfinished,
}

/// A stream of body bytes.
pub(crate) type ByteStream = LocalBoxStream<'static, Result<Bytes, BodyError>>;

/// How long the client's half of an ending WebSocket may go first, before the app is told whatever the client does.
const CLIENT_TURN_TIME_MAX: Duration = Duration::from_millis(100);

/// How much of a request body is kept until the response begins, so that it can be sent to another worker. More than a
/// worker can be sent that has read nothing of it.
const KEPT_SIZE_MAX: usize = 2 * CREDIT_MAX_BYTES;

/// A request body on its way to the app, from its beginning.
pub(crate) struct RequestBody {
    payload: Payload,
    /// What was taken from the payload already.
    kept: VecDeque<Bytes>,
    turn: Turn,
}

impl RequestBody {
    /// A body of which nothing has been read.
    pub(crate) fn new(payload: Payload, turn: Turn) -> Self {
        Self { payload, kept: VecDeque::new(), turn }
    }
}

/// The task that sends a request body to the app. Dropped, it stops and lets go of both ends.
pub(crate) struct Pump {
    task: Option<JoinHandle<PumpEnd>>,
    /// A payload that has been sent whole.
    finished: Option<Payload>,
    signals: Rc<Signals>,
    /// Where there is no body to send: the end that must not be dropped before the response is over.
    _unused: Option<SendHalf>,
}

/// How the sending of a request body ended.
pub(super) enum PumpEnd {
    Finished(Payload),
    Recalled(Payload),
    Broken,
}

/// What the task that sends and the body of the response tell each other.
pub(super) struct Signals {
    /// What was taken from the payload, as long as that is everything and may be wanted.
    kept: RefCell<Option<VecDeque<Bytes>>>,
    pub turn: Turn,
    pub recall: Notify,
    /// The app's half of a WebSocket whose generation ends.
    farewell: RefCell<Option<Farewell>>,
    leave: Notify,
    /// The task ends the connection to the app; until then it must not be stopped.
    is_leaving: Cell<bool>,
    /// The body of the response is gone.
    pub gone: Notify,
    client_closing: Cell<bool>,
    client_closed: Notify,
}

impl Signals {
    fn new(kept: Option<VecDeque<Bytes>>, turn: Turn) -> Self {
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

    /// True while the body can be sent to another worker.
    pub(crate) fn has_kept(&self) -> bool {
        self.kept.borrow().is_some()
    }

    /// Lets the task end the connection to the app.
    fn leave(&self, farewell: Farewell) {
        self.farewell.replace(Some(farewell));
        self.is_leaving.set(true);
        self.leave.notify_one();
    }

    /// Waits until the connection to the app is to be ended. Cancel-safe.
    pub(crate) async fn farewell(&self) -> Farewell {
        loop {
            if let Some(farewell) = self.farewell.take() {
                return farewell;
            }
            self.leave.notified().await;
        }
    }

    /// Looks for the close frame in what the client sends.
    pub(crate) fn follow(&self, tracker: &mut FrameTracker, chunk: &[u8]) {
        tracker.advance(chunk);
        if tracker.has_seen_close() && !self.client_closing.replace(true) {
            self.client_closed.notify_one();
        }
    }

    /// Keeps a piece of the body that is about to be sent.
    pub(crate) fn keep(&self, chunk: &Bytes) {
        let mut kept = self.kept.borrow_mut();
        if let Some(pieces) = kept.as_mut() {
            pieces.push_back(chunk.clone());
            if pieces.iter().map(Bytes::len).sum::<usize>() > KEPT_SIZE_MAX {
                *kept = None;
            }
        }
    }
}

impl Pump {
    /// No body to send.
    pub(crate) fn idle(send: SendHalf) -> Self {
        Self {
            task: None,
            finished: None,
            signals: Rc::new(Signals::new(None, Turn::default())),
            _unused: Some(send),
        }
    }

    /// Starts to send. With `websocket`, it takes leave of the app when the generation ends.
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

    /// The response has begun: the body will not be sent again.
    pub(crate) fn keep_no_more(&self) {
        self.signals.kept.take();
    }

    /// Stops, and gives the body back from its beginning; `None` if too much of it has been sent, or the client broke it
    /// off.
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
        let kept = self.signals.kept.take()?;
        Some(RequestBody { payload, kept, turn: self.signals.turn.clone() })
    }

    /// Resolves if the client breaks its body off. Stays pending once the body is sent.
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

    /// Resolves if the client breaks its body off.
    pub(crate) async fn broken(&mut self) {
        std::future::poll_fn(|cx| self.poll_broken(cx)).await;
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        if self.signals.is_leaving.get() {
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
            // The app wants no more of the body. Letting go of the payload makes actix drain it or close the
            // connection after the response; letting go of the other end would cut the response off.
            drop(payload);
            let _kept = send;
            std::future::pending().await
        }
    }
}

/// How sending a request body ended.
enum Sent {
    /// The app has all of it.
    All,
    /// The client broke it off.
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
                        // An error here shows in the response, too.
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

/// What ends a response body besides its own end.
enum Ending {
    /// Nothing: it ends by itself.
    Own,
    /// The end of the generation, at once (server-sent events).
    WithGeneration(LocalBoxFuture<'static, ()>),
    /// The end of the generation, by a close frame.
    WebSocket(WebSocketEnding),
}

struct WebSocketEnding {
    half: Rc<AppHalf>,
    stage: Stage,
    /// Takes leave of the app when the client does not read, so that nobody polls the body.
    _watch: AbortOnDrop,
}

/// The app's half of a WebSocket.
struct AppHalf {
    /// `None` once the client gets no more of it.
    recv: RefCell<Option<(RecvHalf, Visit)>>,
    tracker: RefCell<FrameTracker>,
    signals: Rc<Signals>,
}

impl AppHalf {
    /// Begins to take leave of the app, unless that has begun.
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
    /// The generation ends, but the app is within a frame, or closes by itself.
    UntilBoundary { deadline: Pin<Box<Sleep>> },
    /// The close frame comes next.
    SendClose,
    /// The close frame is sent.
    AwaitClient { deadline: Pin<Box<Sleep>>, closed: LocalBoxFuture<'static, ()> },
}

/// The response body as the app sends it.
pub(crate) struct AppBody {
    /// `None` for a WebSocket, whose ending has it.
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
    /// A body that ends by itself.
    pub(crate) fn finite(recv: RecvHalf, pump: Pump, visit: Visit, watch: Option<ClientWatch>) -> Self {
        let gone = match watch.clone() {
            Some(watch) => async move { watch.gone().await }.boxed_local(),
            None => std::future::pending().boxed_local(),
        };
        let backend = Arc::clone(visit.backend());
        let visit = Some(visit);
        Self { recv: Some(recv), pump, visit, backend, watch, gone, ending: Ending::Own, over: false }
    }

    /// Lets the body end cleanly with its generation.
    #[must_use]
    pub(crate) fn ending_with_generation(mut self) -> Self {
        self.mark_endless();
        self.ending = Ending::WithGeneration(self.closing());
        self
    }

    /// Lets the body, a WebSocket, end with its generation by a close frame.
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

    /// The number of the generation that sends it.
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
                        // What follows is thrown away, but a close frame in it is an answer.
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
                        // The client has answered, so it has all that was sent. It now waits for us to close
                        // first (RFC 6455 §7.1.1), where actix would wait for the client.
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

/// A body that was announced with a length and is sent with another: breaks off if the app ends it too early.
pub(crate) fn announced(stream: ByteStream, length: u64) -> ByteStream {
    futures_util::stream::unfold(Some((stream, length)), async |state| {
        let (mut stream, left) = state?;
        match stream.next().await {
            Some(Ok(chunk)) => {
                let left = left.saturating_sub(chunk.len() as u64);
                Some((Ok(chunk), Some((stream, left))))
            }
            Some(Err(error)) => Some((Err(error), None)),
            None => (left > 0).then_some((Err(BodyError::Short(left)), None)),
        }
    })
    .boxed_local()
}

/// A body as actix wants it: bytes and a size. actix cuts what exceeds the size.
pub(crate) struct SizedBody {
    stream: ByteStream,
    size: BodySize,
    /// What is still to come of a known size.
    left: u64,
    /// Why the connection is to be cut, once what came before has been written.
    broken: Option<BodyError>,
}

impl SizedBody {
    /// The bytes of `stream`, announced as `size`.
    pub(crate) fn new(stream: ByteStream, size: BodySize) -> Self {
        let left = if let BodySize::Sized(length) = size { length } else { 0 };
        Self { stream, size, left, broken: None }
    }

    /// No bytes, announced as `size`: the answer to a HEAD.
    pub(crate) fn head_only(size: BodySize) -> Self {
        Self { stream: futures_util::stream::empty().boxed_local(), size, left: 0, broken: None }
    }
}

impl MessageBody for SizedBody {
    type Error = BodyError;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let error = loop {
            match ready!(self.stream.poll_next_unpin(cx)) {
                // An empty chunk would read as the end of a chunked body.
                Some(Ok(chunk)) if chunk.is_empty() => {}
                Some(Ok(chunk)) => {
                    self.left = self.left.saturating_sub(chunk.len() as u64);
                    return Poll::Ready(Some(Ok(chunk)));
                }
                None if self.left > 0 => break BodyError::Short(self.left),
                None => return Poll::Ready(None),
                Some(Err(error)) => break error,
            }
        };
        // actix drops what it has not yet written when a body fails, perhaps even the head. It writes while
        // the body is pending.
        self.broken = Some(error);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
