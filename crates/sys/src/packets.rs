//! One end of a [`seqpacket`] pair on a tokio runtime.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{Shutdown, shutdown};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::{runtime, seqpacket};

/// A non-blocking socket for whole messages.
#[derive(Debug)]
pub struct PacketSocket(AsyncFd<OwnedFd>);

impl PacketSocket {
    /// Wraps a socket and makes it non-blocking. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// The socket cannot be made non-blocking, or the runtime refuses to poll it.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self(runtime::register(socket, Interest::READABLE)?))
    }

    /// Shuts down the socket, even if others still hold it.
    pub fn hang_up(&self) {
        // Fails only if the peer has already hung up.
        let _ = shutdown(self.0.get_ref().as_raw_fd(), Shutdown::Both);
    }

    /// Returns the next message with its descriptors, or `None` once the peer is gone. Cancel-safe.
    ///
    /// # Errors
    /// The message was truncated.
    pub async fn receive(&self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        loop {
            let Ok(mut ready) = self.0.readable().await else { return Ok(None) };
            match ready.try_io(|socket| seqpacket::receive(socket.get_ref().as_fd())) {
                Ok(received) => return received,
                Err(_would_block) => {}
            }
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}
