//! The life of one request: the head becomes an `http::Request`, the app answers, the answer goes to the host piece
//! by piece. Runs as one task, which `cancel` aborts.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use http::header::CONTENT_LENGTH;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use http_body::Body as _;
use http_body_util::BodyExt;

use crate::abi;

use super::app::{App, Request};
use super::body::Body;
use super::host::Refusal;
use super::panics::Catch;
use super::response::{Response, plain_text};
use super::stream::Stream;
use super::upgrade;

/// The address of the client, in the extensions of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote(
    /// Address and port as the front saw them.
    pub SocketAddr,
);

/// What is to be done with a request.
pub(crate) enum Task {
    /// The app is to answer.
    Serve(Request),
    /// The app is to answer, and may take over the connection.
    ServeUpgrade(Request),
    /// It cannot be given to the app.
    Refuse(Response),
}

/// Copies a request head.
///
/// # Safety
/// All pointers in the head must be valid.
pub(crate) unsafe fn read_head(head: &abi::RequestHead, stream: &Arc<Stream>) -> Task {
    let length = u64::try_from(head.body_length).ok();
    let body = if head.flags & abi::REQUEST_END == 0 {
        Body::of_request(stream.clone(), length)
    } else {
        Body::empty()
    };
    // SAFETY: the caller vouches for the pointers.
    let request = match unsafe { read_parts(head) } {
        Ok(parts) => http::Request::from_parts(parts, body),
        Err(reason) => return Task::Refuse(plain_text(StatusCode::BAD_REQUEST, reason)),
    };
    // An upgrade from a request that has a body (h2c) need not be granted.
    let is_upgrade =
        head.flags & abi::REQUEST_UPGRADE != 0 && request.method() == Method::GET && length.unwrap_or(0) == 0;
    if is_upgrade { Task::ServeUpgrade(request) } else { Task::Serve(request) }
}

/// # Safety
/// As for [`read_head`].
unsafe fn read_parts(head: &abi::RequestHead) -> Result<http::request::Parts, String> {
    // SAFETY: the caller vouches for the pointers, here and in what follows.
    let (method, target, remote) =
        unsafe { (head.method.as_bytes(), head.target.as_bytes(), head.remote.as_bytes()) };
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = Method::from_bytes(method).map_err(|error| error.to_string())?;
    parts.uri = Uri::try_from(target).map_err(|error| error.to_string())?;
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
        let name = HeaderName::from_bytes(name).map_err(|error| error.to_string())?;
        let value = HeaderValue::from_bytes(value).map_err(|error| error.to_string())?;
        parts.headers.append(name, value);
    }
    if let Some(remote) = std::str::from_utf8(remote).ok().and_then(|text| text.parse().ok()) {
        parts.extensions.insert(Remote(remote));
    }
    Ok(parts)
}

/// Does what is to be done, and ends the response in every case.
pub(crate) async fn run(app: App, stream: Arc<Stream>, task: Task) {
    let stream_of_task = stream.clone();
    let outcome = Catch::new(async move {
        let stream = stream_of_task;
        match task {
            Task::Serve(request) => serve(&app, &stream, request).await,
            Task::ServeUpgrade(request) => upgrade::serve(app, &stream, request).await,
            Task::Refuse(response) => send(&stream, response, true).await,
        }
    })
    .await;
    match outcome {
        Ok(Ok(())) => {}
        // Nobody is there any more.
        Ok(Err(Refusal::Over)) => {}
        Ok(Err(refusal)) => {
            let message = format!("the host refused a response: {refusal:?}");
            stream.host().log(abi::LOG_ERROR, &message);
            stream.reset();
        }
        Err(report) => {
            let _ = stream.respond_panic(&report);
        }
    }
}

async fn serve(app: &App, stream: &Stream, request: Request) -> Result<(), Refusal> {
    let is_head = request.method() == Method::HEAD;
    let response = answer(app, request, stream).await;
    send(stream, response, !is_head).await
}

/// The app's response, or one that tells of its error.
pub(crate) async fn answer(app: &App, request: Request, stream: &Stream) -> Response {
    app.call(request).await.unwrap_or_else(|error| {
        stream.host().log(abi::LOG_ERROR, &format!("the app's service failed: {error}"));
        plain_text(StatusCode::INTERNAL_SERVER_ERROR, format!("the app's service failed: {error}\n"))
    })
}

/// Sends a response. Its length is told where it is known, unless the body is not what a GET would get.
pub(crate) async fn send(stream: &Stream, response: Response, tell_length: bool) -> Result<(), Refusal> {
    let (mut head, mut body) = response.into_parts();
    let has_no_body = head.status.is_informational()
        || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&head.status);
    if let Some(length) = body.size_hint().exact()
        && tell_length
        && !has_no_body
        && !head.headers.contains_key(CONTENT_LENGTH)
    {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let status = head.status.as_u16();
    let end = body.is_end_stream();
    // Most bodies are one piece that is there already.
    let mut first = if end { None } else { body.frame().now_or_never() };
    let whole = match &mut first {
        Some(Some(Ok(frame))) if body.is_end_stream() => frame.data_mut().map(std::mem::take),
        _ => None,
    };
    let is_over = end || whole.is_some();
    let sent = match whole {
        Some(data) => stream.respond(status, &head.headers, data).await,
        None => stream.respond_head(status, &head.headers, end),
    };
    match sent {
        Err(Refusal::TooLarge) => {
            let text = "the app's response head exceeds 64 KiB or 256 headers\n";
            stream.host().log(abi::LOG_ERROR, text.trim_end());
            let headers = plain_text(StatusCode::BAD_GATEWAY, "").headers().clone();
            return stream.respond(StatusCode::BAD_GATEWAY.as_u16(), &headers, text.into()).await;
        }
        result => result?,
    }
    if is_over {
        return Ok(());
    }
    loop {
        let frame = match first.take() {
            Some(frame) => frame,
            None => body.frame().await,
        };
        let Some(frame) = frame else { break };
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(data)) => stream.respond_body(data).await?,
            // Trailers have no place in the ABI.
            Ok(Err(_)) => {}
            Err(error) => {
                stream.host().log(abi::LOG_ERROR, &format!("a response body broke off: {error}"));
                stream.reset();
                return Ok(());
            }
        }
        // A body that is always ready must not keep its thread from everything else.
        tokio::task::coop::consume_budget().await;
    }
    stream.respond_end()
}
