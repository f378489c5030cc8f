//! Handlers that misbehave on purpose, to see what the server around them does.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Query;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;

const SLOW_DEFAULT_MS: u64 = 3_000;
const SLOW_MAX_MS: u64 = 120_000;

/// In how many steps a slow response comes.
const SLOW_STEPS: u64 = 10;

/// How slow.
#[derive(Debug, Deserialize)]
pub(crate) struct Pace {
    ms: Option<u64>,
}

/// `GET /slow?ms=N`: ten lines of text, spread evenly over N milliseconds.
pub(crate) async fn respond_slowly(Query(pace): Query<Pace>) -> Response {
    let whole_ms = pace.ms.unwrap_or(SLOW_DEFAULT_MS);
    if whole_ms > SLOW_MAX_MS {
        return (StatusCode::BAD_REQUEST, format!("ms must be at most {SLOW_MAX_MS}\n")).into_response();
    }
    let pause = Duration::from_millis(whole_ms) / SLOW_STEPS as u32;
    let lines = stream::unfold(1, move |step| async move {
        if step > SLOW_STEPS {
            return None;
        }
        tokio::time::sleep(pause).await;
        Some((Ok::<_, Infallible>(format!("{step} of {SLOW_STEPS}\n")), step + 1))
    });
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], Body::from_stream(lines)).into_response()
}

/// `GET /panic`: panics.
pub(crate) async fn panic_on_purpose() -> StatusCode {
    panic!("the guest book fell off the table, on purpose")
}

/// `GET /crash`: aborts the whole process, as a bug in C code would. Not in a release build.
pub(crate) async fn crash_on_purpose() -> Response {
    if cfg!(debug_assertions) {
        eprintln!("the guest book caught fire, on purpose");
        std::process::abort();
    }
    StatusCode::NOT_FOUND.into_response()
}
