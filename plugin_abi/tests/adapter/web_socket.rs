//! WebSocket through the upgrade path, with frames made by hand.

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::routing::get;
use devhost_plugin::abi;

use crate::fake_host::{Acceptance, Exchange, FakeHost, Request, Response};

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if let Message::Text(text) = message
            && socket.send(Message::Text(text)).await.is_err()
        {
            return;
        }
    }
}

fn app() -> Router {
    Router::new()
        .route("/ws", get(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(echo)))
        .route(
            "/close",
            get(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(async |socket| drop(socket))),
        )
        .route("/plain", get(async || "no upgrade here"))
        .route("/panic", get(async || -> &'static str { panic!("before the upgrade") }))
}

fn start(acceptance: Acceptance) -> &'static FakeHost {
    FakeHost::start(devhost_plugin::__descriptor!(app), acceptance).expect("the app starts")
}

fn upgrade(target: &str) -> Request {
    let request = Request::get(target)
        .header("host", "localhost")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    Request { flags: abi::REQUEST_UPGRADE, body_length: -1, ..request }
}

/// A client's text frame, masked with zeros.
fn text_frame(text: &str) -> Vec<u8> {
    let len = u8::try_from(text.len()).expect("short");
    assert!(len < 126);
    let mut frame = vec![0x81, 0x80 | len, 0, 0, 0, 0];
    frame.extend(text.as_bytes());
    frame
}

const CLOSE_FRAME: [u8; 6] = [0x88, 0x80, 0, 0, 0, 0];

fn opened(exchange: &Exchange) -> bool {
    exchange.status == Some(101)
}

#[test]
fn a_web_socket_echoes_and_closes() {
    for acceptance in [Acceptance::All, Acceptance::Tiny] {
        let host = start(acceptance);
        let stream = host.request(upgrade("/ws"));
        let exchange = host.wait(stream, opened);
        assert_eq!(exchange.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(exchange.header("upgrade"), Some("websocket"));
        for text in ["one", "two"] {
            host.send(stream, &text_frame(text), false);
            host.wait(stream, |exchange| exchange.text().ends_with(text));
        }
        let body = host.wait(stream, |_| true).body;
        assert_eq!(body, b"\x81\x03one\x81\x03two");
        host.send(stream, &CLOSE_FRAME, true);
        let exchange = host.wait_done(stream);
        assert_eq!(exchange.response, Response::Ended);
        assert_eq!(exchange.body[10], 0x88, "a close frame");
        host.stop();
    }
}

#[test]
fn a_client_that_hangs_up_without_a_close_ends_the_socket() {
    let host = start(Acceptance::All);
    let stream = host.request(upgrade("/ws"));
    host.wait(stream, opened);
    host.send(stream, b"", true);
    assert_eq!(host.wait_done(stream).response, Response::Ended);
    host.stop();
}

#[test]
fn a_socket_that_the_app_drops_ends_for_the_client() {
    let host = start(Acceptance::All);
    let stream = host.request(upgrade("/close"));
    assert_eq!(host.wait_done(stream).response, Response::Ended);
    host.send(stream, &text_frame("too late"), true);
    host.stop();
}

#[test]
fn cancel_ends_the_socket_of_the_app() {
    static ENDED: std::sync::Mutex<Option<std::sync::mpsc::Sender<()>>> = std::sync::Mutex::new(None);
    fn app() -> Router {
        let tell = async |mut socket: WebSocket| {
            while let Some(Ok(_)) = socket.recv().await {}
            let ended = ENDED.lock().expect("no panic under the lock").take().expect("once");
            ended.send(()).expect("somebody waits");
        };
        Router::new().route("/ws", get(async move |upgrade: WebSocketUpgrade| upgrade.on_upgrade(tell)))
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    *ENDED.lock().expect("no panic under the lock") = Some(sender);
    let host = FakeHost::start(devhost_plugin::__descriptor!(app), Acceptance::All).expect("the app starts");
    let stream = host.request(upgrade("/ws"));
    host.wait(stream, opened);
    host.cancel(stream);
    receiver.recv_timeout(std::time::Duration::from_secs(20)).expect("the socket ends");
    host.stop();
}

#[test]
fn an_upgrade_that_is_not_granted_is_an_ordinary_response() {
    let host = start(Acceptance::Tiny);
    let stream = host.request(upgrade("/plain"));
    let exchange = host.wait_done(stream);
    assert_eq!((exchange.status, exchange.text().as_str()), (Some(200), "no upgrade here"));
    assert_eq!(exchange.header("transfer-encoding"), None);
    let stream = host.request(Request { method: "POST", body_length: 4, ..upgrade("/plain") });
    host.send(stream, b"h2c?", true);
    assert_eq!(host.wait_done(stream).status, Some(405));
    host.stop();
}

#[test]
fn a_panic_before_the_upgrade_is_reported() {
    let host = start(Acceptance::All);
    let stream = host.request(upgrade("/panic"));
    let Response::Panicked { message, backtrace, .. } = host.wait_done(stream).response else {
        panic!("no report")
    };
    assert_eq!(message, "before the upgrade");
    assert!(backtrace.contains("web_socket.rs:"), "{backtrace}");
    host.stop();
}
