//! Bodies on their way through the front: the request's, pumped to the app by a task of its own so that a
//! slow response does not stop it, and the response's, taken from the app only when actix wants more. Both end
//! when the response is over or the client is gone. No buffer here grows: the link's credit is the limit.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
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
use super::gate::Entry;
use super::inbound::Turn;
use super::upstream::{RecvHalf, SendHalf, UpstreamError};
use super::websocket::{CLOSE_SERVICE_RESTART, FrameTracker};
use crate::model::End;
use crate::shm::CREDIT_MAX_BYTES;

/// How long the end of a WebSocket waits for the frame it is in, and then for the client's close frame.
pub const WEBSOCKET_CLOSE_TIME_MAX: Duration = Duration::from_secs(1);

/// Why a response broke off after its head.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
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
pub type ByteStream = LocalBoxStream<'static, Result<Bytes, BodyError>>;

/// How much of a request body is kept until the response begins, so that it can be sent to another worker. More than a
/// worker can be sent that has read nothing of it.
const KEPT_SIZE_MAX: usize = 2 * CREDIT_MAX_BYTES;

/// A request body on its way to the app, from its beginning.
pub struct RequestBody {
    payload: Payload,
    /// What was taken from the payload already.
    kept: VecDeque<Bytes>,
    turn: Turn,
}

impl RequestBody {
    /// A body of which nothing has been read.
    pub fn new(payload: Payload, turn: Turn) -> Self {
        Self { payload, kept: VecDeque::new(), turn }
    }
}

/// The task that sends a request body to the app. Dropped, it stops and lets go of both ends.
pub struct Pump {
    task: Option<JoinHandle<PumpEnd>>,
    /// A payload that has been sent whole.
    finished: Option<Payload>,
    signals: Rc<Signals>,
    /// Where there is no body to send: the end that must not be dropped before the response is over.
    _unused: Option<SendHalf>,
}

enum PumpEnd {
    Finished(Payload),
    Recalled(Payload),
    Broken,
}

#[derive(Debug)]
struct Signals {
    /// What was taken from the payload, as long as that is everything and may be wanted.
    kept: RefCell<Option<VecDeque<Bytes>>>,
    turn: Turn,
    recall: Notify,
    discard: Notify,
    client_closing: Cell<bool>,
    client_closed: Notify,
}

impl Signals {
    fn new(kept: Option<VecDeque<Bytes>>, turn: Turn) -> Self {
        Self {
            kept: RefCell::new(kept),
            turn,
            recall: Notify::new(),
            discard: Notify::new(),
            client_closing: Cell::new(false),
            client_closed: Notify::new(),
        }
    }

