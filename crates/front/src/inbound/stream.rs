//! A client's connection as actix sees it: as if the client never pipelined. The next head shows up only once
//! the previous response is written to the socket.
//!
//! A response is complete once actix drops its body ([`Turn`]) and then flushes, which it does only with
//! nothing left to write.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::Turn;
use super::chunked::Dechunker;
use super::head::{BodyFraming, Examined, HEAD_SIZE_MAX, Refusal, RefusalReason, examine};

/// How long a client may take for the head of a request, from its first byte.
pub(crate) const HEAD_TIME_MAX: Duration = Duration::from_secs(10);

/// How long an idle connection is kept. Longer than clients keep theirs: they close first, and no request
/// meets a closing connection.
const IDLE_TIME_MAX: Duration = Duration::from_secs(90);

/// How long a connection is read on after its last response. If it were closed with unread bytes, the kernel
/// would discard the response.
pub(crate) const LINGER_TIME_MAX: Duration = Duration::from_millis(500);

/// How many bytes are kept while they may not be released. A head must fit.
const INPUT_SIZE_MAX: usize = HEAD_SIZE_MAX;

const READ_SIZE: usize = 16 * 1024;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

#[derive(Debug)]
pub(crate) struct ClientStream {
    io: TcpStream,
    /// Received, but not released.
    input: BytesMut,
    /// What actix may read.
    released: BytesMut,
    stage: Stage,
    turn: Turn,
    /// The response has been written.
    is_answered: bool,
    /// The rest of an interim response, to be written.
    interim: &'static [u8],
    /// When a head, or the wait for one, has taken too long.
    deadline: Instant,
    is_head_begun: bool,
    /// Armed for a time up to `deadline`.
    timer: Pin<Box<Sleep>>,
    /// Our side is shut down.
    is_shut: bool,
    /// The client's side has ended.
    is_ended: bool,
}

#[derive(Debug)]
enum Stage {
    /// The next request's head is to come.
    Head,
    /// This much of the body is to come.
    Length(u64),
    Chunked(Dechunker),
    /// Everything is passed on.
    Tunnel,
    /// The request is passed on; its response is to come.
    Response,
    /// Nothing more is passed on.
    Over,
}

impl ClientStream {
    /// Takes over a connection. Must be called on the runtime that serves it.
    pub(crate) fn new(io: TcpStream) -> Self {
        // Fails only if the connection is gone, which reading shows.
        let _ = io.set_nodelay(true);
        let deadline = Instant::now() + IDLE_TIME_MAX;
        Self {
            io,
            input: BytesMut::new(),
            released: BytesMut::new(),
            stage: Stage::Head,
            turn: Turn::default(),
            is_answered: false,
            interim: &[],
            deadline,
            is_head_begun: false,
            timer: Box::pin(tokio::time::sleep_until(deadline)),
            is_shut: false,
            is_ended: false,
        }
    }

