//! The life of requests: bodies in both directions, panics, cancelled clients, bad heads.

use std::convert::Infallible;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request as AxumRequest, State};
use axum::response::{IntoResponse, Response as AxumResponse};
use axum::routing::{get, post};
use bytes::Bytes;
use devhost_plugin::abi;
use futures_util::StreamExt;

use crate::fake_host::{Acceptance, CREDIT_BYTES, FakeHost, Request, Response};

const DEADLINE: Duration = Duration::from_secs(20);

/// Tells when a handler begins and when its future is dropped.
#[derive(Clone)]
struct Probe(Arc<Mutex<mpsc::Sender<&'static str>>>);

impl Probe {
    fn tell(&self, what: &'static str) {
        let _ = self.0.lock().expect("no panic under the lock").send(what);
    }
}

struct Guard(Probe);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.tell("dropped");
    }
}

static PROBE: Mutex<Option<Probe>> = Mutex::new(None);

async fn wait_for_ever(State(probe): State<Probe>) -> &'static str {
    let _guard = Guard(probe.clone());
    probe.tell("waiting");
    std::future::pending().await
}

async fn endless(State(probe): State<Probe>) -> Body {
    let guard = Guard(probe);
    Body::from_stream(futures_util::stream::repeat_with(move || {
        let _ = &guard;
        Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 1000]))
    }))
}

async fn read_all(State(probe): State<Probe>, body: Bytes) -> String {
    let _guard = Guard(probe);
    body.len().to_string()
}

async fn panic_in_body() -> Body {
    let pieces = futures_util::stream::iter(0..3).map(|piece| {
        assert!(piece < 2, "the third piece is bad");
        Ok::<_, Infallible>(Bytes::from_static(b"piece "))
    });
    Body::from_stream(pieces)
}

async fn many_headers() -> AxumResponse {
    let mut response = "x".into_response();
    for number in 0..300 {
        let name: axum::http::HeaderName = format!("x-{number}").parse().expect("a name");
        response.headers_mut().insert(name, axum::http::HeaderValue::from_static("1"));
    }
    response
}

fn panic_deep_inside(items: &[u32]) -> u32 {
    items[items.len()]
}

fn app() -> Router {
    let probe = PROBE.lock().expect("no panic under the lock").clone();
    let probe = probe.unwrap_or_else(|| Probe(Arc::new(Mutex::new(mpsc::channel().0))));
    Router::new()
        .route("/hello", get(async || "hello"))
        .route("/echo", post(async |request: AxumRequest| request.into_body()))
        .route("/wait", get(wait_for_ever))
        .route("/endless", get(endless))
        .route("/length", post(read_all))
        .route("/ignore", post(async || "not interested"))
        .route("/panic", get(async || panic_deep_inside(&[1, 2]).to_string()))
        .route("/panic-in-body", get(panic_in_body))
        .route("/many-headers", get(many_headers))
        .route(
            "/broken-body",
            get(async || {
                Body::from_stream(futures_util::stream::iter([
                    Ok(Bytes::from_static(b"begin")),
                    Err("broke"),
                ]))
            }),
        )
        .route(
            "/headers",
            get(async |request: AxumRequest| {
                let remote =
                    request.extensions().get::<devhost_plugin::Remote>().map(|remote| remote.0.port());
                format!(
                    "{:?} {remote:?} {}",
                    request.headers().get_all("x-a").iter().collect::<Vec<_>>(),
                    request.uri()
                )
            }),
        )
        .with_state(probe)
}

fn start(acceptance: Acceptance) -> &'static FakeHost {
    FakeHost::start(devhost_plugin::__descriptor!(app), acceptance).expect("the app starts")
}

fn start_with_probe(acceptance: Acceptance) -> (&'static FakeHost, mpsc::Receiver<&'static str>) {
    let (sender, receiver) = mpsc::channel();
    // The factory has no arguments; a test that starts with a probe holds the slot meanwhile.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().expect("no panic under the lock");
    *PROBE.lock().expect("no panic under the lock") = Some(Probe(Arc::new(Mutex::new(sender))));
    let host = start(acceptance);
    *PROBE.lock().expect("no panic under the lock") = None;
    (host, receiver)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index % 251) as u8).collect()
}

#[test]
fn a_get_has_status_length_and_text() {
    let host = start(Acceptance::All);
    let exchange = host.get("/hello");
    assert_eq!((exchange.status, exchange.text().as_str()), (Some(200), "hello"));
    assert_eq!(exchange.header("content-length"), Some("5"));
    assert_eq!(exchange.response, Response::Ended);
    assert_eq!(host.get("/nowhere").status, Some(404));
    host.stop();
}

#[test]
fn a_body_that_is_there_is_sent_with_its_head() {
    let host = start(Acceptance::All);
    host.get("/hello");
    assert_eq!(host.whole_responses_count(), 1);
    host.stop();
}

