//! Takes the content-codings off a body while it streams through, in steps of a bounded size, however much comes out of
//! however little. It is as strict as it must be (a body that breaks off or is damaged ends with an error) and as lenient
//! as browsers are (both forms of `deflate`, bytes behind the end of gzip, a body of no bytes at all).

use std::cell::RefCell;
use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_web::http::header::{self, HeaderMap};
use async_compression::tokio::bufread::{
    BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder,
};
use async_compression::zstd::DParameter;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use tokio::io::{AsyncBufRead, AsyncRead, BufReader, ReadBuf};

use super::body::{BodyError, ByteStream};

/// How much is unpacked at once.
pub(crate) const STEP_SIZE_MAX: usize = 32 * 1024;

/// How many codings may lie on top of each other.
pub(crate) const CODINGS_COUNT_MAX: usize = 4;

/// The largest window of a zstd frame, as a power of two: 8 MiB, as in browsers (RFC 9659).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// One content-coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// `gzip` or `x-gzip`.
    Gzip,
    /// `deflate`: zlib by the book, raw by some servers.
    Deflate,
    /// `br`.
    Brotli,
    /// `zstd`.
    Zstd,
}

impl Coding {
    fn parse(name: &str) -> Option<Self> {
        [
            ("gzip", Self::Gzip),
            ("x-gzip", Self::Gzip),
            ("deflate", Self::Deflate),
            ("br", Self::Brotli),
            ("zstd", Self::Zstd),
        ]
        .into_iter()
        .find_map(|(known, coding)| known.eq_ignore_ascii_case(name).then_some(coding))
    }
}

/// The codings of a body in the order in which they were put on; `None` if they cannot be taken off here.
pub(crate) fn codings(headers: &HeaderMap) -> Option<Vec<Coding>> {
    let mut codings = Vec::new();
    for value in headers.get_all(header::CONTENT_ENCODING) {
        for name in value.to_str().ok()?.split(',').map(str::trim) {
            if name.is_empty() || name.eq_ignore_ascii_case("identity") {
                continue;
            }
            codings.push(Coding::parse(name)?);
        }
    }
    (codings.len() <= CODINGS_COUNT_MAX).then_some(codings)
}

/// The body without its codings.
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

type Input = Box<dyn AsyncBufRead + Unpin>;

/// The body as it comes.
struct Packed {
    body: RefCell<ByteStream>,
    /// Why it broke off.
    failed: RefCell<Option<BodyError>>,
}

impl Packed {
    fn poll_chunk(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        // What comes out may be nothing for long, and the thread has other work.
        let budget = ready!(tokio::task::coop::poll_proceed(cx));
        let chunk = ready!(self.body.borrow_mut().poll_next_unpin(cx)).transpose();
        budget.made_progress();
        Poll::Ready(chunk.map_err(|error| {
            self.failed.replace(Some(error));
            ErrorKind::BrokenPipe.into()
        }))
    }
}

