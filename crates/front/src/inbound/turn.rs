//! What the stream below actix and the front tell each other about the current request. There is one [`Turn`]
//! per connection, as it has one request at a time.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_http::ConnectionType;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::ServiceResponse;
use actix_web::http::{StatusCode, Version};
use bytes::Bytes;
use tokio::sync::Notify;

use super::Refusal;
use super::head::Head;

/// The current request of a connection. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turn(Rc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    refusal: RefCell<Option<Refusal>>,
    target: RefCell<Option<Bytes>>,
    expects_continue: Cell<bool>,
    /// The client does not wait: it was told to continue, or never asked.
    is_going_on: Cell<bool>,
    may_continue: Cell<bool>,
    is_last: Cell<bool>,
    is_answered: Cell<bool>,
    is_cut: Cell<bool>,
    broken: Cell<Option<&'static str>>,
    breaks: Notify,
}

/// For the front.
impl Turn {
    /// Takes the reason to refuse the request, if any.
    pub(crate) fn take_refusal(&self) -> Option<Refusal> {
        self.0.refusal.borrow_mut().take()
    }

    /// Returns path and query as the client sent them, if actix got them in another form.
    pub(crate) fn target(&self) -> Option<Bytes> {
        self.0.target.borrow().clone()
    }

    /// Returns true if the client waits for `100 Continue` before it sends the body.
    pub(crate) fn expects_continue(&self) -> bool {
        self.0.expects_continue.get()
    }

    /// Returns true while the client still waits for that.
    pub(crate) fn is_waiting(&self) -> bool {
        let shared = &self.0;
        shared.expects_continue.get() && !shared.is_going_on.get() && !shared.may_continue.get()
    }

    /// Lets the client send the body it holds back. Must be called within the service that actix polls: actix
    /// flushes the stream after that.
    pub(crate) fn let_continue(&self) {
        self.0.may_continue.set(true);
    }

    /// Returns why the request's body broke off, if it did.
    pub(crate) fn broken(&self) -> Option<&'static str> {
        self.0.broken.get()
    }

    /// Resolves if the request's body becomes unreadable while the client is still there.
    pub(crate) async fn breaks(&self) {
        while self.broken().is_none() {
            self.0.breaks.notified().await;
        }
    }

    /// Wraps a response on its way to actix. The turn ends with it.
    pub(crate) fn answer<B: MessageBody>(
        &self,
        mut response: ServiceResponse<B>,
    ) -> ServiceResponse<Answer<B>> {
        let shared = &self.0;
        let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let head = response.response_mut().head_mut();
        // The encoder sets the version later. Until then actix would decide about the connection by that of a
        // recycled response.
        head.version = Version::HTTP_11;
        if !upgraded && (shared.is_last.get() || shared.broken.get().is_some() || self.is_waiting()) {
            // A client that waits with its body may never send it.
            head.set_connection_type(ConnectionType::Close);
        }
        if head.connection_type() == ConnectionType::Close {
            shared.is_last.set(true);
        }
        let is_chunked = head.chunked();
        response.map_body(|_, body| {
            let ends_with_connection = body.size() == BodySize::Stream && !is_chunked && !upgraded;
            Answer { body, end: AnswerEnd(self.clone()), ends_with_connection }
        })
    }
}

/// For the stream.
impl Turn {
    pub(super) fn begin(&self, head: &mut Head) {
        let shared = &self.0;
        shared.target.replace(head.target.take());
        shared.expects_continue.set(head.expects_continue);
        shared.is_going_on.set(!head.expects_continue);
        shared.may_continue.set(false);
        shared.is_last.set(head.is_last);
        shared.is_answered.set(false);
    }

    /// Begins a request that is refused. It is the last one.
    pub(super) fn refuse(&self, refusal: Refusal) {
        let shared = &self.0;
        shared.refusal.replace(Some(refusal));
        shared.target.replace(None);
        shared.expects_continue.set(false);
        shared.is_last.set(true);
        shared.is_answered.set(false);
    }

    /// Notes that the request's body cannot be read any further.
    pub(super) fn break_off(&self, reason: &'static str) {
        self.0.broken.set(Some(reason));
        self.0.is_last.set(true);
        self.0.breaks.notify_waiters();
    }

    /// Notes that the whole body has come, so the client waits for nothing.
    pub(super) fn has_body(&self) {
        self.0.is_going_on.set(true);
    }

    /// Returns true once, when the client may continue.
    pub(super) fn take_continue(&self) -> bool {
        self.0.may_continue.get() && !self.0.is_going_on.replace(true)
    }

    /// Returns true once actix's encoder has the whole response.
    pub(super) fn is_answered(&self) -> bool {
        self.0.is_answered.get()
    }

    /// Returns true if no request may follow.
    pub(super) fn is_last(&self) -> bool {
        self.0.is_last.get()
    }

    /// Pretends that actix's encoder got a response.
    #[cfg(test)]
    pub(super) fn end(&self) {
        drop(AnswerEnd(self.clone()));
    }

    /// Returns true if a response delimited by the end of the connection broke off.
    pub(super) fn is_cut(&self) -> bool {
        self.0.is_cut.get()
    }
}

/// A response's body. actix drops it once its encoder has all of it.
#[derive(Debug)]
pub(crate) struct Answer<B> {
    body: B,
    /// Dropped after the body, which holds the request's.
    end: AnswerEnd,
    ends_with_connection: bool,
}

#[derive(Debug)]
struct AnswerEnd(Turn);

impl Drop for AnswerEnd {
    fn drop(&mut self) {
        self.0.0.is_answered.set(true);
    }
}

impl<B: MessageBody + Unpin> MessageBody for Answer<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, B::Error>>> {
        let piece = Pin::new(&mut self.body).poll_next(cx);
        if matches!(piece, Poll::Ready(Some(Err(_)))) && self.ends_with_connection {
            self.end.0.0.is_cut.set(true);
        }
        piece
    }
}
