//! The app's half of an exchange: the response, or its half of a tunnel.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper::body::{Body, Incoming};
use hyper::client::conn::TrySendError;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};

use super::convert::{request, response_head};
use super::worker::{ListeningWorker, silence};
use crate::upstream::UpstreamError;
use crate::upstream::connection::{Connection, RequestBody, Wire, WireIo};
use devhost_link::wire::RequestHead;

type Answer = BoxFuture<'static, Result<Response<Incoming>, TrySendError<Request<RequestBody>>>>;

enum Stage {
    Waiting(Answer),
    Body(Incoming),
    /// Holds what was read of the tunnel along with the head.
    Tunnel(Bytes),
    Over,
}

/// A response, or the app's half of a tunnel. Dropped before its end, it closes the connection.
pub(crate) struct RecvHalf {
    worker: Arc<ListeningWorker>,
    /// `None` once the exchange is over.
    connection: Option<Connection>,
    stage: Stage,
    /// How many bytes the connection had received before.
    received_before: u64,
    /// The request may reach the app more than once.
    is_repeatable: bool,
    /// The head of a repeatable request on a kept connection, until it is sent again.
    again: Option<RequestHead>,
    /// The worker is dead and did not read the whole request, as far as can be told. Another one may get it.
    was_never_read: bool,
    /// The worker is dead and sent no answer, and the request may be repeated.
    may_be_repeated: bool,
    /// Hands the tunnel to the other half.
    tunnel: Option<oneshot::Sender<Arc<Wire>>>,
    /// Notified when the app says `100 Continue`.
    continued: Arc<Notify>,
    silence: Option<BoxFuture<'static, ()>>,
    _permit: OwnedSemaphorePermit,
}

impl std::fmt::Debug for RecvHalf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecvHalf").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl RecvHalf {
    pub(super) fn new(
        worker: Arc<ListeningWorker>,
        permit: OwnedSemaphorePermit,
        is_repeatable: bool,
        again: Option<RequestHead>,
        tunnel: Option<oneshot::Sender<Arc<Wire>>>,
        continued: Arc<Notify>,
    ) -> Self {
        Self {
            worker,
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
            _permit: permit,
        }
    }

    pub(super) fn send(&mut self, mut connection: Connection, request: Request<RequestBody>) {
        self.received_before = connection.wire.received();
        self.stage = Stage::Waiting(connection.sender.try_send_request(request).boxed());
        self.connection = Some(connection);
    }

    /// Resolves once the app has said `100 Continue`.
    pub(crate) fn go_ahead(&self) -> impl Future<Output = ()> + 'static {
        let continued = Arc::clone(&self.continued);
        async move { continued.notified().await }
    }

    /// Returns the encoded [`ResponseHead`], and whether it ends the response.
    pub(crate) async fn head(&mut self) -> Result<(Bytes, bool), UpstreamError> {
        loop {
            let Stage::Waiting(answer) = &mut self.stage else { return Err(UpstreamError::Reset) };
            let answer = tokio::select! {
                biased;
                answer = answer => answer,
                () = silence(Arc::clone(&self.worker)) => return Err(UpstreamError::Lost),
            };
            let failed = match answer {
                Ok(response) => return self.accept(response).await,
                Err(failed) => failed,
            };
            self.stage = Stage::Over;
            let Some(connection) = self.connection.take() else { return Err(UpstreamError::Reset) };
            let has_answered = connection.wire.received() > self.received_before;
            // hyper gives a message back if it has sent no byte of it.
            let may_repeat = !has_answered
                && (failed.message().is_some()
                    || (self.is_repeatable && connection.wire.was_left_unread().await));
            if may_repeat && let Some(head) = self.again.take() {
                let request = request(&head, false, RequestBody::empty())?;
                let connection = self.worker.connect().await;
                self.was_never_read = matches!(connection, Err(UpstreamError::Lost));
                self.send(connection?, request);
                continue;
            }
            let error = explain(failed.error(), has_answered, &connection.wire, &self.worker).await;
            self.was_never_read = may_repeat && error == UpstreamError::Lost;
            self.may_be_repeated = self.is_repeatable && !has_answered && error == UpstreamError::Lost;
            return Err(error);
        }
    }

    /// Returns true after [`UpstreamError::Lost`] in place of a head if nothing came back and the request may
    /// be repeated, although this worker may have read it. A process being killed still takes bytes from the
    /// kernel that it never sees.
    pub(crate) fn may_be_repeated(&self) -> bool {
        self.may_be_repeated
    }

    /// Returns true after [`UpstreamError::Lost`] in place of a head if another worker may get the request.
    pub(crate) fn was_never_read(&self) -> bool {
        self.was_never_read
    }

    async fn accept(&mut self, mut response: Response<Incoming>) -> Result<(Bytes, bool), UpstreamError> {
        let head = response_head(response.status(), response.headers()).encode();
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let upgraded = hyper::upgrade::on(&mut response).await.map_err(|_| self.worker.cut())?;
            let parts = upgraded.downcast::<TokioIo<WireIo>>().map_err(|_| UpstreamError::Reset)?;
            self.stage = Stage::Tunnel(parts.read_buf);
            if let (Some(tunnel), Some(connection)) = (self.tunnel.take(), &self.connection) {
                // Fails only if there is no client any more.
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

    /// Polls for the next piece of the body, `None` at its end.
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, UpstreamError>> {
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
                Poll::Ready(Err(self.worker.cut()))
            }
            Poll::Pending => {
                let worker = &self.worker;
                let silence = self.silence.get_or_insert_with(|| silence(Arc::clone(worker)).boxed());
                ready!(silence.poll_unpin(cx));
                self.cut();
                Poll::Ready(Err(UpstreamError::Lost))
            }
        }
    }

    /// Ends the exchange. Its connection may serve another one.
    fn finish(&mut self) {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let connection = self.connection.take();
        // A tunnel ends with its connection.
        if let (Some(connection), Stage::Body(_) | Stage::Waiting(_)) = (connection, stage) {
            self.worker.pool.give(connection, &self.worker.runtime);
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
                // Empty, or trailers.
                Ok(_) | Err(_) => {}
            },
            None => return Poll::Ready(Ok(None)),
            Some(Err(_)) => return Poll::Ready(Err(())),
        }
    }
}

/// Returns why there was no response.
async fn explain(
    error: &hyper::Error,
    has_answered: bool,
    wire: &Wire,
    worker: &ListeningWorker,
) -> UpstreamError {
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
        // The client broke off its request.
        return UpstreamError::Reset;
    }
    match (worker.has_died().await, has_answered) {
        (true, _) => UpstreamError::Lost,
        (false, true) => UpstreamError::Malformed("the connection ended within the response's head".into()),
        (false, false) => UpstreamError::Unanswered,
    }
}
