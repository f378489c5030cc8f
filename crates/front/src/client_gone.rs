//! Detects clients that disconnect in the middle of a request. actix stops reading when it has no room, and
//! would miss the end of an upload the app does not read. This watch asks the kernel on a duplicate
//! descriptor, and never reads.
//!
//! A FIN comes after all bytes of the connection. While an unread upload fills the socket's buffer, nobody
//! can see it.
//!
//! A client that shuts down its sending side counts as gone, as it does for hyper.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use nix::sys::socket::{Shutdown, shutdown};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// A watch on one connection. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ClientWatch(Arc<TcpStream>);

impl ClientWatch {
    /// Watches a connection. Must be called on the runtime that serves it.
    pub(crate) fn attach(connection: &TcpStream) -> io::Result<Self> {
        let second = std::net::TcpStream::from(connection.as_fd().try_clone_to_owned()?);
        Ok(Self(Arc::new(TcpStream::from_std(second)?)))
    }

    /// Resolves once the client has closed the connection or its sending side.
    pub(crate) async fn gone(&self) {
        loop {
            // Fails only if the runtime is ending, and the connection with it.
            let Ok(ready) = self.0.ready(Interest::READABLE).await else { return };
            if ready.is_read_closed() {
                return;
            }
            // Leaves the bytes to actix. Claiming that a read would block makes tokio forget the readiness,
            // so unread bytes do not make this spin. tokio never forgets a hang-up, and a later one is a new
            // event.
            let _ = self.0.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
    }

    /// Sends a FIN, for clients that wait for the server to close first.
    pub(crate) fn finish_sending(&self) {
        // Fails only if the connection is gone already.
        let _ = shutdown(self.0.as_raw_fd(), Shutdown::Write);
    }
}