    /// Keeps a piece of the body that is about to be sent.
    fn keep(&self, chunk: &Bytes) {
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
    pub fn idle(send: SendHalf) -> Self {
        Self {
            task: None,
            finished: None,
            signals: Rc::new(Signals::new(None, Turn::default())),
            _unused: Some(send),
        }
    }

    /// Starts to send. With `websocket`, it looks out for the client's close frame.
    pub fn start(body: RequestBody, send: SendHalf, websocket: bool) -> Self {
        let RequestBody { payload, kept, turn } = body;
        let signals = Rc::new(Signals::new(Some(kept.clone()), turn));
        let tracker = websocket.then(FrameTracker::default);
        let task = actix_web::rt::spawn(pump(payload, kept, send, tracker, Rc::clone(&signals)));
        Self { task: Some(task), finished: None, signals, _unused: None }
    }

    /// The response has begun: the body will not be sent again.
    pub fn keep_no_more(&self) {
        self.signals.kept.take();
    }

    /// Stops, and gives the body back from its beginning; `None` if too much of it has been sent, or the client broke it
    /// off.
    pub async fn recall(mut self) -> Option<RequestBody> {
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
    pub fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
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
    pub async fn broken(&mut self) {
        std::future::poll_fn(|cx| self.poll_broken(cx)).await;
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn pump(
    mut payload: Payload,
    kept: VecDeque<Bytes>,
    send: SendHalf,
    mut tracker: Option<FrameTracker>,
    signals: Rc<Signals>,
) -> PumpEnd {
    let end = send_all(&mut payload, kept, send, &mut tracker, &signals).await;
    match end {
        Sent::All => PumpEnd::Finished(payload),
        Sent::Broken => PumpEnd::Broken,
        Sent::Recalled => PumpEnd::Recalled(payload),
        Sent::Refused(send, UpstreamError::Lost) if signals.kept.borrow().is_some() => {
            // Another worker may be sent all of it.
            let _kept = send;
            signals.recall.notified().await;
            PumpEnd::Recalled(payload)
        }
        Sent::Refused(send, _) if tracker.is_none() => {
            // The app wants no more of the body. Letting go of the payload makes actix drain it or close the
            // connection after the response; letting go of the other end would cut the response off.
            drop(payload);
            let _kept = send;
            std::future::pending().await
        }
        Sent::Refused(..) | Sent::Discarded => {
            while let Some(Ok(chunk)) = payload.next().await {
                follow(&mut tracker, &chunk, &signals);
            }
            PumpEnd::Finished(payload)
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
    /// The front wants no more to be sent.
    Discarded,
    /// The front wants the body back.
    Recalled,
}

async fn send_all(
    payload: &mut Payload,
    mut again: VecDeque<Bytes>,
    mut send: SendHalf,
    tracker: &mut Option<FrameTracker>,
    signals: &Signals,
) -> Sent {
    loop {
        let (chunk, is_new) = match again.pop_front() {
            Some(chunk) => (Some(Ok(chunk)), false),
            None => tokio::select! {
                biased;
                chunk = payload.next() => (chunk, true),
                () = signals.turn.breaks() => return Sent::Broken,
                () = signals.discard.notified() => return Sent::Discarded,
                () = signals.recall.notified() => return Sent::Recalled,
            },
        };
        let chunk = match chunk {
            Some(Ok(chunk)) => chunk,
            Some(Err(_)) => return Sent::Broken,
            None => {
                // An error here shows in the response, too.
                let _ = send.finish().await;
                return Sent::All;
            }
        };
        if is_new {
            signals.keep(&chunk);
        }
        follow(tracker, &chunk, signals);
        let sent = tokio::select! {
            sent = send.send(chunk) => sent,
            () = signals.discard.notified() => return Sent::Discarded,
            () = signals.recall.notified() => return Sent::Recalled,
        };
        if let Err(error) = sent {
            return Sent::Refused(send, error);
        }
    }
}

fn follow(tracker: &mut Option<FrameTracker>, chunk: &[u8], signals: &Signals) {
    if let Some(tracker) = tracker {
        tracker.advance(chunk);
        if tracker.has_seen_close() && !signals.client_closing.replace(true) {
            signals.client_closed.notify_one();
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
    tracker: FrameTracker,
    stage: Stage,
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
pub struct AppBody {
    /// `None` once nothing more is wanted from the app.
    recv: Option<RecvHalf>,
    pump: Pump,
    entry: Entry,
    watch: Option<ClientWatch>,
    gone: LocalBoxFuture<'static, ()>,
    ending: Ending,
    over: bool,
}

impl AppBody {
    /// A body that ends by itself.
    pub fn finite(recv: RecvHalf, pump: Pump, entry: Entry, watch: Option<ClientWatch>) -> Self {
        let gone = match watch.clone() {
            Some(watch) => async move { watch.gone().await }.boxed_local(),
            None => std::future::pending().boxed_local(),
        };
        Self { recv: Some(recv), pump, entry, watch, gone, ending: Ending::Own, over: false }
    }

    /// Lets the body end cleanly with its generation.
    #[must_use]
    pub fn ending_with_generation(mut self) -> Self {
        self.entry.mark_endless();
        self.ending = Ending::WithGeneration(self.closing());
        self
    }

    /// Lets the body, a WebSocket, end with its generation by a close frame.
    #[must_use]
    pub fn ending_with_close_frame(mut self) -> Self {
        self.entry.mark_endless();
        let stage = Stage::Open { closing: self.closing() };
        self.ending = Ending::WebSocket(WebSocketEnding { tracker: FrameTracker::default(), stage });
        self
    }

    /// The number of the generation that sends it.
    pub fn generation_number(&self) -> u64 {
        self.entry.generation().number
    }

    fn closing(&self) -> LocalBoxFuture<'static, ()> {
        let generation = std::sync::Arc::clone(self.entry.generation());
        async move { generation.closing().await }.boxed_local()
    }

    fn poll_app(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let Some(recv) = &mut self.recv else { return Poll::Ready(None) };
        Poll::Ready(match ready!(recv.poll_data(cx)) {
            Ok(data) => data.map(Ok),
            Err(error) => {
                if let UpstreamError::Fault(fault) = &error {
                    self.entry.generation().set_end(End::Fault { message: fault.to_string() });
                }
                Some(Err(error.into()))
            }
        })
    }

    fn poll_websocket(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            let Ending::WebSocket(WebSocketEnding { tracker, stage }) = &mut self.ending else {
                return Poll::Ready(None);
            };
            match stage {
                Stage::Open { closing } => {
                    if closing.poll_unpin(cx).is_ready() {
                        *stage = if tracker.is_at_boundary() && !tracker.has_seen_close() {
                            Stage::SendClose
                        } else {
                            Stage::UntilBoundary { deadline: close_deadline() }
                        };
                        continue;
                    }
                    let item = ready!(self.poll_app(cx));
                    if let (Some(Ok(chunk)), Ending::WebSocket(websocket)) = (&item, &mut self.ending) {
                        websocket.tracker.advance(chunk);
                    }
                    return Poll::Ready(item);
                }
                Stage::UntilBoundary { deadline } => {
                    if deadline.poll_unpin(cx).is_ready() {
                        return Poll::Ready(Some(Err(BodyError::FrameUnfinished)));
                    }
                    let item = ready!(self.poll_app(cx));
                    let (Some(Ok(mut chunk)), Ending::WebSocket(websocket)) = (item, &mut self.ending) else {
                        return Poll::Ready(None);
                    };
                    let used = websocket.tracker.advance_to_boundary(&chunk);
                    if websocket.tracker.has_seen_close() {
                        websocket.tracker.advance(&chunk[used..]);
                    } else if websocket.tracker.is_at_boundary() {
                        websocket.stage = Stage::SendClose;
                        chunk.truncate(used);
                    }
                    return Poll::Ready(Some(Ok(chunk)));
                }
                Stage::SendClose => {
                    self.recv = None;
                    let signals = Rc::clone(&self.pump.signals);
                    signals.discard.notify_one();
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
pub fn announced(stream: ByteStream, length: u64) -> ByteStream {
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
pub struct SizedBody {
    stream: ByteStream,
    size: BodySize,
    /// What is still to come of a known size.
    left: u64,
    /// Why the connection is to be cut, once what came before has been written.
    broken: Option<BodyError>,
}

impl SizedBody {
    /// The bytes of `stream`, announced as `size`.
    pub fn new(stream: ByteStream, size: BodySize) -> Self {
        let left = if let BodySize::Sized(length) = size { length } else { 0 };
        Self { stream, size, left, broken: None }
    }

    /// No bytes, announced as `size`: the answer to a HEAD.
    pub fn head_only(size: BodySize) -> Self {
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
