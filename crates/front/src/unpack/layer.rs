//! One content-coding, removed while it is read.

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_compression::tokio::bufread::{
    BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder,
};
use async_compression::zstd::DParameter;
use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};

use super::coding::Coding;
use super::input::{Input, Peek};

/// The largest window of a zstd frame, as a power of two: 8 MiB, as in browsers (RFC 9659).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

pub(super) struct Layer {
    coding: Coding,
    decoder: Decoder,
}

enum Decoder {
    /// At the start, or after a gzip member.
    Between {
        input: Peek,
        is_first: bool,
    },
    Gzip(GzipDecoder<Peek>),
    Zlib(ZlibDecoder<Peek>),
    Raw(DeflateDecoder<Peek>),
    Brotli(BrotliDecoder<Peek>),
    Zstd(ZstdDecoder<Peek>),
    Over,
}

impl Layer {
    pub(super) fn new(input: Input, coding: Coding) -> Self {
        let input = Peek { input, taken: BytesMut::new() };
        Self { coding, decoder: Decoder::Between { input, is_first: true } }
    }

    /// Chooses the decoder by the first bytes.
    fn begin(&self, input: Peek, is_first: bool) -> Result<Decoder> {
        let damaged = |what: &str| Err(Error::new(ErrorKind::InvalidData, what));
        let first = &input.taken[..];
        Ok(match self.coding {
            _ if first.is_empty() => Decoder::Over,
            Coding::Gzip if first == b"\x1f\x8b" => Decoder::Gzip(GzipDecoder::new(input)),
            Coding::Gzip if is_first => return damaged("it does not begin as gzip"),
            // Padding or garbage, which browsers ignore, too.
            Coding::Gzip => Decoder::Over,
            Coding::Deflate if is_zlib(first) => Decoder::Zlib(ZlibDecoder::new(input)),
            Coding::Deflate => Decoder::Raw(DeflateDecoder::new(input)),
            // A large window (not in RFC 7932), for which the decoder would allocate a gigabyte.
            Coding::Brotli if first[0] & 0x7f == 0x11 => return damaged("its window is too large"),
            Coding::Brotli => Decoder::Brotli(BrotliDecoder::new(input)),
            Coding::Zstd => {
                let limit = DParameter::window_log_max(ZSTD_WINDOW_LOG_MAX);
                let mut decoder = ZstdDecoder::with_params(input, &[limit]);
                decoder.multiple_members(true);
                Decoder::Zstd(decoder)
            }
        })
    }
}

/// Returns true for a header of RFC 1950 §2.2. Raw data beginning like that would have nonzero padding in its
/// first block.
fn is_zlib(first: &[u8]) -> bool {
    let [method, flags] = first else { return false };
    method & 0x0f == 8 && method >> 4 <= 7 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31)
}

impl AsyncRead for Layer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let this = &mut *self;
        loop {
            let before = buffer.filled().len();
            match &mut this.decoder {
                Decoder::Between { input, .. } => {
                    ready!(input.poll_peek(cx))?;
                    if let Decoder::Between { input, is_first } =
                        std::mem::replace(&mut this.decoder, Decoder::Over)
                    {
                        this.decoder = this.begin(input, is_first)?;
                    }
                    continue;
                }
                Decoder::Gzip(decoder) => {
                    ready!(Pin::new(decoder).poll_read(cx, buffer))?;
                    if buffer.filled().len() == before
                        && let Decoder::Gzip(decoder) = std::mem::replace(&mut this.decoder, Decoder::Over)
                    {
                        this.decoder = Decoder::Between { input: decoder.into_inner(), is_first: false };
                        continue;
                    }
                }
                Decoder::Zlib(decoder) => ready!(Pin::new(decoder).poll_read(cx, buffer))?,
                Decoder::Raw(decoder) => ready!(Pin::new(decoder).poll_read(cx, buffer))?,
                Decoder::Brotli(decoder) => ready!(Pin::new(decoder).poll_read(cx, buffer))?,
                Decoder::Zstd(decoder) => ready!(Pin::new(decoder).poll_read(cx, buffer))?,
                Decoder::Over => {}
            }
            return Poll::Ready(Ok(()));
        }
    }
}
