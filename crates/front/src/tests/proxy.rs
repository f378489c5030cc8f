//! Requests and responses in ordinary use.

use super::*;
use crate::headers::GENERATION_HEADER;
use devhost_link::StreamError;

#[actix_web::test]
async fn a_request_goes_to_the_app_and_its_response_comes_back() {
    let (site, mut worker) = Site::start_serving();
    let mut browser = site.connect().await;
    browser.send("POST /a?b=%20c HTTP/1.1\r\nHost: localhost\r\ncontent-length: 3\r\nX-A: 1\r\nConnection: x-b\r\nx-b: 2\r\n\r\nxyz").await;
    let mut exchange = worker.next().await;
    assert_eq!(exchange.head.method, "POST");
    assert_eq!(exchange.head.target, "/a?b=%20c");
    assert_eq!(exchange.head.body_length, Some(3));
    assert!(!exchange.bodiless && exchange.head.remote.starts_with(b"127.0.0.1:"));
    assert_eq!(exchange.header("host").as_deref(), Some("localhost"));
    assert_eq!(exchange.header("x-a").as_deref(), Some("1"));
    assert_eq!(exchange.header("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(exchange.header("x-b").or(exchange.header("connection")), None);
    assert_eq!(exchange.whole_body().await, b"xyz");
    let headers = [
        ("content-length", "2"),
        ("set-cookie", "a"),
        ("set-cookie", "b"),
        ("keep-alive", "x"),
        ("x-devhost-generation", "99"),
    ];
    exchange.answer(201, &headers, "ok").await;
    let (head, body) = browser.response().await;
    assert_eq!((head.status, body.as_str()), (201, "ok"));
    assert_eq!(head.all("set-cookie").len(), 2);
    assert_eq!(head.all(GENERATION_HEADER.as_str()), ["1"]);
    assert_eq!(
        (head.get("content-length"), head.get("keep-alive"), head.get("transfer-encoding")),
        (Some("2"), None, None)
    );
    // The connection serves another request.
    browser.send("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let exchange = worker.next().await;
    assert!(exchange.bodiless);
    exchange.respond(200, &[], true).await;
    assert_eq!(browser.response().await.0.get("content-length"), Some("0"));
}

#[actix_web::test]
async fn bodies_stream_both_ways_at_once() {
    let (site, mut worker) = Site::start_serving();
    let mut browser = site.connect().await;
    browser.send("POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let mut exchange = worker.next().await;
    assert_eq!(exchange.head.body_length, None);
    // The response begins before the request has any body, and echoes it piece by piece.
    exchange.respond(200, &[("content-type", "application/octet-stream")], false).await;
    let head = browser.head().await;
    assert_eq!(head.status, 200);
    for piece in ["one", "two", "three"] {
        browser.send(format!("{:x}\r\n{piece}\r\n", piece.len())).await;
        let got = exchange.body_piece().await.unwrap();
        assert_eq!(got, piece);
        exchange.data(got).await;
        assert_eq!(browser.chunk().await.unwrap(), piece.as_bytes());
    }
    browser.send("0\r\n\r\n").await;
    assert_eq!(exchange.body_piece().await, None);
    exchange.end().await;
    assert_eq!(browser.chunk().await, None);
}

#[actix_web::test]
async fn a_slow_client_stops_the_app() {
    let (site, mut worker) = Site::start_serving();
    let mut browser = site.get("/", "").await;
    let exchange = worker.next().await;
    exchange.respond(200, &[], false).await;
    // Far less than this fits between the app and a client that does not read.
    const PIECE: usize = 64 * 1024;
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_millis(300), exchange.data(vec![7; PIECE])).await.is_ok() {
        sent += PIECE;
        assert!(sent < 64 * 1024 * 1024, "nothing stopped the app");
    }
    assert_eq!(exchange.room(), 0);
    // It goes on once the client reads.
    browser.head().await;
    let reader = async { while browser.chunk().await.is_some() {} };
    let writer = async {
        exchange.data("end").await;
        exchange.end().await;
    };
    futures_util::join!(reader, writer);
}

#[actix_web::test]
async fn a_large_upload_waits_for_the_app() {
    let (site, mut worker) = Site::start_serving();
    let mut browser = site.connect().await;
    const SIZE: usize = 3_000_000;
    browser.send(format!("PUT / HTTP/1.1\r\nhost: localhost\r\ncontent-length: {SIZE}\r\n\r\n")).await;
    let mut exchange = worker.next().await;
    let upload = vec![b'u'; SIZE];
    let ((), received) = futures_util::join!(browser.send(&upload), exchange.whole_body());
    assert_eq!(received.len(), SIZE);
    exchange.respond(204, &[], true).await;
    let head = browser.head().await;
    assert_eq!((head.status, head.get("content-length"), head.get("transfer-encoding")), (204, None, None));
}

#[actix_web::test]
async fn a_response_before_the_end_of_the_request_arrives() {
    let (site, mut worker) = Site::start_serving();
    let mut browser = site.connect().await;
    browser.send("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\nstart").await;
    let exchange = worker.next().await;
    exchange.answer(413, &[("content-length", "3")], "big").await;
    let (head, body) = browser.response().await;
    assert_eq!((head.status, body.as_str(), head.get("connection")), (413, "big", Some("close")));
}

#[actix_web::test]
async fn head_responses_keep_the_length_of_the_body_that_is_not_sent() {
    let (site, mut worker) = Site::start_serving();
    let mut browser = site.connect().await;
    for (length, expected) in [(Some("1234"), Some("1234")), (None, None)] {
        browser.send("HEAD / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        let headers: Vec<_> = length.map(|length| ("content-length", length)).into_iter().collect();
        let exchange = worker.next().await;
        assert_eq!(exchange.head.method, "HEAD");
        exchange.respond(200, &headers, true).await;
        let head = browser.head().await;
        assert_eq!((head.status, head.get("content-length")), (200, expected));
    }
    browser.send("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    worker.next().await.respond(304, &[("content-length", "77"), ("etag", "\"x\"")], true).await;
    let head = browser.head().await;
    assert_eq!((head.status, head.get("content-length"), head.get("etag")), (304, Some("77"), Some("\"x\"")));
    // No body followed, or this would not parse.
    browser.send("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    worker.next().await.answer(200, &[], "end").await;
    assert_eq!(browser.response().await.1, "end");
}

#[actix_web::test]
async fn http_1_0_gets_a_body_without_chunks() {
    let (site, mut worker) = Site::start_serving();
    let mut browser = site.connect().await;
    browser.send("GET / HTTP/1.0\r\nhost: localhost\r\n\r\n").await;
    let exchange = worker.next().await;
    assert_eq!(exchange.head.version, 10);
    exchange.answer(200, &[], "plain").await;
    let head = browser.head().await;
    assert_eq!(head.get("transfer-encoding"), None);
    assert_eq!(browser.rest().await, b"plain");
}

#[actix_web::test]
async fn a_body_that_breaks_off_breaks_the_connection() {
    let (site, mut worker) = Site::start_serving();
    for headers in [&[][..], &[("content-length", "10")]] {
        let mut browser = site.get("/", "").await;
        let exchange = worker.next().await;
        exchange.respond(200, headers, false).await;
        exchange.data("part").await;
        browser.head().await;
        browser.read_until(b"part").await;
        exchange.fail(StreamError::Lost).await;
        let rest = browser.rest().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "the client takes it for a whole response");
    }
}

#[actix_web::test]
async fn a_body_shorter_than_announced_breaks_the_connection() {
    let (site, mut worker) = Site::start_serving();
    let mut browser = site.get("/", "").await;
    worker.next().await.answer(200, &[("content-length", "10")], "part").await;
    browser.head().await;
    assert_eq!(browser.rest().await, b"part");
}

#[actix_web::test]
async fn requests_are_held_until_the_swap_and_old_ones_finish_in_the_old_generation() {
    let (site, mut old) = Site::start_serving();
    let mut first = site.get("/first", "").await;
    let in_flight = old.next().await;
    site.gate.hold();
    let mut second = site.get("/second", "").await;
    let mut changes = site.gate.changes();
    assert_eq!(site.gate.visits(1).finite, 1);
    let mut new = site.swap(2);
    let held = new.next().await;
    assert_eq!(held.head.target, "/second");
    held.answer(200, &[], "new").await;
    assert_eq!(second.response().await.0.get("x-devhost-generation"), Some("2"));
    in_flight.answer(200, &[], "old").await;
    let (head, body) = first.response().await;
    assert_eq!((head.get("x-devhost-generation"), body.as_str()), (Some("1"), "old"));
    // The old generation is seen to be idle.
    soon(changes.wait_for(|_| site.gate.visits(1).finite == 0)).await.unwrap();
}

#[actix_web::test]
async fn requests_that_are_too_large_are_told_so() {
    let (site, _worker) = Site::start_serving();
    let mut browser = site.get("/", &format!("x-big: {}\r\n", "x".repeat(80 * 1024))).await;
    assert_eq!(browser.response().await.0.status, 431);
}

#[actix_web::test]
async fn an_upgrade_to_something_unknown_is_not_passed_on() {
    let (site, mut worker) = Site::start_serving();
    let mut browser =
        site.get("/", "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: x\r\n").await;
    let exchange = worker.next().await;
    assert_eq!(exchange.head.flags, 0);
    assert_eq!(exchange.header("upgrade").or(exchange.header("http2-settings")), None);
    exchange.answer(200, &[], "plain").await;
    assert_eq!(browser.response().await.1, "plain");
}

#[actix_web::test]
async fn a_target_in_raw_utf_8_reaches_the_app_as_it_was_sent() {
    let (site, mut worker) = Site::start_serving();
    let mut browser = site.connect().await;
    for target in ["/caf\u{e9}?q=\u{65e5}", "/a<b>`?<`>", "/%C3%A9"] {
        browser.send(format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
        let exchange = worker.next().await;
        assert_eq!(exchange.head.target, target);
        exchange.answer(200, &[], "x").await;
        assert_eq!(browser.response().await.0.status, 200);
    }
}

#[actix_web::test]
async fn what_cannot_be_served_is_answered_with_a_page_that_says_why() {
    let (site, _worker) = Site::start_serving();
    let many: String = (0..100).map(|n| format!("x-{n}: 1\r\n")).collect();
    let large = format!("cookie: {}\r\n", "x".repeat(70_000));
    for (request, status, text) in [
        (format!("GET / HTTP/1.1\r\nhost: a\r\naccept: text/html\r\n{many}\r\n"), 431, "64 KiB in total, and there may be at most 96"),
        (format!("GET / HTTP/1.1\r\nhost: a\r\naccept: text/html\r\n{large}\r\n"), 431, "64 KiB in total, and there may be at most 96"),
        ("GET / HTTP/1.1\r\naccept: text/html\r\n\r\n".into(), 400, "It has no Host header."),
        ("GET / HTTP/2.0\r\nhost: a\r\naccept: text/html\r\n\r\n".into(), 400, "cannot be read as HTTP/1.1"),
        (
            "POST / HTTP/1.1\r\nhost: localhost\r\naccept: text/html\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".into(),
            400,
            "the size of a chunk is not valid",
        ),
    ] {
        // Alone, and as a later request on a connection.
        for before in ["", "GET /__devhost/client.js HTTP/1.1\r\nhost: localhost\r\n\r\n"] {
            let mut browser = site.connect().await;
            browser.send(format!("{before}{request}")).await;
            if !before.is_empty() {
                assert_eq!(browser.response().await.0.status, 200);
            }
            let (head, body) = browser.response().await;
            assert_eq!((head.status, head.get("connection")), (status, Some("close")), "{body}");
            assert!(body.contains(text) && body.starts_with("<!DOCTYPE html>"), "{body}");
            assert_eq!(browser.rest().await, b"");
        }
    }
}

#[actix_web::test]
async fn every_head_of_a_connection_has_a_time_limit() {
    let (site, _worker) = Site::start_serving();
    let mut first = site.connect().await;
    first.send("GET / HT").await;
    let mut second = site.get("/__devhost/client.js", "").await;
    second.response().await;
    second.send("GET / HTTP/1.1\r\nhost: localhost\r\naccept: text/html\r\nx").await;
    for browser in [&mut first, &mut second] {
        let (head, body) = browser.response().await;
        assert_eq!((head.status, head.get("connection")), (408, Some("close")));
        assert!(body.contains("must arrive within 10 s."), "{body}");
        assert_eq!(browser.rest().await, b"");
    }
}