    /// Returns the socket. The caller must not read it.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.io
    }

    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.io.peer_addr().ok()
    }

    pub(crate) fn turn(&self) -> Turn {
        self.turn.clone()
    }

    /// Reads some input. Returns `false` at the client's end. Stays pending while there is no room.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let room = (INPUT_SIZE_MAX - self.input.len()).min(READ_SIZE);
        if room == 0 {
            return Poll::Pending;
        }
        self.input.reserve(room);
        let mut input = (&mut self.input).limit(room);
        let count = ready!(pin!(self.io.read_buf(&mut input)).poll(cx))?;
        self.is_ended = count == 0;
        Poll::Ready(Ok(count > 0))
    }

    /// Returns true if the head, or the wait for one, has taken too long.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        if self.timer.deadline() > self.deadline {
            self.timer.as_mut().reset(self.deadline);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= self.deadline {
                return true;
            }
            self.timer.as_mut().reset(self.deadline);
        }
        false
    }

    /// Releases the next head. Returns `None` if more input is needed.
    fn take_head(&mut self) -> Option<()> {
        // Some clients send a line break after a body (RFC 9112 §2.2).
        while self.input.starts_with(b"\r\n") || self.input.starts_with(b"\n") {
            let size = if self.input[0] == b'\r' { 2 } else { 1 };
            self.input.advance(size);
        }
        if self.input.is_empty() {
            return None;
        }
        if !self.is_head_begun {
            self.is_head_begun = true;
            self.deadline = Instant::now() + HEAD_TIME_MAX;
        }
        match examine(&self.input) {
            Examined::Partial => return None,
            Examined::Refused(refusal) => self.refuse(refusal),
            Examined::Whole(mut head) => {
                let bytes = self.input.split_to(head.size);
                self.released = head.rewritten.take().map_or(bytes, BytesMut::from);
                self.stage = match head.framing {
                    BodyFraming::None => Stage::Response,
                    BodyFraming::Length(length) => Stage::Length(length),
                    BodyFraming::Chunked => Stage::Chunked(Dechunker::default()),
                    BodyFraming::Tunnel => Stage::Tunnel,
                };
                self.turn.begin(&mut head);
                self.is_answered = false;
            }
        }
        Some(())
    }

    /// Makes actix answer a substitute request, so that the front can send a page of its own.
    fn refuse(&mut self, refusal: Refusal) {
        let method = if refusal.is_head { "HEAD" } else { "GET" };
        self.released.put_slice(format!("{method} / HTTP/1.1\r\nhost: localhost\r\n").as_bytes());
        if let Some(accept) = &refusal.accept {
            self.released.put_slice(b"accept: ");
            self.released.put_slice(accept);
            self.released.put_slice(b"\r\n");
        }
        self.released.put_slice(b"connection: close\r\n\r\n");
        self.turn.refuse(refusal);
        self.is_answered = false;
        self.stage = Stage::Over;
    }

    /// Decides what follows a written response.
    fn settle(&mut self, cx: &mut Context<'_>) {
        if self.turn.is_last() {
            self.stage = Stage::Over;
        } else if matches!(self.stage, Stage::Response) {
            self.stage = Stage::Head;
            self.is_head_begun = false;
            self.deadline = Instant::now() + IDLE_TIME_MAX;
            if self.input.is_empty() && !self.is_late(cx) {
                // The socket and the timer have the waker.
                return;
            }
        } else {
            // The rest of the body is read first.
            return;
        }
        cx.waker().wake_by_ref();
    }

    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.turn.take_continue() {
            self.interim = CONTINUE;
        }
        while !self.interim.is_empty() {
            let count = ready!(Pin::new(&mut self.io).poll_write(cx, self.interim))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.interim = &self.interim[count..];
        }
        Poll::Ready(Ok(()))
    }
}

