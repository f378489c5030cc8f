//! A plain app's upstream over its private port: one HTTP/1.1 connection for each request.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::shm::{PeerFault, StreamError};
use crate::wire::{RequestHead, ResponseHead};

/// The largest response head, in bytes.
const HEAD_LEN_MAX: usize = 64 * 1024;

/// The way to a plain app.
#[derive(Debug, Clone)]
pub struct SocketClient {
    address: SocketAddr,
}

impl SocketClient {
    /// A client for an app that listens at an address.
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Sends a request.
    pub async fn open(&self, head: Bytes, end: bool) -> Result<(SendHalf, RecvHalf), StreamError> {
        let head = RequestHead::decode(head).map_err(|_| StreamError::Reset)?;
        let stream = TcpStream::connect(self.address).await.map_err(|_| StreamError::Lost)?;
        let _ = stream.set_nodelay(true);
        let (read, mut write) = stream.into_split();
        let mut text = BytesMut::new();
        text.extend_from_slice(&head.method);
        text.extend_from_slice(b" ");
        text.extend_from_slice(&head.target);
        text.extend_from_slice(b" HTTP/1.1\r\nconnection: close\r\n");
        let chunked = !end && head.body_length.is_none();
        for (name, value) in &head.headers {
            if name.as_ref() != b"connection" && name.as_ref() != b"transfer-encoding" {
                text.extend_from_slice(name);
                text.extend_from_slice(b": ");
                text.extend_from_slice(value);
                text.extend_from_slice(b"\r\n");
            }
        }
        if chunked {
            text.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        text.extend_from_slice(b"\r\n");
        write.write_all(&text).await.map_err(|_| StreamError::Lost)?;
        let head_only = head.method.as_ref() == b"HEAD";
        let recv =
            RecvHalf { read, buffer: BytesMut::new(), body: Body::Head, head_only, ready: VecDeque::new() };
        Ok((SendHalf { write, chunked }, recv))
    }

    /// Nothing to tell.
    pub fn goaway(&self) {}

    /// The app is gone; its connections say so themselves.
    pub fn close(&self) {}

    /// Never.
    pub async fn closed(&self) -> Option<PeerFault> {
        std::future::pending().await
    }
}

/// The request body.
#[derive(Debug)]
pub struct SendHalf {
    write: OwnedWriteHalf,
    chunked: bool,
}

impl SendHalf {
    /// Sends all of it.
    pub async fn send(&mut self, data: Bytes) -> Result<(), StreamError> {
        let mut bytes = BytesMut::new();
        if self.chunked {
            bytes.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        }
        bytes.extend_from_slice(&data);
        if self.chunked {
            bytes.extend_from_slice(b"\r\n");
        }
        self.write.write_all(&bytes).await.map_err(|_| StreamError::Lost)
    }

    /// Ends the request body.
    pub async fn finish(&mut self) -> Result<(), StreamError> {
        if self.chunked {
            self.write.write_all(b"0\r\n\r\n").await.map_err(|_| StreamError::Lost)?;
        }
        Ok(())
    }
}

#[derive(Debug)]
enum Body {
    Head,
    Length(usize),
    Close,
    Chunked,
    Over,
}

/// The response.
#[derive(Debug)]
pub struct RecvHalf {
    read: OwnedReadHalf,
    buffer: BytesMut,
    body: Body,
    head_only: bool,
    ready: VecDeque<Bytes>,
}

impl RecvHalf {
    /// The encoded head.
    pub async fn head(&mut self) -> Result<(Bytes, bool), StreamError> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            if self.buffer.len() > HEAD_LEN_MAX {
                return Err(StreamError::TooLarge);
            }
            if self.read.read_buf(&mut self.buffer).await.map_err(|_| StreamError::Lost)? == 0 {
                return Err(StreamError::Lost);
            }
        };
        let text = String::from_utf8_lossy(&self.buffer.split_to(end + 4)).into_owned();
        let mut lines = text.split("\r\n");
        let status: u16 =
            lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).ok_or(StreamError::Reset)?;
        let mut headers = Vec::new();
        self.body = Body::Close;
        for line in lines.filter(|line| !line.is_empty()) {
            let Some((name, value)) = line.split_once(':') else { return Err(StreamError::Reset) };
            let (name, value) = (name.to_ascii_lowercase(), value.trim());
            match name.as_str() {
                "content-length" => self.body = Body::Length(value.parse().map_err(|_| StreamError::Reset)?),
                "transfer-encoding" => self.body = Body::Chunked,
                _ => {}
            }
            if !["connection", "transfer-encoding", "keep-alive"].contains(&name.as_str()) {
                headers.push((Bytes::from(name), Bytes::copy_from_slice(value.as_bytes())));
            }
        }
        if self.head_only || status == 204 || status == 304 || matches!(self.body, Body::Length(0)) {
            self.body = Body::Over;
        }
        let over = matches!(self.body, Body::Over);
        Ok((ResponseHead { flags: 0, status, headers }.encode(), over))
    }

    /// The next piece of the body.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        loop {
            if let Some(piece) = self.take()? {
                return Poll::Ready(Ok(Some(piece)));
            }
            if matches!(self.body, Body::Over) {
                return Poll::Ready(Ok(None));
            }
            let mut space = [0; 16 * 1024];
            let mut into = ReadBuf::new(&mut space);
            match Pin::new(&mut self.read).poll_read(cx, &mut into) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(StreamError::Lost)),
                Poll::Ready(Ok(())) if into.filled().is_empty() => {
                    let whole = matches!(self.body, Body::Close);
                    self.body = Body::Over;
                    return Poll::Ready(if whole { Ok(None) } else { Err(StreamError::Lost) });
                }
                Poll::Ready(Ok(())) => self.buffer.extend_from_slice(into.filled()),
            }
        }
    }

    fn take(&mut self) -> Result<Option<Bytes>, StreamError> {
        if let Some(piece) = self.ready.pop_front() {
            return Ok(Some(piece));
        }
        match &mut self.body {
            Body::Head | Body::Over => Ok(None),
            Body::Close => Ok((!self.buffer.is_empty()).then(|| self.buffer.split().freeze())),
            Body::Length(left) => {
                let len = self.buffer.len().min(*left);
                *left -= len;
                let over = *left == 0;
                let piece = self.buffer.split_to(len).freeze();
                if over {
                    self.body = Body::Over;
                }
                Ok((!piece.is_empty()).then_some(piece))
            }
            Body::Chunked => {
                let Some(at) = self.buffer.windows(2).position(|window| window == b"\r\n") else {
                    return Ok(None);
                };
                let line = String::from_utf8_lossy(&self.buffer[..at]).into_owned();
                let len = line.split(';').next().unwrap_or_default().trim();
                let len = usize::from_str_radix(len, 16).map_err(|_| StreamError::Reset)?;
                if self.buffer.len() < at + 2 + len + 2 {
                    return Ok(None);
                }
                self.buffer.advance(at + 2);
                let piece = self.buffer.split_to(len).freeze();
                self.buffer.advance(2);
                if len == 0 {
                    self.body = Body::Over;
                    return Ok(None);
                }
                Ok(Some(piece))
            }
        }
    }
}
