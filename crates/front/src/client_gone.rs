//! Tells when a client has gone away in the middle of a request. actix reads a connection only while it has
//! room for more, so it would not see the end of an upload that the app does not read; this watch asks the
//! kernel for the hang-up itself, on a second descriptor of the socket. It never reads from the socket.
//!
//! The end of a connection in order comes after all its bytes: behind those that fill the socket's buffer because
//! an app does not read its upload, it cannot be seen by anyone.
//!
//! A client that shuts down its sending side counts as gone, as it does for hyper.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use nix::sys::socket::{Shutdown, shutdown};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// The watch over one connection. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ClientWatch(Arc<TcpStream>);

impl ClientWatch {
    /// Watches a connection. To be called on the runtime that serves it.
    pub(crate) fn attach(connection: &TcpStream) -> io::Result<Self> {
        let second = std::net::TcpStream::from(connection.as_fd().try_clone_to_owned()?);
        Ok(Self(Arc::new(TcpStream::from_std(second)?)))
    }

    /// Resolves once the client has closed the connection or its sending side.
    pub(crate) async fn gone(&self) {
        loop {
            // An error means that the runtime is ending, and the connection with it.
            let Ok(ready) = self.0.ready(Interest::READABLE).await else { return };
            if ready.is_read_closed() {
                return;
            }
            // Bytes for actix to read. To say that reading would block makes tokio forget the readiness until
            // the next event, without a read. It never forgets the hang-up, and a hang-up after this is a new
            // event, so nothing is lost and unread bytes do not make this spin.
            let _ = self.0.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
    }

    /// Sends a FIN, so that a client that waits for the server to close first need not wait.
    pub(crate) fn finish_sending(&self) {
        // An error means that the connection is gone, which is what is wanted.
        let _ = shutdown(self.0.as_raw_fd(), Shutdown::Write);
    }
}
