//! Bodies as actix takes them, and the lengths that were announced for them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use futures_util::StreamExt;

use super::error::{BodyError, ByteStream};

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