/// The body for the layers to read.
struct Source {
    packed: Rc<Packed>,
    chunk: Bytes,
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

/// An input whose first bytes can be looked at.
struct Peek {
    input: Input,
    /// What was taken from the input to be looked at.
    taken: BytesMut,
}

impl Peek {
    /// The next two bytes, or as many as there are before the end.
    fn poll_peek(&mut self, cx: &mut Context<'_>) -> Poll<Result<&[u8]>> {
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

/// Takes one coding off.
struct Layer {
    coding: Coding,
    state: State,
}

enum State {
    /// At the start, or after a member of gzip.
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
    fn new(input: Input, coding: Coding) -> Self {
        let input = Peek { input, taken: BytesMut::new() };
        Self { coding, state: State::Between { input, is_first: true } }
    }

    /// What the first bytes ask for.
    fn begin(&self, input: Peek, is_first: bool) -> Result<State> {
        let damaged = |what: &str| Err(Error::new(ErrorKind::InvalidData, what));
        let first = &input.taken[..];
        Ok(match self.coding {
            _ if first.is_empty() => State::Over,
            Coding::Gzip if first == b"\x1f\x8b" => State::Gzip(GzipDecoder::new(input)),
            Coding::Gzip if is_first => return damaged("it does not begin as gzip"),
            // Padding, or whatever it is that browsers do not look at either.
            Coding::Gzip => State::Over,
            Coding::Deflate if is_zlib(first) => State::Zlib(ZlibDecoder::new(input)),
            Coding::Deflate => State::Raw(DeflateDecoder::new(input)),
            // The start of a window beyond those of RFC 7932, for which the decoder would take a gigabyte.
            Coding::Brotli if first[0] & 0x7f == 0x11 => return damaged("its window is too large"),
            Coding::Brotli => State::Brotli(BrotliDecoder::new(input)),
            Coding::Zstd => {
                let limit = DParameter::window_log_max(ZSTD_WINDOW_LOG_MAX);
                let mut decoder = ZstdDecoder::with_params(input, &[limit]);
                decoder.multiple_members(true);
                State::Zstd(decoder)
            }
        })
    }
}

/// True for the header of RFC 1950 §2.2. Raw data would begin with a block whose padding is not zero.
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
            match &mut this.state {
                State::Between { input, .. } => {
                    ready!(input.poll_peek(cx))?;
                    if let State::Between { input, is_first } =
                        std::mem::replace(&mut this.state, State::Over)
                    {
                        this.state = this.begin(input, is_first)?;
                    }
                    continue;
                }
                State::Gzip(decoder) => {
                    ready!(Pin::new(decoder).poll_read(cx, buffer))?;
                    if buffer.filled().len() == before
                        && let State::Gzip(decoder) = std::mem::replace(&mut this.state, State::Over)
                    {
                        this.state = State::Between { input: decoder.into_inner(), is_first: false };
                        continue;
                    }
                }
                State::Zlib(decoder) => ready!(Pin::new(decoder).poll_read(cx, buffer))?,
                State::Raw(decoder) => ready!(Pin::new(decoder).poll_read(cx, buffer))?,
                State::Brotli(decoder) => ready!(Pin::new(decoder).poll_read(cx, buffer))?,
                State::Zstd(decoder) => ready!(Pin::new(decoder).poll_read(cx, buffer))?,
                State::Over => {}
            }
            return Poll::Ready(Ok(()));
        }
    }
}

/// What comes out in the end.
struct Unpacked {
    input: Input,
    packed: Rc<Packed>,
    /// Everything is out, and the rest of the input is taken in.
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
        // The body ends in order only if all of it does.
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::upstream::UpstreamError;
    use async_compression::Level;
    use async_compression::tokio::bufread::{
        BrotliEncoder, DeflateEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder,
    };
    use tokio::io::AsyncReadExt;

    const PAGE: &[u8] = b"<html><head></head><body>hello, hello, hello and again hello</body></html>";

