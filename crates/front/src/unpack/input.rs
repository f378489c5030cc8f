//! The encoded body as its decoders read it.

use std::cell::RefCell;
use std::io::{ErrorKind, Result};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

use crate::body::{BodyError, ByteStream};

pub(super) type Input = Box<dyn AsyncBufRead + Unpin>;

pub(super) struct Packed {
    pub(super) body: RefCell<ByteStream>,
    /// Why it broke off.
    pub(super) failed: RefCell<Option<BodyError>>,
}

impl Packed {
    pub(super) fn poll_chunk(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        // Decoding may produce nothing for long, and the thread has other work.
        let budget = ready!(tokio::task::coop::poll_proceed(cx));
        let chunk = ready!(self.body.borrow_mut().poll_next_unpin(cx)).transpose();
        budget.made_progress();
        Poll::Ready(chunk.map_err(|error| {
            self.failed.replace(Some(error));
            ErrorKind::BrokenPipe.into()
        }))
    }
}

/// The encoded body as input of the layers.
pub(super) struct Source {
    pub(super) packed: Rc<Packed>,
    pub(super) chunk: Bytes,
}

impl AsyncRead for Source {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        read_buffered(self, cx, buffer)
    }
}

impl AsyncBufRead for Source {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<&[u8]>> {
        let this = self.get_mut();
        while this.chunk.is_empty() {
            match ready!(this.packed.poll_chunk(cx))? {
                Some(chunk) => this.chunk = chunk,
                None => break,
            }
        }
        Poll::Ready(Ok(&this.chunk))
    }

    fn consume(mut self: Pin<&mut Self>, count: usize) {
        self.chunk.advance(count);
    }
}

fn read_buffered(
    mut reader: Pin<&mut impl AsyncBufRead>,
    cx: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
) -> Poll<Result<()>> {
    let input = ready!(reader.as_mut().poll_fill_buf(cx))?;
    let count = input.len().min(buffer.remaining());
    buffer.put_slice(&input[..count]);
    reader.consume(count);
    Poll::Ready(Ok(()))
}

/// An input with lookahead.
pub(super) struct Peek {
    pub(super) input: Input,
    /// The lookahead.
    pub(super) taken: BytesMut,
}

impl Peek {
    /// Polls for the next two bytes, or fewer at the end.
    pub(super) fn poll_peek(&mut self, cx: &mut Context<'_>) -> Poll<Result<&[u8]>> {
        while self.taken.len() < 2 {
            let input = ready!(Pin::new(&mut self.input).poll_fill_buf(cx))?;
            let count = input.len().min(2 - self.taken.len());
            if count == 0 {
                break;
            }
            self.taken.extend_from_slice(&input[..count]);
            Pin::new(&mut self.input).consume(count);
        }
        Poll::Ready(Ok(&self.taken))
    }
}

impl AsyncRead for Peek {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        read_buffered(self, cx, buffer)
    }
}

impl AsyncBufRead for Peek {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<&[u8]>> {
        let this = self.get_mut();
        if this.taken.is_empty() {
            Pin::new(&mut this.input).poll_fill_buf(cx)
        } else {
            Poll::Ready(Ok(&this.taken))
        }
    }

    fn consume(mut self: Pin<&mut Self>, count: usize) {
        let taken = count.min(self.taken.len());
        self.taken.advance(taken);
        if count > taken {
            Pin::new(&mut self.input).consume(count - taken);
        }
    }
}
