//! Upgrade requests (WebSocket). An app expects hyper's `OnUpgrade` among the extensions, which only hyper
//! can make. So such a request runs through a hyper client and server within the process. After a 101, bytes
//! are piped in both directions.

use std::convert::Infallible;
use std::pin::pin;

use futures_util::future::{self, Either};
use http::header::{CONNECTION, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderValue, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::answer::{answer, send};
use super::app::{App, Request};
use super::body::Body;
use super::host::Refusal;
use super::response::plain_text;
use super::stream::Stream;

/// The size of the pipe between client and server, in bytes.
const PIPE_BYTES: usize = 64 * 1024;
/// The read size from the app, in bytes.
const READ_BYTES_MAX: usize = 16 * 1024;
/// As many headers as the link carries.
const HEADERS_COUNT_MAX: usize = 256;

/// Serves a request that may become a connection.
pub(crate) async fn serve(app: App, stream: &Stream, request: Request) -> Result<(), Refusal> {
    let (mut parts, raw_body) = request.into_parts();
    // Hop-by-hop headers may have been dropped on the way, but an upgrade needs these two.
    parts.headers.entry(CONNECTION).or_insert(HeaderValue::from_static("upgrade"));
    parts.headers.entry(UPGRADE).or_insert(HeaderValue::from_static("websocket"));
    parts.version = Version::HTTP_11;
    let extensions = std::mem::take(&mut parts.extensions);

    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    let service = service_fn(|request: http::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().extend(extensions.clone());
        let app = &app;
        async move { Ok::<_, Infallible>(answer(app, request, stream).await) }
    });
    let server = hyper::server::conn::http1::Builder::new()
        .auto_date_header(false)
        .max_headers(HEADERS_COUNT_MAX)
        .serve_connection(TokioIo::new(far), service)
        .with_upgrades();
    let handshake = hyper::client::conn::http1::Builder::new()
        .max_headers(HEADERS_COUNT_MAX)
        .handshake::<_, Body>(TokioIo::new(near))
        .await;
    let (mut sender, client) = match handshake {
        Ok(connection) => connection,
        Err(error) => return send_failure(stream, &error).await,
    };
    let exchange = async {
        match sender.send_request(http::Request::from_parts(parts, Body::empty())).await {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                pipe(stream, response, raw_body).await
            }
            Ok(mut response) => {
                drop(raw_body);
                // Already decoded by hyper's client.
                response.headers_mut().remove(TRANSFER_ENCODING);
                send(stream, response.map(Body::new), true).await
            }
            Err(error) => send_failure(stream, &error).await,
        }
    };
    // Both ends run here, not in their own tasks, so that a cancelled request ends them and a panic is
    // caught.
    let both_ends = future::join(server, client.with_upgrades());
    match future::select(pin!(exchange), pin!(both_ends)).await {
        Either::Left((result, _)) => result,
        Either::Right((_, exchange)) => exchange.await,
    }
}

async fn send_failure(stream: &Stream, error: &hyper::Error) -> Result<(), Refusal> {
    let text = format!("the upgrade request could not be given to the app: {error}\n");
    send(stream, plain_text(StatusCode::BAD_GATEWAY, text), true).await
}

/// Answers with 101 and carries bytes both ways until both sides are done.
async fn pipe(
    stream: &Stream,
    response: http::Response<Incoming>,
    mut raw_body: Body,
) -> Result<(), Refusal> {
    stream.respond_head(response.status().as_u16(), response.headers(), false)?;
    let Ok(connection) = hyper::upgrade::on(response).await else {
        stream.reset();
        return Ok(());
    };
    let (mut from_app, mut to_app) = tokio::io::split(TokioIo::new(connection));
    let up = async {
        let mut buffer = bytes::BytesMut::new();
        loop {
            buffer.reserve(READ_BYTES_MAX);
            match from_app.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return stream.respond_end(),
                Ok(_) => stream.respond_body(buffer.split().freeze()).await?,
            }
        }
    };
    let down = async {
        while let Some(Ok(frame)) = raw_body.frame().await {
            let data = frame.into_data().unwrap_or_default();
            if to_app.write_all(&data).await.is_err() || to_app.flush().await.is_err() {
                // The app reads no more; the rest is discarded.
                break;
            }
        }
        drop(raw_body);
        let _ = to_app.shutdown().await;
        Ok(())
    };
    future::try_join(up, down).await.map(|_| ())
}
