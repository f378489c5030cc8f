//! Turns the host's request head into an `http::Request` for the app.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, Version};

use crate::abi;

use super::app::Request;
use super::body::Body;
use super::response::{Response, plain_text};
use super::stream::Stream;

/// The client's address, in the extensions of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote(
    /// Address and port as seen by the front.
    pub SocketAddr,
);

/// What to do with a request.
pub(crate) enum Disposition {
    /// The app answers.
    Serve(Request),
    /// The app answers, and may take over the connection.
    ServeUpgrade(Request),
    /// The adapter answers: the app cannot get the request.
    Refuse(Response),
}

/// Copies a request head.
///
/// # Safety
/// All pointers in the head must be valid.
pub(crate) unsafe fn read_head(head: &abi::RequestHead, stream: &Arc<Stream>) -> Disposition {
    let length = u64::try_from(head.body_length).ok();
    let body = if head.flags & abi::REQUEST_END == 0 {
        Body::of_request(stream.clone(), length)
    } else {
        Body::empty()
    };
    // SAFETY: promised by the caller.
    let request = match unsafe { read_parts(head) } {
        Ok(parts) => http::Request::from_parts(parts, body),
        Err(error) => {
            return Disposition::Refuse(plain_text(StatusCode::BAD_REQUEST, error.to_string()));
        }
    };
    // An upgrade with a body (h2c) need not be granted.
    let is_upgrade =
        head.flags & abi::REQUEST_UPGRADE != 0 && request.method() == Method::GET && length.unwrap_or(0) == 0;
    if is_upgrade { Disposition::ServeUpgrade(request) } else { Disposition::Serve(request) }
}

/// # Safety
/// As for [`read_head`].
unsafe fn read_parts(head: &abi::RequestHead) -> http::Result<http::request::Parts> {
    // SAFETY: the caller promises valid pointers, here and below.
    let (method, target, remote) =
        unsafe { (head.method.as_bytes(), head.target.as_bytes(), head.remote.as_bytes()) };
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = Method::from_bytes(method)?;
    parts.uri = Uri::try_from(target)?;
    parts.version = if head.http_version == 10 { Version::HTTP_10 } else { Version::HTTP_11 };
    let headers: &[abi::Header] = if head.header_count == 0 {
        &[]
    } else {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(head.headers, head.header_count) }
    };
    for header in headers {
        // SAFETY: as above.
        let (name, value) = unsafe { (header.name.as_bytes(), header.value.as_bytes()) };
        let name = HeaderName::from_bytes(name)?;
        let value = HeaderValue::from_bytes(value)?;
        parts.headers.append(name, value);
    }
    if let Some(remote) = std::str::from_utf8(remote).ok().and_then(|text| text.parse().ok()) {
        parts.extensions.insert(Remote(remote));
    }
    Ok(parts)
}
