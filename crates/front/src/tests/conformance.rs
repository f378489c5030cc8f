//! The same cases over the shared-memory link, over a socket, and against a hyper server without a front, as
//! the reference. However an app is reached, its clients must see no difference.
//!
//! The known differences. Requests gain `x-forwarded-*`, since the app sees the front's connection. `te` and
//! `trailer` are dropped, since actix reads and writes no trailers; the bodies are whole. `expect:
//! 100-continue` is up to the app, but a link does not tell when an app begins to read, so there the client
//! may go on after a moment. No other 1xx passes, for neither the ABI nor actix supports one. An upgrade to
//! anything but a WebSocket is an ordinary request, since actix takes what follows for the next one. A head
//! of more than 64 KiB gets the front's 431. A WebSocket or an event stream ends with its generation.

use super::echo::{EchoApp, Way};
use super::*;
use crate::slots::{ORDINARY_COUNT_MAX, Slots};
use devhost_model::End;

/// Through the front.
const WAYS: [Way; 2] = [Way::Link, Way::Socket];

/// Those, and without a front.
const ALL_WAYS: [Way; 3] = [Way::Link, Way::Socket, Way::Reference];

const UPGRADE: &str = "connection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Starts a front with the app behind it.
fn serving(way: Way) -> (Site, EchoApp) {
    let mut site = Site::start();
    let app = EchoApp::start(way);
    if way == Way::Reference {
        site.address = app.address.unwrap();
    } else {
        site.swap_to(1, app.upstream.clone());
    }
    (site, app)
}

async fn until_idle(site: &Site) {
    let mut changes = site.gate.changes();
    soon(changes.wait_for(|_| site.gate.visits(1) == crate::gate::Visits::default())).await.unwrap();
}

