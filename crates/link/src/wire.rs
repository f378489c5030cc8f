//! The encoding of request and response heads in HEADERS frames.
//!
//! Both ends are the same devhost executable, so the encoding is private: little-endian lengths before bytes. What a worker
//! wrote is untrusted: [`ResponseHead::decode`] checks each length against what is left and refuses trailing bytes.

use bytes::{BufMut, Bytes, BytesMut};

/// A header as bytes: the name in lower case, the value as received.
pub type Header = (Bytes, Bytes);

/// The most headers of a request or a response.
pub const HEADERS_COUNT_MAX: usize = 256;

/// The client asks for an upgrade (`Connection: upgrade`): the body is a raw byte stream both ways after a 101.
pub const REQUEST_UPGRADE: u8 = 1;

/// The client waits for `100 Continue` before it sends the body.
pub const REQUEST_EXPECT: u8 = 2;

/// The body of the response is a [`PanicReport`] in JSON, to be rendered by the front.
pub const RESPONSE_PANIC: u8 = 1;

/// The head of a request, sent by the front to a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestHead {
    /// Bits of `REQUEST_*`.
    pub flags: u8,
    /// The HTTP version of the client's request times ten: 10 or 11.
    pub version: u8,
    /// `GET`, `POST`, …
    pub method: Bytes,
    /// Path and query, as the client sent them.
    pub target: Bytes,
    /// `address:port` of the client.
    pub remote: Bytes,
    /// The length of the body in bytes, if the client gave it.
    pub body_length: Option<u64>,
    /// All headers except the hop-by-hop ones.
    pub headers: Vec<Header>,
}

/// The head of a response, sent by a worker to the front.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseHead {
    /// Bits of `RESPONSE_*`.
    pub flags: u8,
    /// The status code, 100 to 999.
    pub status: u16,
    /// The headers as the app set them.
    pub headers: Vec<Header>,
}

/// A panic in a handler: the body of a response with [`RESPONSE_PANIC`].
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PanicReport {
    /// The panic's message.
    pub message: String,
    /// `file:line:column`; empty if unknown.
    pub location: String,
    /// The backtrace as std prints it; empty if there is none.
    pub backtrace: String,
}

/// A head that cannot be decoded: the peer is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed head: {0}")]
pub struct MalformedHead(&'static str);

impl RequestHead {
    /// Encodes the head into the bytes of a HEADERS frame.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(256 + headers_size(&self.headers));
        out.put_u8(self.flags);
        out.put_u8(self.version);
        out.put_u64_le(self.body_length.map_or(u64::MAX, |n| n.min(u64::MAX - 1)));
        put_bytes(&mut out, &self.method);
        put_bytes(&mut out, &self.target);
        put_bytes(&mut out, &self.remote);
        put_headers(&mut out, &self.headers);
        out.freeze()
    }

    /// Decodes what [`RequestHead::encode`] made.
    ///
    /// # Errors
    /// The bytes are not such an encoding.
    pub fn decode(bytes: Bytes) -> Result<Self, MalformedHead> {
        let mut input = Reader(bytes);
        let head = Self {
            flags: input.u8()?,
            version: input.u8()?,
            body_length: Some(input.u64()?).filter(|n| *n != u64::MAX),
            method: input.bytes()?,
            target: input.bytes()?,
            remote: input.bytes()?,
            headers: input.headers()?,
        };
        input.end()?;
        Ok(head)
    }
}

impl ResponseHead {
    /// Encodes the head into the bytes of a HEADERS frame.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(16 + headers_size(&self.headers));
        out.put_u8(self.flags);
        out.put_u16_le(self.status);
        put_headers(&mut out, &self.headers);
        out.freeze()
    }

    /// Decodes and checks what a worker wrote.
    ///
    /// # Errors
    /// The bytes are not the encoding of a head, or the status is out of range.
    pub fn decode(bytes: Bytes) -> Result<Self, MalformedHead> {
        let mut input = Reader(bytes);
        let head = Self { flags: input.u8()?, status: input.u16()?, headers: input.headers()? };
        input.end()?;
        if !(100..=999).contains(&head.status) {
            return Err(MalformedHead("status out of range"));
        }
        Ok(head)
    }
}

fn headers_size(headers: &[Header]) -> usize {
    headers.iter().map(|(name, value)| name.len() + value.len() + 8).sum::<usize>() + 4
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    // A head is at most 64 KiB, so a length always fits; the link refuses a larger one.
    out.put_u32_le(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.put_slice(bytes);
}

fn put_headers(out: &mut BytesMut, headers: &[Header]) {
    out.put_u32_le(u32::try_from(headers.len()).unwrap_or(u32::MAX));
    for (name, value) in headers {
        put_bytes(out, name);
        put_bytes(out, value);
    }
}

struct Reader(Bytes);

impl Reader {
    fn take(&mut self, len: usize) -> Result<Bytes, MalformedHead> {
        if len > self.0.len() {
            return Err(MalformedHead("a length exceeds the frame"));
        }
        Ok(self.0.split_to(len))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MalformedHead> {
        let bytes = self.take(N)?;
        let mut array = [0; N];
        array.copy_from_slice(&bytes);
        Ok(array)
    }

    fn u8(&mut self) -> Result<u8, MalformedHead> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16, MalformedHead> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<usize, MalformedHead> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn u64(&mut self) -> Result<u64, MalformedHead> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn bytes(&mut self) -> Result<Bytes, MalformedHead> {
        let len = self.u32()?;
        self.take(len)
    }

    fn headers(&mut self) -> Result<Vec<Header>, MalformedHead> {
        let count = self.u32()?;
        if count > HEADERS_COUNT_MAX {
            return Err(MalformedHead("too many headers"));
        }
        (0..count).map(|_| Ok((self.bytes()?, self.bytes()?))).collect()
    }

    fn end(&self) -> Result<(), MalformedHead> {
        if self.0.is_empty() { Ok(()) } else { Err(MalformedHead("bytes after the end")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> RequestHead {
        RequestHead {
            flags: REQUEST_UPGRADE,
            version: 11,
            method: Bytes::from_static(b"POST"),
            target: Bytes::from_static(b"/a?b=c"),
            remote: Bytes::from_static(b"127.0.0.1:1"),
            body_length: Some(3),
            headers: vec![(Bytes::from_static(b"host"), Bytes::from_static(b"localhost"))],
        }
    }

    #[test]
    fn heads_survive_the_way() {
        assert_eq!(RequestHead::decode(request().encode()), Ok(request()));
        let response = ResponseHead { flags: RESPONSE_PANIC, status: 500, headers: request().headers };
        assert_eq!(ResponseHead::decode(response.encode()), Ok(response));
    }

    #[test]
    fn every_truncation_is_refused() {
        let whole = request().encode();
        for len in 0..whole.len() {
            assert!(RequestHead::decode(whole.slice(..len)).is_err(), "{len} bytes were accepted");
        }
        let mut longer = whole.to_vec();
        longer.push(0);
        assert!(RequestHead::decode(longer.into()).is_err());
    }

    #[test]
    fn a_count_beyond_the_frame_is_refused() {
        let mut bytes = vec![0, 200, 0];
        bytes.extend(u32::MAX.to_le_bytes());
        assert!(ResponseHead::decode(bytes.into()).is_err());
    }
}
