//! The way to an app, by link or socket, and the two halves of an exchange.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use devhost_link::{self as shm, Client, PeerFault};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::error::UpstreamError;
use super::socket::{self, SocketClient};

/// How long an app behind a link has to refuse a request whose client holds its body back. A link does not
/// tell when the app begins to read.
const REFUSAL_TIME_MAX: Duration = Duration::from_millis(50);

/// The way to one generation's app. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Upstream {
    /// A worker behind a shared-memory link.
    Link(Client),
    /// A worker that listens on a private port.
    Socket(SocketClient),
    /// A test that plays the worker.
    #[cfg(test)]
    Fake(crate::tests::fake::FakeClient),
}

impl From<Client> for Upstream {
    fn from(client: Client) -> Self {
        Self::Link(client)
    }
}

impl From<SocketClient> for Upstream {
    fn from(client: SocketClient) -> Self {
        Self::Socket(client)
    }
}

impl Upstream {
    /// Opens a stream with an encoded [`RequestHead`](devhost_link::wire::RequestHead). `end` means that no
    /// body follows.
    pub(crate) async fn open(&self, head: Bytes, end: bool) -> Result<(SendHalf, RecvHalf), UpstreamError> {
        match self {
            Self::Link(client) => {
                let (send, recv) = client.open(head, end).await?;
                Ok((SendHalf::Link(send), RecvHalf::Link(recv)))
            }
            Self::Socket(client) => {
                let (send, recv) = client.open(head, end).await?;
                Ok((SendHalf::Socket(send), RecvHalf::Socket(Box::new(recv))))
            }
            #[cfg(test)]
            Self::Fake(client) => {
                let (send, recv) = client.open(head, end)?;
                Ok((SendHalf::Fake(send), RecvHalf::Fake(recv)))
            }
        }
    }

    /// Sets the worker's process.
    pub fn set_process(&self, pid: i32) {
        if let Self::Socket(client) = self {
            client.set_process(pid);
        }
    }

    /// Tells the app that nothing new will come.
    pub fn goaway(&self) {
        match self {
            Self::Link(client) => client.goaway(),
            Self::Socket(client) => client.goaway(),
            #[cfg(test)]
            Self::Fake(_) => {}
        }
    }

    /// Closes the upstream of a dead worker: delivers what it had sent, then fails every open stream with
    /// `UpstreamError::Lost`.
    pub fn close(&self) {
        match self {
            Self::Link(client) => client.close(),
            Self::Socket(client) => client.close(),
            #[cfg(test)]
            Self::Fake(_) => {}
        }
    }

    /// Rescues requests from lost wakes. Returns how far the worker has read if it has not read everything,
    /// or `None` if it has or that is unknown.
    pub fn look(&self) -> Option<u64> {
        match self {
            Self::Link(client) => client.look(),
            Self::Socket(_) => None,
            #[cfg(test)]
            Self::Fake(_) => None,
        }
    }

    /// Resolves once the upstream is over, with the fault, if any.
    pub async fn closed(&self) -> Option<PeerFault> {
        match self {
            Self::Link(client) => client.closed().await,
            Self::Socket(client) => {
                client.closed().await;
                None
            }
            #[cfg(test)]
            Self::Fake(_) => std::future::pending().await,
        }
    }
}

/// The request body. Dropped before [`SendHalf::finish`], it cuts the exchange off.
#[derive(Debug)]
pub(crate) enum SendHalf {
    Link(shm::SendHalf),
    Socket(socket::SendHalf),
    #[cfg(test)]
    Fake(crate::tests::fake::FakeSend),
}

impl SendHalf {
    /// Sends all of the data, waiting for room.
    pub(crate) async fn send(&mut self, data: Bytes) -> Result<(), UpstreamError> {
        match self {
            Self::Link(half) => Ok(half.send(data).await?),
            Self::Socket(half) => half.send(data).await,
            #[cfg(test)]
            Self::Fake(half) => Ok(half.send(data).await?),
        }
    }

    pub(crate) async fn finish(&mut self) -> Result<(), UpstreamError> {
        match self {
            Self::Link(half) => Ok(half.finish()?),
            Self::Socket(half) => half.finish().await,
            #[cfg(test)]
            Self::Fake(half) => Ok(half.finish().await?),
        }
    }
}

/// The response. Dropped before its end, it cancels the app's handler.
#[derive(Debug)]
pub(crate) enum RecvHalf {
    Link(shm::RecvHalf),
    Socket(Box<socket::RecvHalf>),
    #[cfg(test)]
    Fake(crate::tests::fake::FakeRecv),
}

impl RecvHalf {
    /// Resolves once the client may send the body that it holds back
    /// ([`REQUEST_EXPECT`](devhost_link::wire::REQUEST_EXPECT)).
    pub(crate) fn go_ahead(&self) -> LocalBoxFuture<'static, ()> {
        match self {
            Self::Socket(half) => half.go_ahead().boxed_local(),
            Self::Link(_) => tokio::time::sleep(REFUSAL_TIME_MAX).boxed_local(),
            #[cfg(test)]
            Self::Fake(_) => tokio::time::sleep(REFUSAL_TIME_MAX).boxed_local(),
        }
    }

    /// Returns the encoded [`ResponseHead`](devhost_link::wire::ResponseHead), and whether it ends the
    /// response.
    pub(crate) async fn head(&mut self) -> Result<(Bytes, bool), UpstreamError> {
        match self {
            Self::Link(half) => Ok(half.head().await?),
            Self::Socket(half) => half.head().await,
            #[cfg(test)]
            Self::Fake(half) => Ok(half.head().await?),
        }
    }

    /// Returns true after [`UpstreamError::Lost`] in place of a head if another worker may get the request,
    /// because this one did not read all of it, as far as can be told. Final once the worker's process has
    /// ended.
    pub(crate) fn was_never_read(&self) -> bool {
        match self {
            Self::Link(half) => half.was_never_read(),
            Self::Socket(half) => half.was_never_read(),
            #[cfg(test)]
            Self::Fake(_) => false,
        }
    }

    /// Returns true after [`UpstreamError::Lost`] in place of a head if another worker may get the request
    /// although this one may have read it.
    pub(crate) fn may_be_repeated(&self) -> bool {
        match self {
            Self::Socket(half) => half.may_be_repeated(),
            Self::Link(_) => false,
            #[cfg(test)]
            Self::Fake(_) => false,
        }
    }

    /// Polls for the next piece of the body, `None` at its end.
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, UpstreamError>> {
        match self {
            Self::Link(half) => half.poll_data(cx).map_err(Into::into),
            Self::Socket(half) => half.poll_data(cx),
            #[cfg(test)]
            Self::Fake(half) => half.poll_data(cx).map_err(Into::into),
        }
    }

    /// Returns the next piece of the body, `None` at its end.
    pub(crate) async fn data(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        std::future::poll_fn(|cx| self.poll_data(cx)).await
    }
}