#[test]
fn a_host_of_version_1_0_gets_the_same_in_pieces() {
    let host = FakeHost::start_older(devhost_plugin::__descriptor!(app)).expect("the app starts");
    let exchange = host.get("/hello");
    assert_eq!((exchange.status, exchange.text().as_str()), (Some(200), "hello"));
    assert_eq!((exchange.response, host.whole_responses_count()), (Response::Ended, 0));
    host.stop();
}

#[test]
fn the_head_of_a_request_arrives_whole() {
    let host = start(Acceptance::All);
    let request = Request::get("/headers?a=%20b").header("x-a", "one").header("x-a", "tw\u{f6}");
    let stream = host.request(request);
    let text = host.wait_done(stream).text();
    assert_eq!(text, r#"["one", "tw\xc3\xb6"] Some(50123) /headers?a=%20b"#);
    host.stop();
}

#[test]
fn a_body_streams_both_ways_through_tiny_pieces() {
    let host = start(Acceptance::Tiny);
    let body = pattern(3 * CREDIT_BYTES / 10);
    let stream = host.request(Request::post("/echo", -1));
    host.send(stream, &body, true);
    let exchange = host.wait_done(stream);
    assert!(exchange.body == body, "the echo differs");
    assert_eq!(exchange.response, Response::Ended);
    host.stop();
}

#[test]
fn a_body_larger_than_the_credit_streams_both_ways() {
    let host = start(Acceptance::All);
    let body = pattern(10 * CREDIT_BYTES + 17);
    let stream = host.request(Request::post("/echo", i64::try_from(body.len()).expect("small")));
    host.send(stream, &body, true);
    let exchange = host.wait_done(stream);
    assert!(exchange.body == body, "the echo differs");
    assert_eq!(exchange.consumed, body.len());
    host.stop();
}

#[test]
fn an_echo_answers_before_the_request_has_ended() {
    let host = start(Acceptance::All);
    let stream = host.request(Request::post("/echo", -1));
    host.send(stream, b"first", false);
    let exchange = host.wait(stream, |exchange| exchange.body == b"first");
    assert_eq!(exchange.response, Response::Open);
    host.send(stream, b"", true);
    host.wait_done(stream);
    host.stop();
}

#[test]
fn a_slow_client_stops_the_sender() {
    let host = start(Acceptance::Room(1000));
    let stream = host.request(Request::post("/echo", -1));
    host.send(stream, &pattern(10 * CREDIT_BYTES), true);
    host.wait(stream, |exchange| exchange.body.len() == 1000);
    // Everything that the client has not read stays with the sender, but for one credit.
    let delivered = host.wait(stream, |exchange| exchange.body.len() == 1000).delivered;
    assert!(delivered <= 3 * CREDIT_BYTES, "{delivered}");
    host.give_room(stream, 10 * CREDIT_BYTES);
    assert_eq!(host.wait_done(stream).body.len(), 10 * CREDIT_BYTES);
    host.stop();
}

#[test]
fn a_panic_before_the_head_is_reported_with_place_and_frames() {
    let host = start(Acceptance::All);
    let exchange = host.get("/panic");
    assert_eq!(exchange.status, None);
    let Response::Panicked { message, location, backtrace } = exchange.response else {
        panic!("{:?}", exchange.response)
    };
    assert!(message.contains("index out of bounds"), "{message}");
    assert!(location.contains("requests.rs:"), "{location}");
    assert!(backtrace.contains("panic_deep_inside") && backtrace.contains("requests.rs:"), "{backtrace}");
    assert!(!backtrace.contains("tokio::runtime") && !backtrace.contains("rust_begin_unwind"), "{backtrace}");
    assert_eq!(host.get("/hello").text(), "hello", "the app lives on");
    host.stop();
}

#[test]
fn a_panic_in_the_body_cuts_the_response_off() {
    let host = start(Acceptance::All);
    let exchange = host.get("/panic-in-body");
    assert_eq!((exchange.status, exchange.text().as_str()), (Some(200), "piece piece "));
    assert!(
        matches!(&exchange.response, Response::Panicked { message, .. } if message == "the third piece is bad")
    );
    host.stop();
}

#[test]
fn a_panic_of_a_synchronous_handler_is_reported_too() {
    fn handler(_: devhost_plugin::Request) -> &'static str {
        panic!("on a thread of its own")
    }
    let descriptor = devhost_plugin::__descriptor!(handler);
    let host = FakeHost::start(descriptor, Acceptance::All).expect("the app starts");
    let Response::Panicked { message, location, backtrace } = host.get("/").response else {
        panic!("no report")
    };
    assert_eq!(message, "on a thread of its own");
    assert!(location.contains("requests.rs:"), "{location}");
    assert!(backtrace.contains("handler"), "{backtrace}");
    host.stop();
}

