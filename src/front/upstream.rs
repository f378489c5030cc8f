//! What the front forwards requests to. A plugin app's upstream is a shared-memory link; the seam is here so
//! that the rest of the front knows neither rings nor frames, and so that tests can stand in for a worker.
//! It never looks into heads or bodies.

mod socket;

pub use socket::SocketClient;

use std::task::{Context, Poll};

use bytes::Bytes;

use crate::shm::{self, Client, PeerFault, StreamError};

/// The way to one generation's app. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Upstream {
    /// A worker behind a shared-memory link.
    Link(Client),
    /// A plain app behind its private port.
    Socket(SocketClient),
    /// A test that plays the worker.
    #[cfg(test)]
    Fake(super::tests::fake::FakeClient),
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
    /// Opens a stream with an encoded [`RequestHead`](crate::wire::RequestHead); `end` means that no body
    /// follows.
    pub async fn open(&self, head: Bytes, end: bool) -> Result<(SendHalf, RecvHalf), StreamError> {
        match self {
            Self::Link(client) => {
                let (send, recv) = client.open(head, end).await?;
                Ok((SendHalf::Link(send), RecvHalf::Link(recv)))
            }
            Self::Socket(client) => {
                let (send, recv) = client.open(head, end).await?;
                Ok((SendHalf::Socket(send), RecvHalf::Socket(recv)))
            }
            #[cfg(test)]
            Self::Fake(client) => {
                let (send, recv) = client.open(head, end).await?;
                Ok((SendHalf::Fake(send), RecvHalf::Fake(recv)))
            }
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

    /// The worker is dead: delivers what it had sent, then fails every open stream with
    /// [`StreamError::Lost`].
    pub fn close(&self) {
        match self {
            Self::Link(client) => client.close(),
            Self::Socket(client) => client.close(),
            #[cfg(test)]
            Self::Fake(_) => {}
        }
    }

    /// Resolves once the upstream is over, with the fault where there was one.
    pub async fn closed(&self) -> Option<PeerFault> {
        match self {
            Self::Link(client) => client.closed().await,
            Self::Socket(client) => client.closed().await,
            #[cfg(test)]
            Self::Fake(_) => std::future::pending().await,
        }
    }
}

/// The request body. Dropped before [`SendHalf::finish`], it cuts the exchange off.
#[derive(Debug)]
pub enum SendHalf {
    /// On a link.
    Link(shm::SendHalf),
    /// To a plain app.
    Socket(socket::SendHalf),
    /// In a test.
    #[cfg(test)]
    Fake(super::tests::fake::FakeSend),
}

impl SendHalf {
    /// Sends all of it, waiting for room.
    pub async fn send(&mut self, data: Bytes) -> Result<(), StreamError> {
        match self {
            Self::Link(half) => half.send(data).await,
            Self::Socket(half) => half.send(data).await,
            #[cfg(test)]
            Self::Fake(half) => half.send(data).await,
        }
    }

    /// Ends the request body.
    pub async fn finish(&mut self) -> Result<(), StreamError> {
        match self {
            Self::Link(half) => half.finish().await,
            Self::Socket(half) => half.finish().await,
            #[cfg(test)]
            Self::Fake(half) => half.finish().await,
        }
    }
}

/// The response. Dropped before its end, it cancels the app's handler.
#[derive(Debug)]
pub enum RecvHalf {
    /// On a link.
    Link(shm::RecvHalf),
    /// From a plain app.
    Socket(socket::RecvHalf),
    /// In a test.
    #[cfg(test)]
    Fake(super::tests::fake::FakeRecv),
}

impl RecvHalf {
    /// The encoded [`ResponseHead`](crate::wire::ResponseHead), and whether the response is over with it.
    pub async fn head(&mut self) -> Result<(Bytes, bool), StreamError> {
        match self {
            Self::Link(half) => half.head().await,
            Self::Socket(half) => half.head().await,
            #[cfg(test)]
            Self::Fake(half) => half.head().await,
        }
    }

    /// The next piece of the body, `None` at its end.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        match self {
            Self::Link(half) => half.poll_data(cx),
            Self::Socket(half) => half.poll_data(cx),
            #[cfg(test)]
            Self::Fake(half) => half.poll_data(cx),
        }
    }

    /// The next piece of the body, `None` at its end.
    pub async fn data(&mut self) -> Result<Option<Bytes>, StreamError> {
        std::future::poll_fn(|cx| self.poll_data(cx)).await
    }
}
