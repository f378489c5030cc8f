//! The front's end of a control socket, on a tokio runtime. Carries messages without knowing what they say.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::process::{Child, ExitStatus};
use std::time::Duration;

use devhost_sys::packets::PacketSocket;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::control;

/// How often an ending peer is polled.
const END_POLL_INTERVAL: Duration = Duration::from_millis(2);

/// One end of a control socket.
#[derive(Debug)]
pub struct Channel(PacketSocket);

impl Channel {
    /// Wraps a socket and makes it non-blocking. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// The socket cannot be made non-blocking, or the runtime refuses to poll it.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        PacketSocket::new(socket).map(Self)
    }

    /// Shuts down the socket, even if others still hold the channel.
    pub fn hang_up(&self) {
        self.0.hang_up();
    }

    /// Hangs up and reaps the peer's process, killing it after `limit`. Returns its status if it ended by
    /// itself.
    pub(crate) async fn end_peer(&self, process: &RefCell<Child>, limit: Duration) -> Option<ExitStatus> {
        self.hang_up();
        let deadline = Instant::now() + limit;
        loop {
            let ended = process.borrow_mut().try_wait();
            match ended {
                Ok(None) if Instant::now() < deadline => tokio::time::sleep(END_POLL_INTERVAL).await,
                Ok(Some(status)) => return Some(status),
                Err(_) => return None,
                Ok(None) => {
                    let mut process = process.borrow_mut();
                    let _ = process.kill();
                    let _ = process.wait();
                    return None;
                }
            }
        }
    }

    /// Sends a message. The socket buffers hundreds; a peer that lets it fill up counts as dead.
    ///
    /// # Errors
    /// The peer is gone or does not read, or the message is too large.
    pub fn send<M: Serialize>(&self, message: &M, fds: &[RawFd]) -> io::Result<()> {
        control::send(self.0.as_fd(), message, fds)
    }

    /// Returns the next message, or `None` once the peer is gone or sends garbage. Cancel-safe.
    pub async fn receive<M: DeserializeOwned>(&self) -> Option<M> {
        self.receive_with_fds().await.map(|(message, _)| message)
    }

    /// Like [`Self::receive`], with the descriptors sent along.
    pub async fn receive_with_fds<M: DeserializeOwned>(&self) -> Option<(M, Vec<OwnedFd>)> {
        self.0.receive().await.and_then(control::parse).unwrap_or_else(|error| {
            tracing::warn!("a control socket failed: {error}");
            None
        })
    }
}
