//! Why an exchange with an app, or the whole upstream, is over.

use devhost_link::{PeerFault, StreamError};

/// Why an exchange, or the whole upstream, is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// The app cut this one response off, or wants no more of its request.
    #[error("the app broke off the exchange")]
    Reset,
    /// The app closed the connection where its response should have begun, and lives on.
    #[error("the app closed the connection without an answer")]
    Unanswered,
    /// What the app sent is no HTTP response.
    #[error("{0}")]
    Malformed(String),
    /// The worker lives, but takes no connection at the address where it listened.
    #[error("the app no longer accepts connections: {0}")]
    Unreachable(String),
    /// The worker died or was killed.
    #[error("the worker is gone")]
    Lost,
    /// The worker broke the link's protocol.
    #[error("the worker broke the protocol: {0}")]
    Fault(PeerFault),
    /// The request's head is too large.
    #[error("the head is too large")]
    TooLarge,
    /// The request cannot be put into HTTP/1.1.
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
