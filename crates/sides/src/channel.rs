//! The front's end of the socket to an attendant.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{Shutdown, shutdown};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use devhost_sys::seqpacket;

use crate::orders::{Order, Report};

/// One end of a socket.
#[derive(Debug)]
pub(crate) struct Channel(AsyncFd<OwnedFd>);

impl Channel {
    /// Wraps a socket. Must be called on a tokio runtime.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self(devhost_sys::runtime::register(socket, Interest::READABLE)?))
    }

    /// Sends an order. An attendant that is gone needs none.
    pub(crate) fn send(&self, order: Order) {
        let sent = serde_json::to_vec(&order)
            .map_err(io::Error::from)
            .and_then(|bytes| seqpacket::send(self.0.get_ref().as_fd(), &bytes, &[]));
        if let Err(error) = sent {
            tracing::debug!("{order:?} did not reach an attendant: {error}");
        }
    }

    /// Has the attendant kill everything.
    pub(crate) fn hang_up(&self) {
        // Fails only if the attendant is gone.
        let _ = shutdown(self.0.get_ref().as_raw_fd(), Shutdown::Both);
    }

    /// Returns the next report, or `None` once there is none any more. Cancel-safe.
    pub(crate) async fn report(&self) -> Option<Report> {
        loop {
            let mut ready = self.0.readable().await.ok()?;
            match ready.try_io(|socket| seqpacket::receive(socket.get_ref().as_fd())) {
                Ok(Ok(message)) => return serde_json::from_slice(&message?.0).ok(),
                Ok(Err(error)) => {
                    tracing::warn!("the socket to an attendant failed: {error}");
                    return None;
                }
                Err(_would_block) => {}
            }
        }
    }
}
