//! The body of a request or response: complete bytes, a request's body as it arrives, or any other
//! `http_body::Body`. Reading a request's body grants the client more credit.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

use super::error::BodyError;
use super::stream::Stream;

/// The body of a [`Request`](crate::Request) or [`Response`](crate::Response).
///
/// It is an `http_body::Body` of [`Bytes`], so it fits axum, hyper and tower-http. Synchronous handlers read
/// it with [`Body::read`] or [`Body::reader`].
#[derive(Debug)]
pub struct Body(BodyKind);

enum BodyKind {
    Full(Bytes),
    Request { stream: Arc<Stream>, remaining: Option<u64> },
    Other(Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyError> + Send>>),
}

impl fmt::Debug for BodyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(bytes) => write!(f, "Full({} bytes)", bytes.len()),
            Self::Request { remaining, .. } => write!(f, "Request({remaining:?} bytes remain)"),
            Self::Other(_) => f.write_str("Other"),
        }
    }
}

impl Body {
    /// Makes an empty body.
    pub fn empty() -> Self {
        Self(BodyKind::Full(Bytes::new()))
    }

    /// Wraps any other body, such as a stream.
    pub fn new<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: fmt::Display,
    {
        Self(BodyKind::Other(Box::pin(body.map_err(|error| BodyError::new(error.to_string())))))
    }

    /// Makes a request's body, of `length` bytes if that is known.
    pub(crate) fn of_request(stream: Arc<Stream>, length: Option<u64>) -> Self {
        Self(BodyKind::Request { stream, remaining: length })
    }

    /// Reads the whole body, of at most `limit` bytes.
    ///
    /// # Errors
    /// The body is longer, or it broke off.
    pub async fn bytes(mut self, limit: usize) -> Result<Bytes, BodyError> {
        let too_long = || BodyError::new(format!("the body has more than {limit} bytes"));
        let mut all = BytesMut::new();
        while let Some(frame) = self.frame().await {
            if let Ok(data) = frame?.into_data() {
                if data.len() > limit - all.len() {
                    return Err(too_long());
                }
                if all.is_empty() && http_body::Body::is_end_stream(&self) {
                    return Ok(data);
                }
                all.extend_from_slice(&data);
            }
        }
        Ok(all.freeze())
    }

    /// Reads the whole body, of at most `limit` bytes. Blocks, so it is for synchronous handlers.
    ///
    /// # Errors
    /// The body is longer, or it broke off.
    ///
    /// # Panics
    /// Panics in asynchronous code, which must use [`Body::bytes`] instead.
    pub fn read(self, limit: usize) -> Result<Bytes, BodyError> {
        tokio::runtime::Handle::current().block_on(self.bytes(limit))
    }

    /// Returns a blocking reader, for synchronous handlers. Reading panics in asynchronous code.
    pub fn reader(self) -> BodyReader {
        BodyReader { body: self, piece: Bytes::new() }
    }
}

/// A blocking reader of a body; see [`Body::reader`].
#[derive(Debug)]
pub struct BodyReader {
    body: Body,
    piece: Bytes,
}

impl io::Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match tokio::runtime::Handle::current().block_on(self.body.frame()) {
                None => return Ok(0),
                Some(frame) => self.piece = frame.map_err(io::Error::other)?.into_data().unwrap_or_default(),
            }
        }
        let len = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..len]);
        Ok(len)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            BodyKind::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            BodyKind::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            BodyKind::Request { stream, remaining } => {
                let piece = ready!(stream.poll_request_body(cx));
                if let (Some(remaining), Some(Ok(data))) = (remaining, &piece) {
                    *remaining = remaining.saturating_sub(data.len() as u64);
                }
                Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
            }
            BodyKind::Other(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            BodyKind::Full(bytes) => bytes.is_empty(),
            BodyKind::Request { stream, .. } => stream.is_request_body_read(),
            BodyKind::Other(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            BodyKind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            BodyKind::Request { remaining, .. } => {
                remaining.map_or_else(SizeHint::default, SizeHint::with_exact)
            }
            BodyKind::Other(body) => body.size_hint(),
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let BodyKind::Request { stream, .. } = &self.0 {
            stream.discard_request_body();
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(BodyKind::Full(bytes))
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::from(Bytes::from(text))
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::from(Bytes::from_static(text.as_bytes()))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(Bytes::from(bytes))
    }
}

impl From<()> for Body {
    fn from((): ()) -> Self {
        Self::empty()
    }
}
