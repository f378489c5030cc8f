//! The decoded body as a stream.

use std::cell::RefCell;
use std::io::Result;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::io::{AsyncBufRead, BufReader};

use super::coding::Coding;
use super::input::{Input, Packed, Source};
use super::layer::Layer;
use crate::body::{BodyError, ByteStream};

/// How many bytes are decoded at once.
pub(super) const STEP_SIZE_MAX: usize = 32 * 1024;

/// Removes the codings of a body.
pub(crate) fn unpack(body: ByteStream, codings: &[Coding]) -> ByteStream {
    if codings.is_empty() {
        return body;
    }
    let packed =
        Rc::new(Packed { body: RefCell::new(body.fuse().boxed_local()), failed: RefCell::new(None) });
    let mut input: Input = Box::new(Source { packed: Rc::clone(&packed), chunk: Bytes::new() });
    for coding in codings.iter().rev() {
        input = Box::new(BufReader::with_capacity(STEP_SIZE_MAX, Layer::new(input, *coding)));
    }
    Unpacked { input, packed, is_drained: false }.boxed_local()
}

/// The output of the last layer.
struct Unpacked {
    input: Input,
    packed: Rc<Packed>,
    /// All output is out; the rest of the input is being read.
    is_drained: bool,
}

impl Unpacked {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if !self.is_drained {
            let output = ready!(Pin::new(&mut self.input).poll_fill_buf(cx))?;
            if !output.is_empty() {
                let chunk = Bytes::copy_from_slice(output);
                Pin::new(&mut self.input).consume(chunk.len());
                return Poll::Ready(Ok(Some(chunk)));
            }
            self.is_drained = true;
        }
        // The body ends well only if all of its input does.
        while ready!(self.packed.poll_chunk(cx))?.is_some() {}
        Poll::Ready(Ok(None))
    }
}

impl Stream for Unpacked {
    type Item = std::result::Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let chunk = ready!(this.poll(cx));
        Poll::Ready(chunk.transpose().map(|chunk| {
            chunk.map_err(|error| this.packed.failed.take().unwrap_or(BodyError::Decode(error)))
        }))
    }
}
