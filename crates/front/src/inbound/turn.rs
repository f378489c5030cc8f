//! What the stream below actix and the front tell each other of the request that is being answered. There is one at a
//! time on a connection, so there is one [`Turn`] for each connection.

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

/// One connection's request. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turn(Rc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    refusal: RefCell<Option<Refusal>>,
    target: RefCell<Option<Bytes>>,
    expects_continue: Cell<bool>,
    /// The client waits no more: it was let go on, or did not want to be asked.
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
    /// Why the request is to be turned away, where it is. To be asked once.
    pub(crate) fn take_refusal(&self) -> Option<Refusal> {
        self.0.refusal.borrow_mut().take()
    }

    /// Path and query as the client sent them, where actix got them in another form.
    pub(crate) fn target(&self) -> Option<Bytes> {
        self.0.target.borrow().clone()
    }

    /// True where the client has said that it waits for `100 Continue` before it sends the body.
    pub(crate) fn expects_continue(&self) -> bool {
        self.0.expects_continue.get()
    }

    /// True while it waits for that, and nobody has let it go on.
    pub(crate) fn is_waiting(&self) -> bool {
        let shared = &self.0;
        shared.expects_continue.get() && !shared.is_going_on.get() && !shared.may_continue.get()
    }

    /// Lets the client send the body that it waits with. To be called by the service that actix polls, which then
    /// flushes the stream.
    pub(crate) fn let_continue(&self) {
        self.0.may_continue.set(true);
    }

    /// Why the request's body breaks off, where it does.
    pub(crate) fn broken(&self) -> Option<&'static str> {
        self.0.broken.get()
    }

    /// Resolves where the request's body breaks off: it cannot be read on, though the client is there.
    pub(crate) async fn breaks(&self) {
        while self.broken().is_none() {
            self.0.breaks.notified().await;
        }
    }

    /// A response on its way to actix. Its end is the end of the turn.
    pub(crate) fn answer<B: MessageBody>(
        &self,
        mut response: ServiceResponse<B>,
    ) -> ServiceResponse<Answer<B>> {
        let shared = &self.0;
        let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let head = response.response_mut().head_mut();
        // The encoder sets the client's. Until then it is that of whichever response this one's memory was used for, and
        // decides about the connection.
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
    /// A request begins.
    pub(super) fn begin(&self, head: &mut Head) {
        let shared = &self.0;
        shared.target.replace(head.target.take());
        shared.expects_continue.set(head.expects_continue);
        shared.is_going_on.set(!head.expects_continue);
        shared.may_continue.set(false);
        shared.is_last.set(head.is_last);
        shared.is_answered.set(false);
    }

    /// A request begins that is to be turned away, the last one.
    pub(super) fn refuse(&self, refusal: Refusal) {
        let shared = &self.0;
        shared.refusal.replace(Some(refusal));
        shared.target.replace(None);
        shared.expects_continue.set(false);
        shared.is_last.set(true);
        shared.is_answered.set(false);
    }

    /// The request's body cannot be read on.
    pub(super) fn break_off(&self, reason: &'static str) {
        self.0.broken.set(Some(reason));
        self.0.is_last.set(true);
        self.0.breaks.notify_waiters();
    }

    /// The whole body has come: the client waits for nothing.
    pub(super) fn has_body(&self) {
        self.0.is_going_on.set(true);
    }

    /// True once where the client may go on.
    pub(super) fn take_continue(&self) -> bool {
        self.0.may_continue.get() && !self.0.is_going_on.replace(true)
    }

    /// The whole response has been given to actix's encoder.
    pub(super) fn is_answered(&self) -> bool {
        self.0.is_answered.get()
    }

    /// No request may follow.
    pub(super) fn is_last(&self) -> bool {
        self.0.is_last.get()
    }

    /// As if a response had been given to actix's encoder.
    #[cfg(test)]
    pub(super) fn end(&self) {
        drop(AnswerEnd(self.clone()));
    }

    /// A response that ends with the connection broke off.
    pub(super) fn is_cut(&self) -> bool {
        self.0.is_cut.get()
    }
}

/// A response's body. actix lets go of it once its encoder has had the end of it.
#[derive(Debug)]
pub(crate) struct Answer<B> {
    body: B,
    /// Dropped after the body, which holds on to the request's.
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
