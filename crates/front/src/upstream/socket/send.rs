//! The client's half of an exchange: the request body, or its half of a tunnel.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::upstream::UpstreamError;
use crate::upstream::connection::Wire;

/// A request body, or the client's half of a tunnel.
#[derive(Debug)]
pub(crate) struct SendHalf(Sending);

#[derive(Debug)]
pub(super) enum Sending {
    Nothing,
    Pieces(mpsc::Sender<Option<Bytes>>),
    Tunnel(Tunnel),
}

#[derive(Debug)]
pub(super) enum Tunnel {
    /// The app has not answered yet.
    Asked(oneshot::Receiver<Arc<Wire>>),
    Open(Arc<Wire>),
    /// The app declined the upgrade.
    Refused,
}

impl Tunnel {
    async fn wire(&mut self) -> Result<&Arc<Wire>, UpstreamError> {
        if let Self::Asked(answer) = self {
            *self = answer.await.map_or(Self::Refused, Self::Open);
        }
        match self {
            Self::Open(wire) => Ok(wire),
            Self::Asked(_) | Self::Refused => Err(UpstreamError::Reset),
        }
    }
}

impl SendHalf {
    pub(super) fn new(sending: Sending) -> Self {
        Self(sending)
    }

    /// Sends all of the data, waiting for room.
    pub(crate) async fn send(&mut self, data: Bytes) -> Result<(), UpstreamError> {
        match &mut self.0 {
            Sending::Nothing => Err(UpstreamError::Reset),
            // An empty piece says nothing.
            Sending::Pieces(_) if data.is_empty() => Ok(()),
            Sending::Pieces(pieces) => pieces.send(Some(data)).await.map_err(|_| UpstreamError::Reset),
            Sending::Tunnel(tunnel) => {
                tunnel.wire().await?.write_all(data).await.map_err(|_| UpstreamError::Reset)
            }
        }
    }

    pub(crate) async fn finish(&mut self) -> Result<(), UpstreamError> {
        match &mut self.0 {
            Sending::Nothing => Ok(()),
            Sending::Pieces(pieces) => pieces.send(None).await.map_err(|_| UpstreamError::Reset),
            Sending::Tunnel(tunnel) => {
                tunnel.wire().await?.finish_sending();
                Ok(())
            }
        }
    }
}
