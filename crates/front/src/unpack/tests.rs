//! Each coding, encoded by another implementation: in pieces, damaged and truncated.

use actix_web::http::header::{self, HeaderMap};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, BufReader};

use super::stream::STEP_SIZE_MAX;
use super::{Coding, unpack};
use crate::body::{BodyError, ByteStream};
use crate::upstream::UpstreamError;
use async_compression::Level;
use async_compression::tokio::bufread::{
    BrotliEncoder, DeflateEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder,
};

const PAGE: &[u8] = b"<html><head></head><body>hello, hello, hello and again hello</body></html>";

const ALL: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];

pub(crate) async fn pack(data: &[u8], coding: Coding) -> Vec<u8> {
    let mut packed = Vec::new();
    match coding {
        Coding::Gzip => GzipEncoder::new(data).read_to_end(&mut packed).await,
        Coding::Deflate => ZlibEncoder::new(data).read_to_end(&mut packed).await,
        Coding::Brotli => BrotliEncoder::with_quality(data, Level::Fastest).read_to_end(&mut packed).await,
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
    for data in [PAGE, b"", b"x", &vec![0; 100_000]] {
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
            assert!(matches!(ended, Err(BodyError::Upstream(UpstreamError::Reset))), "{coding:?} {ended:?}");
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
            Coding::Deflate => ZlibEncoder::with_quality(zeros, Level::Fastest).read_to_end(&mut bomb).await,
            Coding::Brotli => BrotliEncoder::with_quality(zeros, Level::Fastest).read_to_end(&mut bomb).await,
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
        // Other tests run concurrently in the same memory.
        assert!(grown < SIZE / 2, "{coding:?}: {bomb} bytes took {grown}", bomb = bomb.len());
    }
}

/// Returns the resident memory of this process, in bytes.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn windows_beyond_those_of_browsers_are_refused() {
    // A frame header without a size, with a window of 16 MiB.
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
    // Two members, as from a server that flushes: each is out before the next is in.
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
    assert_eq!(codings(&["deflate, br", "zstd"]), Some(vec![Coding::Deflate, Coding::Brotli, Coding::Zstd]));
    for unknown in ["compress", "gzip, aes128gcm", "gzip gzip", "gzip,gzip,gzip,gzip,gzip"] {
        assert_eq!(codings(&[unknown]), None);
    }
}