#[test]
fn a_body_that_breaks_off_resets_the_response() {
    let host = start(Acceptance::All);
    let exchange = host.get("/broken-body");
    assert_eq!((exchange.text().as_str(), exchange.response), ("begin", Response::Reset));
    host.stop();
}

#[test]
fn a_head_that_is_too_large_is_a_502() {
    let host = start(Acceptance::All);
    let exchange = host.get("/many-headers");
    assert_eq!(exchange.status, Some(502));
    assert!(exchange.text().contains("256 headers"));
    host.stop();
}

#[test]
fn a_head_that_is_no_http_is_a_400() {
    let host = start(Acceptance::All);
    assert_eq!(host.get("no slash, and a blank").status, Some(400));
    let stream = host.request(Request::get("/hello").header("x-a", "a\nb"));
    assert_eq!(host.wait_done(stream).status, Some(400));
    host.stop();
}

#[test]
fn cancel_drops_a_waiting_handler() {
    let (host, probe) = start_with_probe(Acceptance::All);
    let stream = host.request(Request::get("/wait"));
    assert_eq!(probe.recv_timeout(DEADLINE), Ok("waiting"));
    host.cancel(stream);
    assert_eq!(probe.recv_timeout(DEADLINE), Ok("dropped"));
    host.stop();
}

#[test]
fn cancel_drops_a_handler_that_waits_for_the_body() {
    let (host, probe) = start_with_probe(Acceptance::All);
    let stream = host.request(Request::post("/length", -1));
    host.send(stream, b"some", false);
    host.wait(stream, |exchange| exchange.consumed == 4);
    host.cancel(stream);
    // axum's extractor fails or is dropped, so the handler never runs; the app serves on.
    assert_eq!(host.get("/hello").text(), "hello");
    assert_eq!(probe.try_recv(), Err(mpsc::TryRecvError::Empty));
    host.stop();
}

#[test]
fn cancel_drops_a_body_that_waits_for_the_client() {
    let (host, probe) = start_with_probe(Acceptance::Room(5000));
    let stream = host.request(Request::get("/endless"));
    host.wait(stream, |exchange| exchange.body.len() == 5000);
    host.cancel(stream);
    assert_eq!(probe.recv_timeout(DEADLINE), Ok("dropped"));
    host.stop();
}

#[test]
fn stop_drops_what_is_still_running() {
    let (host, probe) = start_with_probe(Acceptance::All);
    host.request(Request::get("/wait"));
    assert_eq!(probe.recv_timeout(DEADLINE), Ok("waiting"));
    host.stop();
    assert_eq!(probe.recv_timeout(DEADLINE), Ok("dropped"));
}

#[test]
fn a_body_that_nobody_reads_is_let_through() {
    let host = start(Acceptance::All);
    let stream = host.request(Request::post("/ignore", -1));
    assert_eq!(host.wait_done(stream).text(), "not interested");
    host.send(stream, &pattern(5 * CREDIT_BYTES), true);
    host.wait(stream, |exchange| exchange.delivered == 5 * CREDIT_BYTES);
    host.stop();
}

#[test]
fn many_requests_run_at_once() {
    let host = start(Acceptance::Tiny);
    let body = pattern(2000);
    let streams: Vec<_> = (0..100).map(|_| host.request(Request::post("/echo", -1))).collect();
    for stream in &streams {
        host.send(*stream, &body, true);
    }
    for stream in streams {
        assert!(host.wait_done(stream).body == body, "the echo differs");
    }
    host.stop();
}

#[test]
fn a_handler_that_blocks_does_not_block_the_others() {
    static RELEASE: Mutex<Option<mpsc::Receiver<()>>> = Mutex::new(None);
    fn app() -> Router {
        let blocking = async || {
            let release = RELEASE.lock().expect("no panic under the lock").take().expect("once");
            let _ = release.recv();
            "released"
        };
        Router::new().route("/block", get(blocking)).route("/hello", get(async || "hello"))
    }
    let (release, receiver) = mpsc::channel();
    *RELEASE.lock().expect("no panic under the lock") = Some(receiver);
    let host = FakeHost::start(devhost_plugin::__descriptor!(app), Acceptance::All).expect("the app starts");
    let blocked = host.request(Request::get("/block"));
    for _ in 0..20 {
        assert_eq!(host.get("/hello").text(), "hello");
    }
    release.send(()).expect("somebody waits");
    assert_eq!(host.wait_done(blocked).text(), "released");
    host.stop();
}

#[test]
fn errors_are_logged() {
    let host = start(Acceptance::All);
    host.get("/broken-body");
    let logs = host.logs();
    assert!(logs.iter().any(|(level, text)| *level == abi::LOG_ERROR && text.contains("broke")), "{logs:?}");
    host.stop();
}
