//! The front's end of the socket to an attendant.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use devhost_sys::packets::PacketSocket;
use devhost_sys::seqpacket;

use crate::orders::{Order, Report};

/// One end of a socket.
#[derive(Debug)]
pub(crate) struct Channel(PacketSocket);

impl Channel {
    /// Wraps a socket. Must be called on a tokio runtime.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        PacketSocket::new(socket).map(Self)
    }

    /// Sends an order. An attendant that is gone needs none.
    pub(crate) fn send(&self, order: Order) {
        let sent = serde_json::to_vec(&order)
            .map_err(io::Error::from)
            .and_then(|bytes| seqpacket::send(self.0.as_fd(), &bytes, &[]));
        if let Err(error) = sent {
            tracing::debug!("{order:?} did not reach an attendant: {error}");
        }
    }

    /// Has the attendant kill everything.
    pub(crate) fn hang_up(&self) {
        self.0.hang_up();
    }

    /// Returns the next report, or `None` once there is none any more. Cancel-safe.
    pub(crate) async fn report(&self) -> Option<Report> {
        match self.0.receive().await {
            Ok(message) => serde_json::from_slice(&message?.0).ok(),
            Err(error) => {
                tracing::warn!("the socket to an attendant failed: {error}");
                None
            }
        }
    }
}
