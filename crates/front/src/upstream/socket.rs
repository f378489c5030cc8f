//! The way to a plain app: HTTP/1.1 to the private port that its worker listens on. hyper frames and parses; what
//! is here is which connection a request takes, and what the end of a connection means.
//!
//! A request may be sent twice only if its method is idempotent (RFC 9110, section 9.2.2) and it has no body. Such a
//! request may take a kept connection. The app may be closing that one at the same time: if nothing came back and the
//! kernel reset the connection, it is sent once more, on a fresh one. A reset is a hint and no proof that the app never
//! read the request: an app may also read and then reset. So every other request gets a fresh connection at once, and
//! none at all from a worker that is seen to be dying.
//!
//! Trailers end here, both ways: actix neither tells a request's nor sends a response's.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper::body::{Body, Incoming};
use hyper::client::conn::TrySendError;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::UpstreamError;
use super::connection::{Connection, RequestBody, Wire, WireIo};
use super::pool::Pool;
use devhost_link::wire::{REQUEST_EXPECT, REQUEST_UPGRADE, RequestHead, ResponseHead};
use devhost_link::{HEAD_LENGTH_MAX_BYTES, STREAMS_COUNT_MAX};
use devhost_sys::liveness::{Liveness, Outlook};

/// How many exchanges may be in one worker at once; the next one waits. As many as on a link, and no fewer than the gate
/// lets in.
const EXCHANGES_COUNT_MAX: usize = STREAMS_COUNT_MAX;

/// How long after a connection broke the news is waited for that its worker died.
pub const DEATH_NOTICE_TIME_MAX: Duration = Duration::from_millis(200);

/// How long a worker that lives may refuse connections before the client is told. It may be on its way to its end, and
/// nothing of a request has been sent to it.
pub(super) const REFUSED_TIME_MAX: Duration = Duration::from_secs(1);

/// How often a worker that a signal has stopped is looked at while a request waits for it.
const STOPPED_LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How long a dead worker's connection may give nothing before it is cut. The kernel closes it with the process, but
/// for a copy of its descriptor in a process that the app has started.
const DEAD_SILENCE_TIME_MAX: Duration = Duration::from_secs(1);

/// How many pieces of a request body wait between the client's connection and the app's.
const PIECES_COUNT_MAX: usize = 1;

/// The front's way to a worker that listens. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SocketClient(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    /// Drives the connections.
    runtime: Handle,
    pool: Pool,
    places: Arc<Semaphore>,
    /// True once the worker is dead.
    dead: watch::Sender<bool>,
    /// Its process, once it is known.
    process: OnceLock<Liveness>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.pool.close();
    }
}

impl SocketClient {
    /// A way to what listens at `address`. To be called on a tokio runtime: its connections are driven there.
    pub fn new(address: SocketAddr) -> Self {
        Self(Arc::new(Shared {
            address,
            runtime: Handle::current(),
            pool: Pool::default(),
            places: Arc::new(Semaphore::new(EXCHANGES_COUNT_MAX)),
            dead: watch::Sender::new(false),
            process: OnceLock::new(),
        }))
    }

    /// Tells which process the worker is. The first word counts.
    pub fn set_process(&self, pid: i32) {
        // Without it, a dying worker is noticed a little later.
        if let Some(process) = Liveness::open(pid) {
            let _ = self.0.process.set(process);
        }
    }

