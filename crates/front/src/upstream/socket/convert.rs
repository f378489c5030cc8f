//! Converts heads between the front and hyper.

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, StatusCode, Uri};

use crate::upstream::UpstreamError;
use crate::upstream::connection::RequestBody;
use devhost_link::wire::{RequestHead, ResponseHead};

pub(super) fn is_idempotent(method: &[u8]) -> bool {
    Method::from_bytes(method).is_ok_and(|method| method.is_idempotent())
}

/// Returns the request for hyper, in HTTP/1.1 whatever the client speaks.
pub(super) fn request(
    head: &RequestHead,
    has_body: bool,
    body: RequestBody,
) -> Result<Request<RequestBody>, UpstreamError> {
    let bad = |what| UpstreamError::BadRequest(what);
    let method = Method::from_bytes(&head.method).map_err(|_| bad("The request's method is not valid."))?;
    let target = PathAndQuery::from_maybe_shared(head.target.clone())
        .map_err(|_| bad("The request's target is not valid."))?;
    let mut headers = HeaderMap::with_capacity(head.headers.len() + 1);
    for (name, value) in &head.headers {
        let name = HeaderName::from_bytes(name).map_err(|_| bad("A header of the request is not valid."))?;
        let value = HeaderValue::from_maybe_shared(value.clone())
            .map_err(|_| bad("A header of the request is not valid."))?;
        headers.append(name, value);
    }
    if !headers.contains_key(header::HOST) {
        // Optional in HTTP/1.0, required in HTTP/1.1.
        headers.insert(header::HOST, HeaderValue::from_static("localhost"));
    }
    if has_body && head.body_length.is_none() {
        // Otherwise hyper would send no body with some methods.
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from(target);
    *request.headers_mut() = headers;
    Ok(request)
}

/// Returns the wire head of a response.
pub(super) fn response_head(status: StatusCode, headers: &HeaderMap) -> ResponseHead {
    // `transfer-encoding` overrides `content-length` (RFC 9112 §6.3).
    let is_coded = headers.contains_key(header::TRANSFER_ENCODING);
    let headers = headers
        .iter()
        .filter(|(name, _)| !(is_coded && *name == header::CONTENT_LENGTH))
        .map(|(name, value)| {
            (Bytes::copy_from_slice(name.as_str().as_bytes()), Bytes::copy_from_slice(value.as_bytes()))
        })
        .collect();
    ResponseHead { flags: 0, status: status.as_u16(), headers }
}