#[actix_web::test]
async fn requests_follow_each_other_on_one_connection() {
    for way in ALL_WAYS {
        let (site, _app) = serving(way);
        let mut browser = site.connect().await;
        for _ in 0..3 {
            browser.send("GET /hello HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
            let (head, body) = browser.response().await;
            assert_eq!(
                (head.status, head.get("content-length"), body.as_str()),
                (200, Some("5"), "hello"),
                "{way:?}"
            );
            browser.send("HEAD /hello HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
            assert_eq!(browser.head().await.get("content-length"), Some("5"), "{way:?}");
            for status in [204, 304] {
                browser.send(format!("GET /{status} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
                let head = browser.head().await;
                assert_eq!((head.status, head.get("transfer-encoding")), (status, None), "{way:?}");
            }
            browser.send("GET /none HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
            assert_eq!(browser.response().await.0.status, 404, "{way:?}");
        }
        until_idle(&site).await;
    }
}

#[actix_web::test]
async fn the_app_sees_the_request_as_it_was_sent_and_who_sent_it() {
    for way in WAYS {
        let (site, _app) = serving(way);
        let mut browser = site.connect().await;
        browser
            .send(
                "OPTIONS /head HTTP/1.1\r\nHost: app.localhost:8\r\nX-A: 1\r\nx-a: 2\r\nte: trailers\r\n\r\n",
            )
            .await;
        let (_, body) = browser.response().await;
        let mut lines: Vec<&str> = body.lines().collect();
        lines.sort_unstable();
        let expected = [
            "OPTIONS /head",
            "host: app.localhost:8",
            "x-a: 1",
            "x-a: 2",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: app.localhost:8",
            "x-forwarded-proto: http",
        ];
        assert_eq!(lines, expected, "{way:?}");
    }
}

#[actix_web::test]
async fn request_bodies_arrive_whole_in_every_framing() {
    for way in ALL_WAYS {
        let (site, _app) = serving(way);
        let mut browser = site.connect().await;
        for (method, framing, count) in [
            ("POST", "content-length: 4\r\n\r\nfour", "4"),
            ("POST", "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "5"),
            ("POST", "content-length: 0\r\n\r\n", "0"),
            ("POST", "\r\n", "0"),
            ("GET", "content-length: 4\r\n\r\nfour", "4"),
            ("DELETE", "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "3"),
            ("GET", "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-trailer: 1\r\n\r\n", "3"),
        ] {
            browser.send(format!("{method} /count HTTP/1.1\r\nhost: localhost\r\n{framing}")).await;
            assert_eq!(browser.response().await.1, count, "{way:?} {method} {framing}");
        }
        const SIZE: usize = 3_000_000;
        browser
            .send(format!("PUT /count HTTP/1.1\r\nhost: localhost\r\ncontent-length: {SIZE}\r\n\r\n"))
            .await;
        browser.send(vec![b'u'; SIZE]).await;
        assert_eq!(browser.response().await.1, SIZE.to_string(), "{way:?}");
    }
}

#[actix_web::test]
async fn a_client_that_expects_100_continue_gets_it() {
    for way in ALL_WAYS {
        let (site, _app) = serving(way);
        let mut browser = site.connect().await;
        browser
            .send("POST /count HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
            .await;
        assert_eq!(browser.head().await.status, 100, "{way:?}");
        browser.send("ab").await;
        assert_eq!(browser.response().await.1, "2", "{way:?}");
    }
}

#[actix_web::test]
async fn an_app_may_refuse_a_body_before_it_is_sent() {
    for way in ALL_WAYS {
        let (site, _app) = serving(way);
        let mut browser = site.connect().await;
        let expect = "expect: 100-continue\r\ncontent-length: 100000\r\n\r\n";
        browser.send(format!("POST /refuse HTTP/1.1\r\nhost: localhost\r\n{expect}")).await;
        let mut head = browser.head().await;
        if way == Way::Link && head.status == 100 {
            // The app was slow.
            head = browser.head().await;
        }
        assert_eq!((head.status, browser.body(&head).await.as_str()), (413, "big"), "{way:?}");
        if way != Way::Reference {
            assert_eq!(head.get("connection"), Some("close"), "{way:?}");
            assert_eq!(browser.rest().await, b"", "{way:?}");
        }
    }
}

#[actix_web::test]
async fn nobody_is_asked_to_send_a_body_before_there_is_an_app() {
    for way in WAYS {
        let site = Site::start();
        let mut browser = site.connect().await;
        let expect = "expect: 100-continue\r\ncontent-length: 2\r\n\r\n";
        browser.send(format!("POST /count HTTP/1.1\r\nhost: localhost\r\n{expect}")).await;
        let mut other = site.get("/__devhost/status", "").await;
        assert_eq!(other.head().await.status, 200);
        let nothing = browser.stream.try_read(&mut [0; 1]).map_err(|error| error.kind());
        assert_eq!(nothing, Err(std::io::ErrorKind::WouldBlock), "{way:?}");
        let app = EchoApp::start(way);
        site.swap_to(1, app.upstream.clone());
        assert_eq!(browser.head().await.status, 100, "{way:?}");
        browser.send("ab").await;
        let (head, body) = browser.response().await;
        assert_eq!((head.get("connection"), body.as_str()), (None, "2"), "{way:?}");
    }
}

#[actix_web::test]
async fn a_body_that_is_there_is_not_asked_for() {
    for way in WAYS {
        let (site, _app) = serving(way);
        let mut browser = site.connect().await;
        for framing in
            ["content-length: 2\r\n\r\nab", "transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"]
        {
            browser
                .send(format!("POST /count HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n{framing}"))
                .await;
            let (head, body) = browser.response().await;
            assert_eq!((head.status, head.get("connection"), body.as_str()), (200, None, "2"), "{way:?}");
        }
    }
}

#[actix_web::test]
async fn an_app_behind_a_socket_sees_the_expectation() {
    let (site, _app) = serving(Way::Socket);
    let mut browser = site.connect().await;
    browser
        .send("POST /head HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\nx")
        .await;
    assert!(browser.response().await.1.contains("\nexpect: 100-continue\n"));
}

#[actix_web::test]
async fn both_bodies_stream_at_once() {
    for way in ALL_WAYS {
        let (site, _app) = serving(way);
        let mut browser = site.connect().await;
        browser.send("POST /echo HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n").await;
        assert_eq!(browser.head().await.status, 200, "{way:?}");
        for piece in ["one", "two", "three"] {
            browser.send(format!("{:x}\r\n{piece}\r\n", piece.len())).await;
            assert_eq!(browser.chunk().await.unwrap(), piece.as_bytes(), "{way:?}");
        }
        browser.send("0\r\n\r\n").await;
        assert_eq!(browser.chunk().await, None, "{way:?}");
        until_idle(&site).await;
    }
}

#[actix_web::test]
async fn a_slow_client_stops_the_app_and_a_gone_one_cancels_it() {
    for way in ALL_WAYS {
        let (site, mut app) = serving(way);
        let mut browser = site.get("/endless", "").await;
        app.says("stopped").await;
        browser.head().await;
        let reader = async { while browser.chunk().await.is_some() {} };
        tokio::select! {
            () = reader => panic!("it ended"),
            () = app.says("going on") => {}
        }
        drop(browser);
        app.says("cancelled").await;
        until_idle(&site).await;
    }
}

#[actix_web::test]
async fn a_client_that_leaves_while_it_waits_cancels_the_request() {
    for way in ALL_WAYS {
        let (site, mut app) = serving(way);
        let browser = site.get("/wait", "").await;
        app.says("waiting").await;
        drop(browser);
        app.says("cancelled").await;
        until_idle(&site).await;
    }
}

#[actix_web::test]
async fn an_upload_that_breaks_off_never_looks_whole() {
    for way in ALL_WAYS {
        let (site, mut app) = serving(way);
        for start in ["content-length: 10\r\n\r\nhalf", "transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"] {
            let mut browser = site.connect().await;
            browser.send(format!("POST /echo HTTP/1.1\r\nhost: localhost\r\n{start}")).await;
            browser.read_until(b"half").await;
            drop(browser);
            app.says("broken off").await;
        }
    }
}

#[actix_web::test]
async fn an_answer_before_the_end_of_the_request_arrives() {
    for way in ALL_WAYS {
        let (site, _app) = serving(way);
        let mut browser = site.connect().await;
        browser.send("POST /early HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\nstart").await;
        let (head, body) = browser.response().await;
        assert_eq!((head.status, body.as_str()), (413, "big"), "{way:?}");
    }
}

#[actix_web::test]
async fn a_response_that_breaks_off_breaks_the_connection() {
    for way in ALL_WAYS {
        let (site, _app) = serving(way);
        for path in ["/cut", "/cut-sized"] {
            let mut browser = site.connect().await;
            browser
                .send(format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n\r\n"))
                .await;
            browser.head().await;
            browser.read_until(b"part").await;
            browser.send("x").await;
            assert!(!browser.rest().await.ends_with(b"0\r\n\r\n"), "{way:?} {path}");
        }
        until_idle(&site).await;
    }
}

#[actix_web::test]
async fn large_heads_pass_and_those_beyond_the_limit_are_told_so() {
    for way in WAYS {
        let (site, _app) = serving(way);
        let mut browser = site.get("/head", &format!("x-big: {}\r\n", "x".repeat(50_000))).await;
        assert!(browser.response().await.1.len() > 50_000, "{way:?}");
        let mut browser = site.get("/head", &format!("x-big: {}\r\n", "x".repeat(80 * 1024))).await;
        assert_eq!(browser.response().await.0.status, 431, "{way:?}");
        let mut browser = site.get("/large-head", "").await;
        assert_eq!(browser.head().await.get("x-large").unwrap().len(), 40_000, "{way:?}");
    }
}

#[actix_web::test]
async fn an_upgrade_is_a_tunnel_from_then_on() {
    for way in ALL_WAYS {
        let (site, mut app) = serving(way);
        for ends_itself in [true, false] {
            let mut browser = site.get("/ws", UPGRADE).await;
            let head = browser.head().await;
            assert_eq!((head.status, head.get("x-ws")), (101, Some("1")), "{way:?}");
            assert_eq!(browser.read_exact(4).await, b"\x81\x02hi", "{way:?}");
            let raw = [0, 255, 13, 10, 13, 10, 1];
            for _ in 0..3 {
                browser.send(raw).await;
                assert_eq!(browser.read_exact(raw.len()).await, raw, "{way:?}");
            }
            if ends_itself {
                browser.send("bye").await;
                assert_eq!(browser.rest().await, b"", "{way:?}");
            } else {
                drop(browser);
                if way != Way::Link {
                    app.says("socket closed").await;
                }
            }
            until_idle(&site).await;
        }
    }
}

#[actix_web::test]
async fn an_upgrade_that_the_app_refuses_is_an_ordinary_answer() {
    for way in WAYS {
        let (site, _app) = serving(way);
        let mut browser = site.get("/hello", UPGRADE).await;
        let head = browser.head().await;
        assert_eq!((head.status, head.get("connection")), (200, Some("close")), "{way:?}");
        assert_eq!(browser.rest().await, b"hello", "{way:?}");
    }
}

#[actix_web::test]
async fn a_websocket_is_closed_with_its_generation() {
    for way in WAYS {
        let (site, _app) = serving(way);
        let mut browser = site.get("/ws", UPGRADE).await;
        browser.head().await;
        assert_eq!(browser.read_exact(4).await, b"\x81\x02hi", "{way:?}");
        site.gate.current().unwrap().close_streams();
        assert_eq!(browser.read_exact(4).await, b"\x88\x02\x03\xf4", "{way:?}");
        browser.send(b"\x88\x82\0\0\0\0\x03\xf4").await;
        assert_eq!(browser.rest().await, b"", "{way:?}");
        until_idle(&site).await;
    }
}

#[actix_web::test]
async fn requests_in_a_worker_that_dies_get_the_crash_page() {
    for way in WAYS {
        let (site, mut app) = serving(way);
        let mut browser = site.get("/wait", "accept: text/html\r\n").await;
        app.says("waiting").await;
        let generation = site.gate.current().unwrap();
        generation.set_end(End::Signalled { signal: 11 });
        generation.upstream.close();
        let (head, body) = browser.response().await;
        assert_eq!(head.status, 502, "{way:?}");
        assert!(body.contains("SIGSEGV") && body.contains("data-page=\"crash\""), "{way:?} {body}");
    }
}

#[actix_web::test]
async fn a_dead_generation_is_left_for_the_next_one() {
    for way in WAYS {
        let (site, app) = serving(way);
        app.upstream.close();
        soon(app.upstream.closed()).await;
        let mut browser = site.get("/hello", "").await;
        let mut changes = site.gate.changes();
        soon(changes.wait_for(|_| site.gate.current().is_none())).await.unwrap();
        let next = EchoApp::start(way);
        site.swap_to(2, next.upstream.clone());
        let (head, body) = browser.response().await;
        assert_eq!((head.get("x-devhost-generation"), body.as_str()), (Some("2"), "hello"), "{way:?}");
    }
}

#[actix_web::test]
async fn requests_that_are_sent_at_once_are_answered_in_order() {
    for way in ALL_WAYS {
        let (site, _app) = serving(way);
        let mut browser = site.connect().await;
        browser
            .send(
                "GET /hello HTTP/1.1\r\nhost: localhost\r\n\r\n\
                 POST /count HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\n\r\nabc\
                 GET /204 HTTP/1.1\r\nhost: localhost\r\n\r\n\
                 POST /count HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n\
                 GET /hello HTTP/1.1\r\nhost: localhost\r\n\r\n",
            )
            .await;
        for expected in ["hello", "3"] {
            assert_eq!(browser.response().await.1, expected, "{way:?}");
        }
        assert_eq!(browser.head().await.status, 204, "{way:?}");
        for expected in ["2", "hello"] {
            assert_eq!(browser.response().await.1, expected, "{way:?}");
        }
        until_idle(&site).await;
    }
}

#[actix_web::test]
async fn events_arrive_one_by_one_until_the_client_leaves() {
    for way in ALL_WAYS {
        let (site, mut app) = serving(way);
        let mut browser = site.get("/events", "accept: text/event-stream\r\n").await;
        let head = browser.head().await;
        assert_eq!(head.get("content-type"), Some("text/event-stream"), "{way:?}");
        let mut events = Vec::new();
        while events.len() < "data: 0\n\n".len() * 3 {
            events.extend(browser.chunk().await.expect("an event"));
        }
        assert_eq!(String::from_utf8(events).unwrap(), "data: 0\n\ndata: 1\n\ndata: 2\n\n", "{way:?}");
        drop(browser);
        app.says("cancelled").await;
        until_idle(&site).await;
    }
}

#[actix_web::test]
async fn an_event_stream_ends_with_its_generation() {
    for way in WAYS {
        let (site, mut app) = serving(way);
        let mut browser = site.get("/events", "").await;
        browser.head().await;
        browser.chunk().await.expect("an event");
        site.gate.current().unwrap().close_streams();
        while browser.chunk().await.is_some() {}
        app.says("cancelled").await;
        until_idle(&site).await;
    }
}

#[actix_web::test]
async fn websocket_frames_and_close_codes_pass_as_they_are() {
    // Masked with zeros: binary with a 16-bit length, a ping, text in two parts, and a close with code 4001.
    let mut binary = b"\x82\xfe\x01\x00\0\0\0\0".to_vec();
    binary.extend(0..=255_u8);
    let frames: [&[u8]; 5] = [
        &binary,
        b"\x89\x80\0\0\0\0",
        b"\x01\x82\0\0\0\0ab",
        b"\x80\x81\0\0\0\0c",
        b"\x88\x85\0\0\0\0\x0f\xa1end",
    ];
    for way in ALL_WAYS {
        let (site, _app) = serving(way);
        let mut browser = site.get("/ws", UPGRADE).await;
        browser.head().await;
        assert_eq!(browser.read_exact(4).await, b"\x81\x02hi", "{way:?}");
        for frame in frames {
            browser.send(frame).await;
            assert_eq!(browser.read_exact(frame.len()).await, frame, "{way:?}");
        }
        drop(browser);
        until_idle(&site).await;
    }
}

#[actix_web::test]
async fn a_connection_outlives_the_generation_that_it_began_with() {
    for way in WAYS {
        let (site, app) = serving(way);
        let mut apps = vec![app];
        let mut browser = site.connect().await;
        for generation in 1..=4 {
            if generation > 1 {
                let next = EchoApp::start(way);
                site.swap_to(generation, next.upstream.clone());
                apps.push(next);
            }
            for _ in 0..2 {
                browser.send("GET /hello HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
                let (head, body) = browser.response().await;
                let number = generation.to_string();
                assert_eq!(
                    (head.get("x-devhost-generation"), body.as_str()),
                    (Some(number.as_str()), "hello"),
                    "{way:?}"
                );
            }
        }
    }
}

#[actix_web::test]
async fn a_request_beyond_the_most_at_once_waits_its_turn() {
    for way in WAYS {
        let (site, mut app) = serving(way);
        let most = ORDINARY_COUNT_MAX;
        // Without long-lived slots none of these becomes long-lived.
        let generation = Backend::with_slots(1, 1, app.upstream.clone(), None, Slots::new(most, 0));
        site.gate.swap(vec![generation], true);
        let mut waiting = Vec::new();
        for _ in 0..most {
            waiting.push(site.get("/wait", "").await);
        }
        for _ in 0..most {
            app.says("waiting").await;
        }
        let mut late = site.get("/hello", "").await;
        soon(async {
            while site.gate.waiting_count() < 1 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        // The front lives, and the late request has had as much time as another one took.
        let mut other = site.get("/__devhost/status", "").await;
        assert_eq!(other.head().await.status, 200, "{way:?}");
        let nothing = late.stream.try_read(&mut [0; 1]).map_err(|error| error.kind());
        assert_eq!(nothing, Err(std::io::ErrorKind::WouldBlock), "{way:?}");
        drop(waiting.pop());
        assert_eq!(late.response().await.1, "hello", "{way:?}");
    }
}
