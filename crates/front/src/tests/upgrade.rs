//! WebSocket and server-sent events.

use super::*;
use devhost_link::wire::REQUEST_UPGRADE;

const UPGRADE: &str = "connection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const ACCEPTED: [(&str, &str); 3] = [
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
];

async fn open(site: &Site, worker: &mut FakeWorker) -> (Browser, FakeExchange) {
    let mut browser = site.get("/ws", UPGRADE).await;
    let exchange = worker.next().await;
    assert_eq!(exchange.head.flags, REQUEST_UPGRADE);
    assert!(!exchange.bodiless);
    assert_eq!(exchange.header("upgrade").as_deref(), Some("websocket"));
    assert_eq!(exchange.header("sec-websocket-key").as_deref(), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    exchange.respond(101, &ACCEPTED, false).await;
    let head = browser.head().await;
    assert_eq!(head.status, 101);
    assert_eq!(head.get("upgrade"), Some("websocket"));
    assert!(head.get("connection").unwrap().eq_ignore_ascii_case("upgrade"));
    assert_eq!(head.get("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!((head.get("transfer-encoding"), head.get("content-length")), (None, None));
    (browser, exchange)
}

#[actix_web::test]
async fn raw_bytes_flow_both_ways() {
    let (site, mut worker) = Site::start_serving();
    let (mut browser, mut exchange) = open(&site, &mut worker).await;
    assert_eq!((site.gate.visits(1).finite, site.gate.visits(1).endless), (0, 1));
    for piece in [&b"\x81\x85\0\0\0\0hello"[..], b"\x82\x80\0\0\0\0"] {
        browser.send(piece).await;
        assert_eq!(exchange.body_piece().await.unwrap(), piece);
        exchange.data(&b"\x81\x02ok"[..]).await;
        assert_eq!(browser.read_exact(4).await, b"\x81\x02ok");
    }
    drop(browser);
    exchange.cancelled().await;
    let mut changes = site.gate.changes();
    soon(changes.wait_for(|_| site.gate.visits(1).endless == 0)).await.unwrap();
}

#[actix_web::test]
async fn the_end_of_the_generation_is_a_close_frame_between_two_frames() {
    let (site, mut worker) = Site::start_serving();
    let (mut browser, mut exchange) = open(&site, &mut worker).await;
    exchange.data(&b"\x81\x05he"[..]).await;
    assert_eq!(browser.read_exact(4).await, b"\x81\x05he");
    site.gate.current().unwrap().close_streams();
    // The rest of the frame passes, then comes the close frame, and what follows is dropped.
    exchange.data(&b"llo\x81\x04lost"[..]).await;
    assert_eq!(browser.read_exact(3).await, b"llo");
    assert_eq!(browser.read_exact(4).await, b"\x88\x02\x03\xf4");
    exchange.cancelled().await;
    // The client answers, and the server closes first.
    browser.send(b"\x88\x82\0\0\0\0\x03\xf4").await;
    assert_eq!(browser.rest().await, b"");
}

#[actix_web::test]
async fn an_idle_websocket_is_closed_at_once() {
    let (site, mut worker) = Site::start_serving();
    let (mut browser, mut exchange) = open(&site, &mut worker).await;
    site.gate.current().unwrap().close_streams();
    assert_eq!(browser.read_exact(4).await, b"\x88\x02\x03\xf4");
    exchange.cancelled().await;
    // Even if the client never answers.
    assert_eq!(browser.rest().await, b"");
}

#[actix_web::test]
async fn a_real_client_reads_the_close_code() {
    use futures_util::StreamExt;
    use tokio_tungstenite::tungstenite::protocol::{Message, frame::coding::CloseCode};

    let (site, mut worker) = Site::start_serving();
    let address = format!("ws://{}/ws", site.address);
    let client = actix_web::rt::spawn(async move {
        let (mut socket, _) = tokio_tungstenite::connect_async(address).await.unwrap();
        let mut messages = Vec::new();
        while let Some(Ok(message)) = socket.next().await {
            messages.push(message);
        }
        messages
    });
    let exchange = worker.next().await;
    let key = exchange.header("sec-websocket-key").unwrap();
    let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
    let headers =
        [("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-accept", accept.as_str())];
    exchange.respond(101, &headers, false).await;
    exchange.data(&b"\x81\x05hello"[..]).await;
    site.gate.current().unwrap().close_streams();
    let messages = soon(client).await.unwrap();
    // The message may or may not have been on its way before the end.
    let Message::Close(Some(frame)) = messages.last().unwrap() else { panic!("{messages:?}") };
    assert_eq!(frame.code, CloseCode::Restart);
}

#[actix_web::test]
async fn a_refused_upgrade_closes_the_connection() {
    let (site, mut worker) = Site::start_serving();
    for length in [None, Some("2")] {
        let mut browser = site.get("/ws", UPGRADE).await;
        let headers: Vec<_> = length.map(|length| ("content-length", length)).into_iter().collect();
        worker.next().await.answer(404, &headers, "no").await;
        let head = browser.head().await;
        assert_eq!((head.status, head.get("connection")), (404, Some("close")));
        assert_eq!(head.get("transfer-encoding"), None);
        assert_eq!(browser.rest().await, b"no");
    }
}

#[actix_web::test]
async fn a_page_of_another_origin_opens_no_websocket() {
    let (site, mut worker) = Site::start_serving();
    for origin in ["http://evil.example", "null", "http://localhost.evil.example"] {
        for _ in 0..2 {
            let mut browser = site.get("/ws", &format!("{UPGRADE}origin: {origin}\r\n")).await;
            let (head, body) = browser.response().await;
            assert_eq!((head.status, head.get("connection")), (403, Some("close")));
            assert!(body.contains(&format!("--allowed-origin {origin}")), "{body}");
        }
    }
    let notices = site.notices.lock().unwrap().clone();
    assert_eq!(notices.len(), 3, "once for each origin: {notices:?}");
    assert!(notices[0].contains("http://evil.example") && notices[0].contains("/ws"), "{notices:?}");
    let loose = "upgrade: WebSocket\r\norigin: http://evil.example\r\n";
    assert_eq!(site.get("/ws", loose).await.head().await.status, 403);
    // The first to reach the app is one of the allowed ones.
    for origin in
        ["http://localhost", "http://127.0.0.1:5173", "https://a.allowed.test", "https://partner.example"]
    {
        let _browser = site.get("/ws", &format!("{UPGRADE}origin: {origin}\r\n")).await;
        let exchange = worker.next().await;
        assert_eq!(exchange.header("origin").as_deref(), Some(origin));
    }
}

#[actix_web::test]
async fn other_requests_of_foreign_pages_reach_the_app() {
    let (site, mut worker) = Site::start_serving();
    for asked in [
        "origin: http://evil.example\r\n",
        "origin: null\r\nupgrade: h2c\r\nconnection: upgrade\r\n",
        "origin: http://evil.example\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    ] {
        let mut browser = site.get("/", asked).await;
        worker.next().await.answer(200, &[], "x").await;
        assert_eq!(browser.head().await.status, 200, "{asked}");
    }
}

#[actix_web::test]
async fn a_false_upgrade_smuggles_nothing() {
    let (site, mut worker) = Site::start_serving();
    let mut browser = site.get("/", "upgrade: websocket\r\n").await;
    browser.send("GET /smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let exchange = worker.next().await;
    assert!(exchange.bodiless && exchange.head.flags == 0);
    assert_eq!(exchange.header("upgrade"), None);
    exchange.answer(200, &[], "one").await;
    let head = browser.head().await;
    assert_eq!((head.get("connection"), head.get("transfer-encoding")), (Some("close"), None));
    assert_eq!(browser.rest().await, b"one");
    let mut browser =
        site.get("/", "connection: upgrade\r\nupgrade: websocket\r\ncontent-length: 4\r\n").await;
    assert_eq!(browser.head().await.status, 400);
}

#[actix_web::test]
async fn server_sent_events_end_cleanly_with_the_generation() {
    let (site, mut worker) = Site::start_serving();
    let mut browser = site.get("/feed", "").await;
    let mut exchange = worker.next().await;
    exchange.respond(200, &[("content-type", "text/event-stream; charset=utf-8")], false).await;
    exchange.data("data: 1\n\n").await;
    browser.head().await;
    assert_eq!(browser.chunk().await.unwrap(), b"data: 1\n\n");
    assert_eq!((site.gate.visits(1).finite, site.gate.visits(1).endless), (0, 1));
    site.gate.current().unwrap().close_streams();
    assert_eq!(browser.chunk().await, None);
    exchange.cancelled().await;
}

/// What the app gets when its generation ends.
const CLOSE_FOR_APP: &[u8] = b"\x88\x82\x37\xfa\x21\x3d\x34\x13";
const ANSWER_OF_APP: &[u8] = b"\x88\x02\x03\xe9";

/// The app answers the close frame, sees the end of the client's half, and ends its own.
async fn closes(site: &Site, exchange: &mut FakeExchange) {
    assert_eq!(site.gate.visits(1).endless, 1, "the generation has to wait for it");
    exchange.data(ANSWER_OF_APP).await;
    assert_eq!(exchange.body_piece().await, None, "the client's half has ended in order");
    exchange.end().await;
    let mut changes = site.gate.changes();
    soon(changes.wait_for(|_| site.gate.visits(1).endless == 0)).await.unwrap();
}

#[actix_web::test]
async fn the_app_is_told_of_the_end_by_a_close_frame_and_its_connection_ends_in_order() {
    let (site, mut worker) = Site::start_serving();
    let (mut browser, mut exchange) = open(&site, &mut worker).await;
    site.gate.current().unwrap().close_streams();
    assert_eq!(exchange.body_piece().await.unwrap(), CLOSE_FOR_APP);
    assert_eq!(browser.read_exact(4).await, b"\x88\x02\x03\xf4");
    // The client is faster than the app, which gets nothing of what it still sends.
    browser.send(b"\x81\x80\0\0\0\0\x88\x82\0\0\0\0\x03\xf4").await;
    assert_eq!(browser.rest().await, b"");
    closes(&site, &mut exchange).await;
}

#[actix_web::test]
async fn the_close_frame_for_the_app_waits_for_the_end_of_the_clients_frame() {
    let (site, mut worker) = Site::start_serving();
    let (mut browser, mut exchange) = open(&site, &mut worker).await;
    // The first part of a message in several frames, and half of the second.
    for part in [&b"\x01\x82\0\0\0\0he"[..], b"\x80\x83\0\0\0\0l"] {
        browser.send(part).await;
        assert_eq!(exchange.body_piece().await.unwrap(), part);
    }
    site.gate.current().unwrap().close_streams();
    assert_eq!(browser.read_exact(4).await, b"\x88\x02\x03\xf4");
    browser.send(b"lo\x88\x82\0\0\0\0\x03\xf4").await;
    assert_eq!(exchange.body_piece().await.unwrap(), &b"lo"[..]);
    assert_eq!(exchange.body_piece().await.unwrap(), CLOSE_FOR_APP);
    closes(&site, &mut exchange).await;
}

#[actix_web::test]
async fn a_frame_that_the_client_never_finishes_is_cut_and_nothing_is_put_into_it() {
    let (site, mut worker) = Site::start_serving();
    let (mut browser, mut exchange) = open(&site, &mut worker).await;
    browser.send(b"\x81\x85\0\0\0\0he").await;
    assert_eq!(exchange.body_piece().await.unwrap(), &b"\x81\x85\0\0\0\0he"[..]);
    site.gate.current().unwrap().close_streams();
    exchange.cancelled().await;
    assert_eq!(browser.rest().await, b"\x88\x02\x03\xf4");
}

#[actix_web::test]
async fn an_app_that_floods_is_told_whether_the_client_reads_or_not() {
    for reads in [true, false] {
        let (site, mut worker) = Site::start_serving();
        let (mut browser, mut exchange) = open(&site, &mut worker).await;
        let flood = async {
            while !exchange.has_body_piece() {
                exchange.data([&b"\x82\x7e\x40\0"[..], &[7; 0x4000]].concat()).await;
                tokio::task::yield_now().await;
            }
            assert_eq!(exchange.body_piece().await.unwrap(), CLOSE_FOR_APP, "reads: {reads}");
            closes(&site, &mut exchange).await;
        };
        let generation = site.gate.current().unwrap();
        let client = async {
            if reads {
                browser.read_exact(0x10000).await;
                generation.close_streams();
                browser.rest().await;
            } else {
                // Long enough for every buffer on the way to fill up; either case must work.
                tokio::time::sleep(Duration::from_millis(300)).await;
                generation.close_streams();
            }
        };
        soon(async { tokio::join!(flood, client) }).await;
    }
}

#[actix_web::test]
async fn an_app_that_never_answers_the_close_frame_is_not_waited_for() {
    let (site, mut worker) = Site::start_serving();
    let (mut browser, mut exchange) = open(&site, &mut worker).await;
    site.gate.current().unwrap().close_streams();
    assert_eq!(exchange.body_piece().await.unwrap(), CLOSE_FOR_APP);
    exchange.cancelled().await;
    let mut changes = site.gate.changes();
    soon(changes.wait_for(|_| site.gate.visits(1).endless == 0)).await.unwrap();
    assert_eq!(browser.rest().await, b"\x88\x02\x03\xf4");
}