    /// Sends a request. `end` means that no body follows.
    ///
    /// # Errors
    ///
    /// [`UpstreamError::Lost`] where the worker is dead and has seen nothing of the request, `Unreachable` where it
    /// takes no connection and lives, `TooLarge` and `BadRequest` for what HTTP/1.1 cannot carry.
    pub async fn open(&self, head: Bytes, end: bool) -> Result<(SendHalf, RecvHalf), UpstreamError> {
        let shared = &self.0;
        if head.len() > HEAD_LENGTH_MAX_BYTES {
            return Err(UpstreamError::TooLarge);
        }
        let head = RequestHead::decode(head)
            .map_err(|_| UpstreamError::BadRequest("The request's head cannot be read."))?;
        let place = Arc::clone(&shared.places).acquire_owned().await.map_err(|_| UpstreamError::Lost)?;
        if shared.is_dead() {
            return Err(UpstreamError::Lost);
        }
        let is_upgrade = head.flags & REQUEST_UPGRADE != 0;
        let is_repeatable = (end || is_upgrade) && is_idempotent(&head.method);
        let (body, sending, tunnel) = if is_upgrade {
            let (sender, receiver) = oneshot::channel();
            (RequestBody::empty(), Sending::Tunnel(Tunnel::Asked(receiver)), Some(sender))
        } else if end {
            (RequestBody::empty(), Sending::Nothing, None)
        } else {
            let (sender, receiver) = mpsc::channel(PIECES_COUNT_MAX);
            (RequestBody::pieces(receiver), Sending::Pieces(sender), None)
        };
        let mut request = request(&head, !end && !is_upgrade, body)?;
        let continued = Arc::new(Notify::new());
        if head.flags & REQUEST_EXPECT != 0 {
            request.headers_mut().insert(header::EXPECT, HeaderValue::from_static("100-continue"));
            let continued = Arc::clone(&continued);
            hyper::ext::on_informational(&mut request, move |interim| {
                if interim.status() == StatusCode::CONTINUE {
                    continued.notify_one();
                }
            });
        }
        let kept = if is_repeatable { shared.pool.take() } else { None };
        let again = kept.is_some().then_some(head);
        let connection = match kept {
            Some(connection) => connection,
            None => shared.connect().await?,
        };
        if !is_repeatable {
            shared.until_it_runs().await?;
        }
        let mut recv = RecvHalf {
            shared: Arc::clone(shared),
            connection: None,
            stage: Stage::Over,
            received_before: 0,
            is_repeatable,
            again,
            was_never_read: false,
            may_be_repeated: false,
            tunnel,
            continued,
            silence: None,
            _place: place,
        };
        recv.send(connection, request);
        Ok((SendHalf(sending), recv))
    }

    /// Nothing new will come: idle connections are closed, so that the app has none to wait for when it stops.
    pub fn goaway(&self) {
        self.0.pool.close();
    }

    /// The worker is dead. What it had sent is delivered still, then every exchange fails with
    /// [`UpstreamError::Lost`].
    pub fn close(&self) {
        self.0.dead.send_replace(true);
        self.0.places.close();
        self.0.pool.close();
    }

    /// Resolves once the worker is dead.
    pub async fn closed(&self) {
        self.0.death().await;
    }

    /// How many connections wait for a request.
    #[cfg(test)]
    pub fn idle_count(&self) -> usize {
        self.0.pool.count()
    }
}

impl Shared {
    fn is_dead(&self) -> bool {
        *self.dead.borrow()
    }

    async fn death(&self) {
        let mut dead = self.dead.subscribe();
        // The sender lives as long as `self`.
        let _ = dead.wait_for(|dead| *dead).await;
    }

    fn outlook(&self) -> Outlook {
        if self.is_dead() {
            return Outlook::Dying;
        }
        self.process.get().map_or(Outlook::Runs, Liveness::outlook)
    }

    /// True if the worker is dead or will never run its code again.
    fn is_dying(&self) -> bool {
        self.outlook() == Outlook::Dying
    }

    /// Waits until the worker's process can take what it is sent. The kernel accepts connections for one that is stopped or
    /// dying as well, and what was sent on one cannot be taken back. One that stays stopped is ended by the runner.
    async fn until_it_runs(&self) -> Result<(), UpstreamError> {
        loop {
            match self.outlook() {
                Outlook::Runs => return Ok(()),
                Outlook::Dying => return Err(UpstreamError::Lost),
                Outlook::Stopped => {
                    // Its death is seen by the next look.
                    let _ = tokio::time::timeout(STOPPED_LOOK_INTERVAL, self.death()).await;
                }
            }
        }
    }

    /// True if the worker is dead, waiting a moment for the news.
    async fn has_died(&self) -> bool {
        self.is_dying()
            || tokio::time::timeout(DEATH_NOTICE_TIME_MAX, self.death()).await.is_ok()
            || self.is_dying()
    }

