//! One connection to a plain app. The socket is kept apart from hyper, which only frames, so that the kernel
//! can be asked how the connection ended.

use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use hyper::body::{Body, Frame};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use nix::sys::socket::{Shutdown, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use devhost_link::wire::HEADERS_COUNT_MAX;

/// How long an app may take to accept a connection.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(30);

/// How long after a connection's end to wait for the kernel's word on unread bytes. On loopback it comes with
/// the end itself.
const RESET_NOTICE_TIME_MAX: Duration = Duration::from_millis(20);

/// How much is read from a tunnel at once.
const TUNNEL_READ_SIZE: usize = 64 * 1024;

/// hyper's buffer for each direction of a connection, in bytes. Also the largest head of a response.
pub(crate) const RESPONSE_HEAD_SIZE_MAX: usize = 256 * 1024;

/// The first bytes of a TLS alert record (RFC 8446 §5.1, §6), as a TLS server answers plain HTTP.
const TLS_ALERT: [u8; 2] = [21, 3];

/// The socket of a connection, shared by hyper's task and the current exchange.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    /// The app's side is gone, leaving bytes of ours unread.
    reset: AtomicBool,
    received: AtomicU64,
    /// The first bytes received were a TLS alert.
    answers_in_tls: AtomicBool,
}

impl Wire {
    /// Returns how many bytes have come from the app.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Returns true if the app speaks TLS.
    pub(super) fn answers_in_tls(&self) -> bool {
        self.answers_in_tls.load(Ordering::Relaxed)
    }

    /// Returns true if the app did not read the whole request, on a connection that ended without an answer.
    /// The kernel sends a FIN alone if all was read, and resets if anything was left or came too late.
    pub(super) async fn was_left_unread(&self) -> bool {
        if self.reset.load(Ordering::Relaxed) {
            return true;
        }
        let error = self.stream.ready(Interest::ERROR);
        tokio::time::timeout(RESET_NOTICE_TIME_MAX, error).await.is_ok()
    }

    /// Reads some bytes, none at the end.
    pub(super) fn poll_read_some(&self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let mut buffer = BytesMut::with_capacity(TUNNEL_READ_SIZE);
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.note(self.stream.try_read_buf(&mut buffer)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result.map(|_| buffer.freeze())),
            }
        }
    }

    /// Writes all of the data, waiting for room.
    pub(super) async fn write_all(&self, mut data: Bytes) -> io::Result<()> {
        while !data.is_empty() {
            self.stream.writable().await?;
            match self.note(self.stream.try_write(&data)) {
                Ok(count) => data.advance(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn finish_sending(&self) {
        // Fails only if the connection is gone, which the reading side sees too.
        let _ = shutdown(self.stream.as_raw_fd(), Shutdown::Write);
    }

    fn note(&self, result: io::Result<usize>) -> io::Result<usize> {
        if let Err(error) = &result
            && matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
        {
            self.reset.store(true, Ordering::Relaxed);
        }
        result
    }

    fn poll_write_with(
        &self,
        cx: &mut Context<'_>,
        size: usize,
        write: impl Fn() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.note(write()) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The app may have answered before it hung up, but after a failed write hyper would drop the
                // answer. Reading shows the end, after the answer.
                Err(_) if self.reset.load(Ordering::Relaxed) => return Poll::Ready(Ok(size)),
                result => return Poll::Ready(result),
            }
        }
    }
}

/// hyper's handle on a [`Wire`].
#[derive(Debug)]
pub(super) struct WireIo(pub Arc<Wire>);

impl AsyncRead for WireIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = &self.0;
        let filled = buffer.filled().len();
        loop {
            ready!(wire.stream.poll_read_ready(cx))?;
            match wire.note(wire.stream.try_read_buf(buffer)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // After a write has found a reset, the read returns an orderly end. Half a response without a
                // length would look whole.
                Ok(0) if wire.reset.load(Ordering::Relaxed) => {
                    return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
                }
                result => {
                    let count = result?;
                    let before = wire.received.fetch_add(count as u64, Ordering::Relaxed);
                    if before == 0 && buffer.filled()[filled..].starts_with(&TLS_ALERT) {
                        wire.answers_in_tls.store(true, Ordering::Relaxed);
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for WireIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write_with(cx, data.len(), || self.0.stream.try_write(data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let size = data.iter().map(|slice| slice.len()).sum();
        self.0.poll_write_with(cx, size, || self.0.stream.try_write_vectored(data))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.finish_sending();
        Poll::Ready(Ok(()))
    }
}

/// A request's body on its way into hyper.
#[derive(Debug)]
pub(super) struct RequestBody(Option<mpsc::Receiver<Option<Bytes>>>);

impl RequestBody {
    pub(super) fn empty() -> Self {
        Self(None)
    }

    /// Creates a body from pieces. `None` ends it; a sender dropped without that breaks the request off.
    pub(super) fn pieces(receiver: mpsc::Receiver<Option<Bytes>>) -> Self {
        Self(Some(receiver))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the request body broke off")]
pub(super) struct BrokenOff;

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let Some(receiver) = &mut self.0 else { return Poll::Ready(None) };
        Poll::Ready(match ready!(receiver.poll_recv(cx)) {
            Some(Some(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(None) => {
                self.0 = None;
                None
            }
            None => Some(Err(BrokenOff)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

/// An open connection with at most one exchange.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: SendRequest<RequestBody>,
    pub(super) wire: Arc<Wire>,
}

impl Connection {
    /// Connects. `runtime` drives the connection, so that it outlives the calling thread.
    pub(super) async fn open(address: SocketAddr, runtime: &Handle) -> io::Result<Self> {
        let driver = runtime.clone();
        let connecting = async move {
            // Here, not in the caller: a socket belongs to the runtime that made it.
            let stream = tokio::time::timeout(CONNECT_TIME_MAX, TcpStream::connect(address)).await??;
            stream.set_nodelay(true)?;
            let wire = Arc::new(Wire {
                stream,
                reset: AtomicBool::new(false),
                received: AtomicU64::new(0),
                answers_in_tls: AtomicBool::new(false),
            });
            let io = TokioIo::new(WireIo(Arc::clone(&wire)));
            let (sender, connection) = http1::Builder::new()
                // Some apps parse heads by hand and expect the usual spelling.
                .title_case_headers(true)
                .max_headers(HEADERS_COUNT_MAX)
                .max_buf_size(RESPONSE_HEAD_SIZE_MAX)
                .handshake(io)
                .await
                .map_err(io::Error::other)?;
            // Its error reaches the current exchange.
            driver.spawn(async move { drop(connection.with_upgrades().await) });
            Ok(Self { sender, wire })
        };
        runtime.spawn(connecting).await.map_err(io::Error::other)?
    }
}
