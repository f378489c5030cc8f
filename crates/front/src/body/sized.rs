//! Bodies for actix, and their announced lengths.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use futures_util::StreamExt;

use super::error::{BodyError, ByteStream};

/// Makes a body of this announced length fail if the app ends it early, for bodies sent with another length.
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

/// A body for actix: bytes and a size. actix truncates what exceeds the size.
pub(crate) struct SizedBody {
    stream: ByteStream,
    size: BodySize,
    /// How much of a known size is still to come.
    left: u64,
    /// The error to return once what came before has been written.
    broken: Option<BodyError>,
}

impl SizedBody {
    /// Sends the bytes of `stream`, announced as `size`.
    pub(crate) fn new(stream: ByteStream, size: BodySize) -> Self {
        let left = if let BodySize::Sized(length) = size { length } else { 0 };
        Self { stream, size, left, broken: None }
    }

    /// Sends nothing, announced as `size`, for a HEAD.
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
                // An empty chunk would end a chunked body.
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
        // When a body fails, actix drops what it has not yet written, perhaps even the head. It writes while
        // the body is pending.
        self.broken = Some(error);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
