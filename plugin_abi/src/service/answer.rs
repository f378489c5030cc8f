//! Gets the app's response to a request and streams it to the host.

use futures_util::FutureExt;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;

use crate::abi;

use super::app::{App, Request};
use super::host::Refusal;
use super::response::{Response, plain_text};
use super::stream::Stream;

/// Returns the app's response, or one that shows its error.
pub(crate) async fn answer(app: &App, request: Request, stream: &Stream) -> Response {
    app.call(request).await.unwrap_or_else(|error| {
        stream.host().log(abi::LOG_ERROR, &format!("the app's service failed: {error}"));
        plain_text(StatusCode::INTERNAL_SERVER_ERROR, format!("the app's service failed: {error}\n"))
    })
}

/// Sends a response. `tell_length` is false if the body differs from a GET's.
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
    // Most bodies are a single piece, available at once.
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
            // The ABI has no trailers.
            Ok(Err(_)) => {}
            Err(error) => {
                stream.host().log(abi::LOG_ERROR, &format!("a response body broke off: {error}"));
                stream.reset();
                return Ok(());
            }
        }
        // A body that is always ready must not starve the other tasks on its thread.
        tokio::task::coop::consume_budget().await;
    }
    stream.respond_end()
}
