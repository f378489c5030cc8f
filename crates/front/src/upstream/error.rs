//! Why an exchange, or the whole upstream, is over.

use devhost_link::{PeerFault, StreamError};

/// Why an exchange, or the whole upstream, is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// The app cut off this response, or wants no more of its request.
    #[error("the app broke off the exchange")]
    Reset,
    /// The app closed the connection without a response, but lives.
    #[error("the app closed the connection without an answer")]
    Unanswered,
    /// The app did not send an HTTP response.
    #[error("{0}")]
    Malformed(String),
    /// The worker lives, but no longer accepts connections.
    #[error("the app no longer accepts connections: {0}")]
    Unreachable(String),
    /// The worker died or was killed.
    #[error("the worker is gone")]
    Lost,
    #[error("the worker broke the protocol: {0}")]
    Fault(PeerFault),
    #[error("the head is too large")]
    TooLarge,
    /// HTTP/1.1 cannot carry the request.
    #[error("{0}")]
    BadRequest(&'static str),
}

impl From<StreamError> for UpstreamError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Reset => Self::Reset,
            StreamError::Lost => Self::Lost,
            StreamError::Fault(fault) => Self::Fault(fault),
            StreamError::TooLarge => Self::TooLarge,
        }
    }
}
