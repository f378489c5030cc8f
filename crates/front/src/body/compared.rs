//! Shows a response's body to the comparison that tells whether it is a file as it is.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use devhost_watch::Comparison;
use futures_util::{FutureExt, Stream, StreamExt};

use super::error::ByteStream;
use crate::unpack::{Coding, unpack};

/// How much of an encoded body is kept, to be decoded at its end. A larger one is not compared.
const PACKED_SIZE_MAX: usize = 16 * 1024 * 1024;

/// Returns the body unchanged, and shows it to the comparison as it passes, without its codings. The comparison is over before
/// anybody has the whole body: of one whose `length` was announced, nobody asks for an end.
pub(crate) fn compared(
    body: ByteStream,
    comparison: Comparison,
    codings: Vec<Coding>,
    length: Option<u64>,
) -> ByteStream {
    let left = length.unwrap_or(u64::MAX);
    Compared { body, comparison, codings, packed: Vec::new(), packed_size: 0, left, is_over: false }
        .boxed_local()
}

struct Compared {
    body: ByteStream,
    comparison: Comparison,
    codings: Vec<Coding>,
    packed: Vec<Bytes>,
    packed_size: usize,
    /// How many bytes are still to come, if that was announced.
    left: u64,
    is_over: bool,
}

impl Compared {
    fn show(&mut self, piece: &Bytes) {
        if self.codings.is_empty() {
            self.comparison.feed(piece);
            return;
        }
        self.comparison.feed_packed(piece);
        self.packed_size += piece.len();
        if self.packed_size <= PACKED_SIZE_MAX {
            self.packed.push(piece.clone());
        } else {
            self.packed.clear();
        }
    }

    fn finish(&mut self) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        if !self.codings.is_empty() {
            let packed = std::mem::take(&mut self.packed).into_iter().map(Ok);
            let mut plain = unpack(futures_util::stream::iter(packed).boxed_local(), &self.codings);
            // All of it is there, so nothing is waited for. What cannot be unpacked may be a file as it is.
            while let Some(Some(Ok(piece))) = plain.next().now_or_never() {
                self.comparison.feed(&piece);
            }
        }
        self.comparison.finish();
    }
}

impl Stream for Compared {
    type Item = <ByteStream as Stream>::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.body.as_mut().poll_next(cx));
        match &item {
            Some(Ok(piece)) => {
                self.show(piece);
                self.left = self.left.saturating_sub(piece.len() as u64);
                if self.left == 0 {
                    self.finish();
                }
            }
            Some(Err(_)) => {}
            None => self.finish(),
        }
        Poll::Ready(item)
    }
}
