//! Streams of body bytes, and why they break off.

use bytes::Bytes;
use futures_util::stream::LocalBoxStream;

use crate::upstream::UpstreamError;

/// Why a response broke off after its head.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the app's response broke off: {0}")]
    Upstream(#[from] UpstreamError),
    #[error("the client is gone")]
    ClientGone,
    #[error("the request body broke off")]
    RequestBroken,
    #[error("failed to decode the response: {0}")]
    Decode(std::io::Error),
    #[error("the response ended {0} bytes early")]
    Short(u64),
    /// The app did not finish its WebSocket frame in time.
    #[error("the generation ended within a frame")]
    FrameUnfinished,
}

/// A stream of body bytes.
pub(crate) type ByteStream = LocalBoxStream<'static, Result<Bytes, BodyError>>;