    const ALL: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];

    /// Puts a coding on.
    pub(crate) async fn pack(data: &[u8], coding: Coding) -> Vec<u8> {
        let mut packed = Vec::new();
        match coding {
            Coding::Gzip => GzipEncoder::new(data).read_to_end(&mut packed).await,
            Coding::Deflate => ZlibEncoder::new(data).read_to_end(&mut packed).await,
            Coding::Brotli => {
                BrotliEncoder::with_quality(data, Level::Fastest).read_to_end(&mut packed).await
            }
            Coding::Zstd => ZstdEncoder::new(data).read_to_end(&mut packed).await,
        }
        .unwrap();
        packed
    }

    fn stream(packed: &[u8], piece: usize) -> ByteStream {
        let pieces: Vec<_> = packed.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        futures_util::stream::iter(pieces).boxed_local()
    }

    async fn collect(mut output: ByteStream) -> std::result::Result<Vec<u8>, BodyError> {
        let mut whole = Vec::new();
        while let Some(chunk) = output.next().await {
            let chunk = chunk?;
            assert!(!chunk.is_empty() && chunk.len() <= STEP_SIZE_MAX);
            whole.extend_from_slice(&chunk);
        }
        Ok(whole)
    }

    async fn unpacked(packed: &[u8], codings: &[Coding]) -> std::result::Result<Vec<u8>, BodyError> {
        let whole = collect(unpack(stream(packed, usize::MAX), codings)).await;
        let in_bytes = collect(unpack(stream(packed, 1), codings)).await;
        match (&whole, &in_bytes) {
            (Ok(whole), Ok(in_bytes)) => assert_eq!(whole, in_bytes),
            (Err(_), Err(_)) => {}
            different => panic!("{different:?}"),
        }
        whole
    }

    #[tokio::test]
    async fn every_coding_and_any_two_on_top_of_each_other_come_off() {
        for inner in ALL {
            let once = pack(PAGE, inner).await;
            assert_eq!(unpacked(&once, &[inner]).await.unwrap(), PAGE, "{inner:?}");
            for outer in ALL {
                let twice = pack(&once, outer).await;
                assert_eq!(unpacked(&twice, &[inner, outer]).await.unwrap(), PAGE, "{inner:?} {outer:?}");
            }
            assert_eq!(unpacked(b"", &[inner]).await.unwrap(), b"");
        }
    }

    #[tokio::test]
    async fn deflate_without_a_zlib_header_comes_off() {
        for data in [PAGE, b"", b"x", &[0; 100_000]] {
            for level in [Level::Fastest, Level::Best, Level::Precise(0)] {
                let mut raw = Vec::new();
                DeflateEncoder::with_quality(data, level).read_to_end(&mut raw).await.unwrap();
                assert_eq!(unpacked(&raw, &[Coding::Deflate]).await.unwrap(), data);
                let mut zlib = Vec::new();
                ZlibEncoder::with_quality(data, level).read_to_end(&mut zlib).await.unwrap();
                assert_eq!(unpacked(&zlib, &[Coding::Deflate]).await.unwrap(), data);
            }
        }
    }

    #[tokio::test]
    async fn members_and_frames_follow_each_other() {
        for coding in [Coding::Gzip, Coding::Zstd] {
            let several =
                [pack(b"one", coding).await, pack(b"", coding).await, pack(b"two", coding).await].concat();
            assert_eq!(unpacked(&several, &[coding]).await.unwrap(), b"onetwo");
        }
        for rest in [&b"\0\0\0"[..], b"\x1f", b"rest"] {
            let padded = [&pack(PAGE, Coding::Gzip).await[..], rest].concat();
            assert_eq!(unpacked(&padded, &[Coding::Gzip]).await.unwrap(), PAGE);
        }
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_or_is_damaged_is_never_whole() {
        let noise: Vec<u8> = (0..500_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for coding in ALL {
            let packed = pack(&noise, coding).await;
            for size in 1..packed.len() {
                let ended = unpacked(&packed[..size], &[coding]).await;
                assert!(matches!(ended, Err(BodyError::Decode(_))), "{coding:?} after {size}: {ended:?}");
            }
            assert!(unpacked(b"no such thing, whatever it says", &[coding]).await.is_err(), "{coding:?}");
        }
        // These have checksums.
        for coding in [Coding::Gzip, Coding::Deflate] {
            let packed = pack(&noise, coding).await;
            for at in 10..packed.len() {
                let mut damaged = packed.clone();
                damaged[at] ^= 4;
                assert!(unpacked(&damaged, &[coding]).await.is_err(), "{coding:?} at {at}");
            }
        }
    }

    #[tokio::test]
    async fn what_the_app_s_body_ended_with_is_told() {
        for coding in ALL {
            for cut in [0, 20, usize::MAX] {
                let packed = pack(PAGE, coding).await;
                let end = futures_util::stream::iter([Err(BodyError::Upstream(UpstreamError::Reset))]);
                let body = stream(&packed[..cut.min(packed.len())], 7).chain(end).boxed_local();
                let ended = collect(unpack(body, &[coding])).await;
                assert!(
                    matches!(ended, Err(BodyError::Upstream(UpstreamError::Reset))),
                    "{coding:?} {ended:?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_page_that_unpacks_to_much_takes_little_memory() {
        const SIZE: usize = 64 * 1024 * 1024;
        for coding in ALL {
            let mut bomb = Vec::new();
            let zeros = BufReader::with_capacity(STEP_SIZE_MAX, tokio::io::repeat(0).take(SIZE as u64));
            match coding {
                Coding::Gzip => GzipEncoder::with_quality(zeros, Level::Fastest).read_to_end(&mut bomb).await,
                Coding::Deflate => {
                    ZlibEncoder::with_quality(zeros, Level::Fastest).read_to_end(&mut bomb).await
                }
                Coding::Brotli => {
                    BrotliEncoder::with_quality(zeros, Level::Fastest).read_to_end(&mut bomb).await
                }
                Coding::Zstd => ZstdEncoder::with_quality(zeros, Level::Fastest).read_to_end(&mut bomb).await,
            }
            .unwrap();
            let before = resident();
            let mut output = unpack(stream(&bomb, usize::MAX), &[coding]);
            let (mut size, mut most) = (0, before);
            while let Some(chunk) = output.next().await {
                let chunk = chunk.unwrap();
                assert!(chunk.len() <= STEP_SIZE_MAX);
                size += chunk.len();
                if size % (64 * STEP_SIZE_MAX) < STEP_SIZE_MAX {
                    most = most.max(resident());
                }
            }
            assert_eq!(size, SIZE);
            let grown = most.saturating_sub(before);
            // Other tests run at the same time, in the same memory.
            assert!(grown < SIZE / 2, "{coding:?}: {bomb} bytes took {grown}", bomb = bomb.len());
        }
    }

    /// The memory that this process has, in bytes.
    fn resident() -> usize {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    #[tokio::test]
    async fn windows_beyond_those_of_browsers_are_refused() {
        // The header of a frame without a size, with a window of 16 MiB.
        let zstd = [&b"\x28\xb5\x2f\xfd\0\x70"[..], b"\x01\0\0"].concat();
        assert!(unpacked(&zstd, &[Coding::Zstd]).await.is_err());
        assert!(unpacked(b"\x11\x1e\x03", &[Coding::Brotli]).await.is_err());
    }

    #[tokio::test]
    async fn what_is_unpacked_is_not_held_back() {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
        let body = futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|chunk| (Ok(chunk), receiver))
        });
        let mut output = unpack(body.boxed_local(), &[Coding::Gzip]);
        // Two members, as a server that flushes: each is out before the next is in.
        for part in [&b"one"[..], b"two"] {
            sender.send(pack(part, Coding::Gzip).await.into()).unwrap();
            assert_eq!(output.next().await.unwrap().unwrap(), part);
        }
        drop(sender);
        assert!(output.next().await.is_none());
    }

    #[test]
    fn codings_are_read_from_all_headers() {
        let codings = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, value.parse().unwrap());
            }
            super::codings(&headers)
        };
        assert_eq!(codings(&[]), Some(vec![]));
        assert_eq!(codings(&["", "identity"]), Some(vec![]));
        assert_eq!(codings(&["X-GZip"]), Some(vec![Coding::Gzip]));
        assert_eq!(
            codings(&["deflate, br", "zstd"]),
            Some(vec![Coding::Deflate, Coding::Brotli, Coding::Zstd])
        );
        for unknown in ["compress", "gzip, aes128gcm", "gzip gzip", "gzip,gzip,gzip,gzip,gzip"] {
            assert_eq!(codings(&[unknown]), None);
        }
    }
}