    async fn connect(&self) -> Result<Connection, UpstreamError> {
        let begun = Instant::now();
        loop {
            match Connection::open(self.address, &self.runtime).await {
                Ok(connection) => return Ok(connection),
                Err(_) if self.has_died().await => return Err(UpstreamError::Lost),
                Err(error) if begun.elapsed() >= REFUSED_TIME_MAX => {
                    return Err(UpstreamError::Unreachable(error.to_string()));
                }
                // Waiting for its death was the pause.
                Err(_) => {}
            }
        }
    }

    fn cut(&self) -> UpstreamError {
        if self.is_dead() { UpstreamError::Lost } else { UpstreamError::Reset }
    }
}

fn is_idempotent(method: &[u8]) -> bool {
    Method::from_bytes(method).is_ok_and(|method| method.is_idempotent())
}

/// Resolves where a worker is dead and nothing has come from it for a while.
async fn silence(shared: Arc<Shared>) {
    shared.death().await;
    tokio::time::sleep(DEAD_SILENCE_TIME_MAX).await;
}

/// The request as hyper sends it, in HTTP/1.1 whatever the client speaks.
fn request(
    head: &RequestHead,
    has_body: bool,
    body: RequestBody,
) -> Result<Request<RequestBody>, UpstreamError> {
    let bad = |what| UpstreamError::BadRequest(what);
    let method = Method::from_bytes(&head.method).map_err(|_| bad("The request's method is not valid."))?;
    let target = PathAndQuery::from_maybe_shared(head.target.clone())
        .map_err(|_| bad("The request's target is not valid."))?;
    let mut headers = HeaderMap::with_capacity(head.headers.len() + 1);
    for (name, value) in &head.headers {
        let name = HeaderName::from_bytes(name).map_err(|_| bad("A header of the request is not valid."))?;
        let value = HeaderValue::from_maybe_shared(value.clone())
            .map_err(|_| bad("A header of the request is not valid."))?;
        headers.append(name, value);
    }
    if !headers.contains_key(header::HOST) {
        // HTTP/1.0 may do without, HTTP/1.1 may not.
        headers.insert(header::HOST, HeaderValue::from_static("localhost"));
    }
    if has_body && head.body_length.is_none() {
        // hyper would send no body with some methods otherwise.
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from(target);
    *request.headers_mut() = headers;
    Ok(request)
}

/// The head of a response in the front's own words.
fn response_head(status: StatusCode, headers: &HeaderMap) -> ResponseHead {
    // A length beside chunks is none (RFC 9112 §6.3).
    let is_coded = headers.contains_key(header::TRANSFER_ENCODING);
    let headers = headers
        .iter()
        .filter(|(name, _)| !(is_coded && *name == header::CONTENT_LENGTH))
        .map(|(name, value)| {
            (Bytes::copy_from_slice(name.as_str().as_bytes()), Bytes::copy_from_slice(value.as_bytes()))
        })
        .collect();
    ResponseHead { flags: 0, status: status.as_u16(), headers }
}

/// A request body, or the client's half of a tunnel.
#[derive(Debug)]
pub struct SendHalf(Sending);

#[derive(Debug)]
enum Sending {
    /// There is no body.
    Nothing,
    Pieces(mpsc::Sender<Option<Bytes>>),
    Tunnel(Tunnel),
}

#[derive(Debug)]
enum Tunnel {
    /// The app has not answered yet.
    Asked(oneshot::Receiver<Arc<Wire>>),
    Open(Arc<Wire>),
    /// The app answered with something other than an upgrade.
    Refused,
}

impl Tunnel {
    async fn wire(&mut self) -> Result<&Arc<Wire>, UpstreamError> {
        if let Self::Asked(answer) = self {
            *self = answer.await.map_or(Self::Refused, Self::Open);
        }
        match self {
            Self::Open(wire) => Ok(wire),
            Self::Asked(_) | Self::Refused => Err(UpstreamError::Reset),
        }
    }
}

impl SendHalf {
    /// Sends all of it, waiting for room.
    pub async fn send(&mut self, data: Bytes) -> Result<(), UpstreamError> {
        match &mut self.0 {
            Sending::Nothing => Err(UpstreamError::Reset),
            // An empty piece says nothing.
            Sending::Pieces(_) if data.is_empty() => Ok(()),
            Sending::Pieces(pieces) => pieces.send(Some(data)).await.map_err(|_| UpstreamError::Reset),
            Sending::Tunnel(tunnel) => {
                tunnel.wire().await?.write_all(data).await.map_err(|_| UpstreamError::Reset)
            }
        }
    }

    /// Ends the request body.
    pub async fn finish(&mut self) -> Result<(), UpstreamError> {
        match &mut self.0 {
            Sending::Nothing => Ok(()),
            Sending::Pieces(pieces) => pieces.send(None).await.map_err(|_| UpstreamError::Reset),
            Sending::Tunnel(tunnel) => {
                tunnel.wire().await?.finish_sending();
                Ok(())
            }
        }
    }
}

type Answer = BoxFuture<'static, Result<Response<Incoming>, TrySendError<Request<RequestBody>>>>;

enum Stage {
    Waiting(Answer),
    Body(Incoming),
    /// What was read of the tunnel with the head comes first.
    Tunnel(Bytes),
    Over,
}

/// A response, or the app's half of a tunnel. Dropped before its end, it closes the connection.
pub struct RecvHalf {
    shared: Arc<Shared>,
    /// `None` once the exchange is over.
    connection: Option<Connection>,
    stage: Stage,
    /// What had come over the connection before.
    received_before: u64,
    /// The request may reach the app more than once.
    is_repeatable: bool,
    /// The head of a repeatable request on a kept connection, until it is sent again.
    again: Option<RequestHead>,
    /// The worker is dead and has not read the request, or may get it again.
    was_never_read: bool,
    /// The worker is dead, and nothing of an answer came to a request that may be read twice.
    may_be_repeated: bool,
    /// Where the other half waits for the tunnel.
    tunnel: Option<oneshot::Sender<Arc<Wire>>>,
    /// The app has said `100 Continue`.
    continued: Arc<Notify>,
    silence: Option<BoxFuture<'static, ()>>,
    _place: OwnedSemaphorePermit,
}

impl std::fmt::Debug for RecvHalf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecvHalf").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl RecvHalf {
    fn send(&mut self, mut connection: Connection, request: Request<RequestBody>) {
        self.received_before = connection.wire.received();
        self.stage = Stage::Waiting(connection.sender.try_send_request(request).boxed());
        self.connection = Some(connection);
    }

    /// Resolves once the app has said `100 Continue`.
    pub fn go_ahead(&self) -> impl Future<Output = ()> + 'static {
        let continued = Arc::clone(&self.continued);
        async move { continued.notified().await }
    }

    /// The encoded [`ResponseHead`], and whether the response is over with it.
    pub async fn head(&mut self) -> Result<(Bytes, bool), UpstreamError> {
        loop {
            let Stage::Waiting(answer) = &mut self.stage else { return Err(UpstreamError::Reset) };
            let answer = tokio::select! {
                biased;
                answer = answer => answer,
                () = silence(Arc::clone(&self.shared)) => return Err(UpstreamError::Lost),
            };
            let failed = match answer {
                Ok(response) => return self.accept(response).await,
                Err(failed) => failed,
            };
            self.stage = Stage::Over;
            let Some(connection) = self.connection.take() else { return Err(UpstreamError::Reset) };
            let has_answered = connection.wire.received() > self.received_before;
            // With the message, hyper gives back what it has not sent a byte of.
            let may_repeat = !has_answered
                && (failed.message().is_some()
                    || (self.is_repeatable && connection.wire.was_left_unread().await));
            if may_repeat && let Some(head) = self.again.take() {
                let request = request(&head, false, RequestBody::empty())?;
                let connection = self.shared.connect().await;
                self.was_never_read = matches!(connection, Err(UpstreamError::Lost));
                self.send(connection?, request);
                continue;
            }
            let error = explain(failed.error(), has_answered, &connection.wire, &self.shared).await;
            self.was_never_read = may_repeat && error == UpstreamError::Lost;
            self.may_be_repeated = self.is_repeatable && !has_answered && error == UpstreamError::Lost;
            return Err(error);
        }
    }

    /// After [`UpstreamError::Lost`] in place of a head: true if nothing came, and another worker may get the request even
    /// though this one may have read it. A process that is being killed still takes from the kernel what it never sees.
    pub fn may_be_repeated(&self) -> bool {
        self.may_be_repeated
    }

    /// After [`UpstreamError::Lost`] in place of a head: true if another worker may get the request.
    pub fn was_never_read(&self) -> bool {
        self.was_never_read
    }

    async fn accept(&mut self, mut response: Response<Incoming>) -> Result<(Bytes, bool), UpstreamError> {
        let head = response_head(response.status(), response.headers()).encode();
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let upgraded = hyper::upgrade::on(&mut response).await.map_err(|_| self.shared.cut())?;
            let parts = upgraded.downcast::<TokioIo<WireIo>>().map_err(|_| UpstreamError::Reset)?;
            self.stage = Stage::Tunnel(parts.read_buf);
            if let (Some(tunnel), Some(connection)) = (self.tunnel.take(), &self.connection) {
                // An error means that there is no client any more.
                let _ = tunnel.send(Arc::clone(&connection.wire));
            }
            return Ok((head, false));
        }
        self.tunnel = None;
        let body = response.into_body();
        let over = body.is_end_stream();
        if over {
            self.finish();
        } else {
            self.stage = Stage::Body(body);
        }
        Ok((head, over))
    }

    /// The next piece of the body, `None` at its end.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, UpstreamError>> {
        let piece = match &mut self.stage {
            Stage::Body(body) => poll_piece(body, cx),
            Stage::Tunnel(first) if !first.is_empty() => Poll::Ready(Ok(Some(std::mem::take(first)))),
            Stage::Tunnel(_) => match &self.connection {
                Some(connection) => connection
                    .wire
                    .poll_read_some(cx)
                    .map(|read| read.map(|bytes| (!bytes.is_empty()).then_some(bytes)).map_err(|_| ())),
                None => Poll::Ready(Ok(None)),
            },
            Stage::Waiting(_) => Poll::Ready(Err(())),
            Stage::Over => Poll::Ready(Ok(None)),
        };
        match piece {
            Poll::Ready(Ok(Some(bytes))) => {
                self.silence = None;
                Poll::Ready(Ok(Some(bytes)))
            }
            Poll::Ready(Ok(None)) => {
                self.finish();
                Poll::Ready(Ok(None))
            }
            Poll::Ready(Err(())) => {
                self.cut();
                Poll::Ready(Err(self.shared.cut()))
            }
            Poll::Pending => {
                let shared = &self.shared;
                let silence = self.silence.get_or_insert_with(|| silence(Arc::clone(shared)).boxed());
                ready!(silence.poll_unpin(cx));
                self.cut();
                Poll::Ready(Err(UpstreamError::Lost))
            }
        }
    }

    /// The exchange is over: its connection may serve another one.
    fn finish(&mut self) {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let connection = self.connection.take();
        // The end of a tunnel is the end of its connection.
        if let (Some(connection), Stage::Body(_) | Stage::Waiting(_)) = (connection, stage) {
            self.shared.pool.give(connection, &self.shared.runtime);
        }
    }

    fn cut(&mut self) {
        self.stage = Stage::Over;
        self.connection = None;
    }
}