/// Moves as much as fits.
fn hand_over(from: &mut impl Buf, size: usize, to: &mut ReadBuf<'_>) -> usize {
    let size = size.min(to.remaining());
    to.put(from.take(size));
    size
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.released.is_empty() {
                let size = this.released.len();
                hand_over(&mut this.released, size, buffer);
                if this.released.is_empty() {
                    // Releases the memory, so that the next input can reuse it.
                    this.released = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            match &mut this.stage {
                Stage::Head => {
                    if this.take_head().is_some() {
                        continue;
                    }
                    match this.poll_fill(cx)? {
                        Poll::Ready(true) => {}
                        Poll::Ready(false) => return Poll::Ready(Ok(())),
                        Poll::Pending if !this.is_late(cx) => return Poll::Pending,
                        Poll::Pending if this.input.is_empty() => return Poll::Ready(Ok(())),
                        Poll::Pending => this.refuse(Refusal::guess(RefusalReason::TimedOut, &this.input)),
                    }
                }
                Stage::Length(0) => {
                    this.turn.has_body();
                    this.stage = Stage::Response;
                }
                Stage::Length(left) => {
                    let most = usize::try_from(*left).unwrap_or(usize::MAX);
                    let count = if this.input.is_empty() {
                        let mut limited = (&mut *buffer).limit(most);
                        let count = ready!(pin!(this.io.read_buf(&mut limited)).poll(cx))?;
                        this.is_ended = count == 0;
                        count
                    } else {
                        let size = most.min(this.input.len());
                        hand_over(&mut this.input, size, buffer)
                    };
                    *left -= count as u64;
                    return Poll::Ready(Ok(()));
                }
                Stage::Chunked(dechunker) => match dechunker.advance(&mut this.input, &mut this.released) {
                    Ok(true) => {
                        this.turn.has_body();
                        this.stage = Stage::Response;
                    }
                    Ok(false) if !this.released.is_empty() => {}
                    Ok(false) => {
                        if !ready!(this.poll_fill(cx))? {
                            return Poll::Ready(Ok(()));
                        }
                    }
                    Err(malformed) => {
                        this.turn.break_off(malformed.0);
                        this.stage = Stage::Over;
                    }
                },
                Stage::Tunnel if !this.input.is_empty() => {
                    let size = this.input.len();
                    hand_over(&mut this.input, size, buffer);
                    return Poll::Ready(Ok(()));
                }
                Stage::Tunnel => {
                    // No longer used, and there may be thousands of tunnels.
                    this.input = BytesMut::new();
                    let before = buffer.filled().len();
                    ready!(Pin::new(&mut this.io).poll_read(cx, buffer))?;
                    this.is_ended = buffer.filled().len() == before;
                    return Poll::Ready(Ok(()));
                }
                Stage::Response if this.is_answered => {
                    // Not in the same call as the end of the body: actix must finish with that first.
                    this.settle(cx);
                    return Poll::Pending;
                }
                Stage::Response => {
                    // Reads on, to see the client's end.
                    if !ready!(this.poll_fill(cx))? {
                        return Poll::Ready(Ok(()));
                    }
                }
                Stage::Over if this.is_answered => return Poll::Ready(Ok(())),
                Stage::Over => {
                    this.input.clear();
                    if !ready!(this.poll_fill(cx))? {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_interim(cx))?;
        if self.turn.is_answered() && !self.is_answered {
            self.is_answered = true;
            self.settle(cx);
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.is_shut {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            this.is_shut = true;
            // An idle client has sent nothing unread.
            this.is_ended |= matches!(this.stage, Stage::Head) && this.input.is_empty();
            this.timer.as_mut().reset(Instant::now() + LINGER_TIME_MAX);
        }
        while !this.is_ended {
            this.input.clear();
            match this.poll_fill(cx) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => break,
                Poll::Pending => {
                    ready!(this.timer.as_mut().poll(cx));
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        if self.turn.is_cut() {
            // After a FIN, half a response delimited by the end of its connection would look whole.
            let _ = self.io.set_zero_linger();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use crate::tests::soon;

    async fn connect() -> (ClientStream, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (ClientStream::new(listener.accept().await.unwrap().0), client)
    }

    /// Reads everything that actix could read now, once there is something.
    async fn read(stream: &mut ClientStream) -> String {
        let mut read = BytesMut::new();
        soon(stream.read_buf(&mut read)).await.unwrap();
        while let Some(result) = stream.read_buf(&mut read).now_or_never() {
            if result.unwrap() == 0 {
                break;
            }
        }
        String::from_utf8(read.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_request_shows_up_only_after_the_response_to_the_one_before_is_written() {
        let requests = [
            "GET /1 HTTP/1.1\r\nhost: a\r\n\r\n",
            "POST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nGET / HTT",
            "HEAD /3 HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
            "POST /4 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "GET /5 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        ];
        let (mut stream, mut client) = connect().await;
        let turn = stream.turn();
        client
            .write_all((requests.concat() + "GET /6 HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes())
            .await
            .unwrap();
        for request in requests {
            assert_eq!(read(&mut stream).await, request);
            // Written, but not over.
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            stream.flush().await.unwrap();
            assert!(stream.read_buf(&mut BytesMut::new()).now_or_never().is_none());
            // Over, but not written.
            turn.end();
            assert!(stream.read_buf(&mut BytesMut::new()).now_or_never().is_none());
            stream.flush().await.unwrap();
        }
        // The last request asked for that.
        assert_eq!(read(&mut stream).await, "");
    }

    #[tokio::test]
    async fn the_client_s_end_is_seen_while_its_request_is_answered() {
        let (mut stream, mut client) = connect().await;
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        assert!(read(&mut stream).await.starts_with("GET"));
        drop(client);
        assert_eq!(soon(stream.read_buf(&mut BytesMut::new())).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn no_more_is_taken_in_than_a_head_while_a_request_is_answered() {
        let (mut stream, mut client) = connect().await;
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        assert!(read(&mut stream).await.starts_with("GET"));
        let flood = async {
            loop {
                client.write_all(&[b'x'; 4096]).await.unwrap();
            }
        };
        let reader = async {
            let mut nothing = BytesMut::new();
            let read = stream.read_buf(&mut nothing);
            tokio::pin!(read);
            // Until the client is out of room.
            tokio::time::timeout(Duration::from_millis(300), read).await.unwrap_err();
        };
        tokio::select! { () = flood => {}, () = reader => {} }
        assert_eq!(stream.input.len(), INPUT_SIZE_MAX);
    }

    #[tokio::test]
    async fn an_idle_connection_ends_and_a_slow_head_is_told() {
        for (sent, expected) in
            [("", ""), ("\r\n", ""), ("GET / HT", "GET / HTTP/1.1\r\nhost: localhost\r\n")]
        {
            let (mut stream, mut client) = connect().await;
            client.write_all(sent.as_bytes()).await.unwrap();
            while stream.input.is_empty() && sent.starts_with("GET") {
                assert!(stream.read_buf(&mut BytesMut::new()).now_or_never().is_none());
                tokio::task::yield_now().await;
            }
            assert_eq!(stream.deadline - Instant::now() < HEAD_TIME_MAX, sent.starts_with("GET"));
            stream.deadline = Instant::now();
            assert!(read(&mut stream).await.starts_with(expected));
            let refusal = stream.turn().take_refusal();
            assert_eq!(
                refusal.map(|refusal| refusal.reason),
                (!expected.is_empty()).then_some(RefusalReason::TimedOut)
            );
        }
    }
}