fn poll_piece(body: &mut Incoming, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ()>> {
    loop {
        match ready!(Pin::new(&mut *body).poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) if !bytes.is_empty() => return Poll::Ready(Ok(Some(bytes))),
                // Nothing, or trailers.
                Ok(_) | Err(_) => {}
            },
            None => return Poll::Ready(Ok(None)),
            Some(Err(_)) => return Poll::Ready(Err(())),
        }
    }
}

/// Why there was no response.
async fn explain(error: &hyper::Error, has_answered: bool, wire: &Wire, shared: &Shared) -> UpstreamError {
    if wire.answers_in_tls() {
        return UpstreamError::Malformed(
            "it answers in TLS, and devhost asks in plain HTTP: under devhost, let it listen without TLS, or name the port \
             where it does with --app-port"
                .into(),
        );
    }
    if error.is_parse() {
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        return UpstreamError::Malformed(format!("it cannot be read as HTTP/1.1: {error}{cause}"));
    }
    if error.is_user() {
        // The client broke its request off.
        return UpstreamError::Reset;
    }
    match (shared.has_died().await, has_answered) {
        (true, _) => UpstreamError::Lost,
        (false, true) => UpstreamError::Malformed("the connection ended within the response's head".into()),
        (false, false) => UpstreamError::Unanswered,
    }
}
