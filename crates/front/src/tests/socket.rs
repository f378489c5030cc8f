//! What only a socket can do to the front: connections closed by the app, and responses written by hand. The
//! test plays the app byte by byte.

use tokio::net::TcpListener;

use super::*;
use crate::upstream::{RESPONSE_HEAD_SIZE_MAX, SocketClient};
use devhost_link::wire::HEADERS_COUNT_MAX;
use devhost_model::End;

/// An app played by the test, byte by byte.
struct RawApp {
    listener: TcpListener,
    client: SocketClient,
}

impl RawApp {
    async fn start(site: &Site, address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let client = SocketClient::new(listener.local_addr().unwrap());
        site.swap_to(1, client.clone());
        Self { listener, client }
    }

    async fn accept(&self) -> Browser {
        Browser { stream: soon(self.listener.accept()).await.unwrap().0, input: Vec::new() }
    }

    /// Waits until a connection is idle again.
    async fn until_kept(&self) {
        let kept = async {
            while self.client.idle_count() == 0 {
                tokio::task::yield_now().await;
            }
        };
        soon(kept).await;
    }

    /// Returns true if no unaccepted connection waits.
    fn is_left_alone(&self) -> bool {
        use futures_util::FutureExt;
        self.listener.accept().now_or_never().is_none()
    }
}

async fn serving() -> (Site, RawApp) {
    let site = Site::start();
    let app = RawApp::start(&site, "127.0.0.1:0").await;
    (site, app)
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Has one request answered on a fresh connection, which is then kept.
async fn kept(site: &Site, app: &RawApp) -> Browser {
    let mut browser = site.get("/first", "").await;
    let mut connection = app.accept().await;
    connection.read_until(b"\r\n\r\n").await;
    connection.send(OK).await;
    assert_eq!(browser.response().await.1, "ok");
    app.until_kept().await;
    connection
}

/// Returns what a browser gets if the app answers with these bytes and closes the connection.
async fn answer_raw(site: &Site, app: &RawApp, method: &str, answer: &str) -> (Head, Vec<u8>) {
    let mut browser = site.connect().await;
    browser
        .send(format!(
            "{method} / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        ))
        .await;
    let mut connection = app.accept().await;
    connection.read_until(b"\r\n\r\n").await;
    connection.send(answer).await;
    drop(connection);
    let head = browser.head().await;
    (head, browser.rest().await)
}

#[actix_web::test]
async fn a_connection_is_kept_for_the_next_request() {
    let (site, app) = serving().await;
    let mut connection = kept(&site, &app).await;
    let mut browser = site.get("/second", "").await;
    let head = connection.read_until(b"\r\n\r\n").await;
    assert!(head.starts_with(b"GET /second HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&head));
    connection.send(OK).await;
    assert_eq!(browser.response().await.1, "ok");
    assert!(app.is_left_alone());
}

#[actix_web::test]
async fn a_request_that_the_app_never_read_is_sent_again() {
    let (site, app) = serving().await;
    let connection = kept(&site, &app).await;
    let mut browser = site.get("/second", "").await;
    soon(connection.stream.readable()).await.unwrap();
    // The request is there, unread, so the kernel resets the connection, as for a request that comes too
    // late.
    drop(connection);
    let mut connection = app.accept().await;
    connection.read_until(b"\r\n\r\n").await;
    connection.send(OK).await;
    assert_eq!(browser.response().await.1, "ok");
}

#[actix_web::test]
async fn a_connection_that_the_app_has_closed_is_not_used() {
    let (site, app) = serving().await;
    drop(kept(&site, &app).await);
    let mut browser = site.get("/second", "").await;
    let mut connection = app.accept().await;
    connection.read_until(b"\r\n\r\n").await;
    connection.send(OK).await;
    assert_eq!(browser.response().await.1, "ok");
}

#[actix_web::test]
async fn a_request_that_the_app_read_and_dropped_is_a_page_and_not_sent_again() {
    let (site, app) = serving().await;
    let mut connection = kept(&site, &app).await;
    let mut browser = site.get("/panic", "accept: text/html\r\n").await;
    connection.read_until(b"\r\n\r\n").await;
    drop(connection);
    let (head, body) = browser.response().await;
    assert_eq!(head.status, 502);
    assert!(body.contains("data-page=\"unanswered\"") && body.contains("GET /panic"), "{body}");
    assert!(app.is_left_alone());
}

#[actix_web::test]
async fn a_request_with_a_body_gets_a_fresh_connection() {
    let (site, app) = serving().await;
    let mut first = kept(&site, &app).await;
    let mut browser = site.connect().await;
    browser.send("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\nhi").await;
    let mut connection = app.accept().await;
    connection.read_until(b"\r\n\r\nhi").await;
    connection.send(OK).await;
    assert_eq!(browser.response().await.1, "ok");
    // Kept connections are closed when nothing new will come.
    app.client.goaway();
    assert_eq!(first.rest().await, b"");
    assert_eq!(connection.rest().await, b"");
}

#[actix_web::test]
async fn a_response_that_ends_with_its_connection_is_whole() {
    let (site, app) = serving().await;
    for version in ["1.0", "1.1"] {
        let answer = format!("HTTP/{version} 200 OK\r\ncontent-type: text/plain\r\n\r\nto the end");
        let (head, body) = answer_raw(&site, &app, "GET", &answer).await;
        assert_eq!((head.status, head.get("transfer-encoding")), (200, Some("chunked")));
        let body = String::from_utf8(body).unwrap();
        assert!(body.contains("to the end") && body.ends_with("\r\n0\r\n\r\n"), "{body:?}");
    }
}

#[actix_web::test]
async fn interim_responses_and_trailers_are_passed_over() {
    let (site, app) = serving().await;
    let answer = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
                  HTTP/1.1 200 OK\r\ntrailer: x-t\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n\
                  2\r\nok\r\n0\r\nx-t: 1\r\n\r\n";
    let (head, body) = answer_raw(&site, &app, "GET", answer).await;
    assert_eq!((head.status, head.get("content-length"), head.get("link")), (200, None, None));
    assert_eq!(body, b"2\r\nok\r\n0\r\n\r\n");
}

#[actix_web::test]
async fn heads_beyond_the_limits_become_pages() {
    let (site, app) = serving().await;
    // hyper parses whatever it has read already, but cannot have read twice its limit.
    let large = format!("x-large: {}\r\n", "l".repeat(2 * RESPONSE_HEAD_SIZE_MAX));
    let many = "x-one: 1\r\n".repeat(HEADERS_COUNT_MAX + 1);
    for headers in [large, many] {
        let answer = format!("HTTP/1.1 200 OK\r\n{headers}\r\n");
        let (head, body) = answer_raw(&site, &app, "GET", &answer).await;
        let body = String::from_utf8(body).unwrap();
        assert_eq!(head.status, 502, "{body:.1000}");
        assert!(body.to_lowercase().contains("too large"), "{body:.3000}");
    }
}

#[actix_web::test]
async fn answers_that_are_no_http_become_pages() {
    let (site, app) = serving().await;
    for (answer, needle) in [
        ("SSH-2.0-OpenSSH\r\n\r\n", "it cannot be read as HTTP/1.1"),
        ("HTTP/1.1 200 OK\r\nbad header\r\n\r\n", "it cannot be read as HTTP/1.1"),
        ("HTTP/1.1 200 OK\r\ncontent-le", "ended within the response's head"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx", "HTTP/1.1"),
        // The alerts of rustls (a corrupt message) and of TLS before 1.2 (an unexpected one).
        ("\x15\x03\x03\0\x02\x02\x32", "it answers in TLS"),
        ("\x15\x03\x01\0\x02\x02\x0a", "it answers in TLS"),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", "the status 101"),
        ("", "closed the connection without an answer"),
    ] {
        let (head, body) = answer_raw(&site, &app, "GET", answer).await;
        let body = String::from_utf8(body).unwrap();
        assert_eq!(head.status, 502, "{answer:?} {body}");
        assert!(body.to_lowercase().contains(&needle.to_lowercase()), "{answer:?} {body}");
    }
}

#[actix_web::test]
async fn a_body_that_is_shorter_than_announced_breaks_the_connection() {
    let (site, app) = serving().await;
    let (_, body) = answer_raw(&site, &app, "GET", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\npart").await;
    assert_eq!(body, b"part");
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n";
    let (_, body) = answer_raw(&site, &app, "GET", answer).await;
    assert_eq!(body, b"4\r\npart\r\n");
}

#[actix_web::test]
async fn an_answer_from_an_app_that_hangs_up_on_the_upload_arrives() {
    let (site, app) = serving().await;
    let mut browser = site.connect().await;
    browser.send("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n").await;
    let mut connection = app.accept().await;
    connection.read_until(b"\r\n\r\n").await;
    browser.send(vec![b'x'; 100_000]).await;
    soon(connection.stream.readable()).await.unwrap();
    connection.send("HTTP/1.1 413 Payload Too Large\r\ncontent-length: 3\r\n\r\nbig").await;
    drop(connection);
    let (head, body) = browser.response().await;
    assert_eq!((head.status, body.as_str()), (413, "big"));
}

#[actix_web::test]
async fn a_request_on_a_connection_that_died_with_its_worker_gets_the_crash_page() {
    let (site, app) = serving().await;
    let mut browser = site.get("/exit", "accept: text/html\r\n").await;
    let mut connection = app.accept().await;
    connection.read_until(b"\r\n\r\n").await;
    drop(connection);
    // The news of the death comes after the end of the connection.
    let generation = site.gate.current().unwrap();
    generation.upstream.close();
    generation.set_end(End::Exited { code: 3 });
    let (head, body) = browser.response().await;
    assert_eq!(head.status, 502);
    assert!(body.contains("data-page=\"crash\"") && body.contains("exit with code 3"), "{body}");
}

#[actix_web::test]
async fn an_app_that_takes_no_connection_and_lives_is_told_of() {
    let (site, app) = serving().await;
    drop(app.listener);
    let (head, body) = site.get("/", "accept: text/html\r\n").await.response().await;
    assert_eq!(head.status, 502);
    assert!(body.contains("data-page=\"unreachable\"") && body.contains("refused"), "{body}");
}

#[actix_web::test]
async fn a_connection_that_is_refused_by_a_dead_worker_waits_for_the_next_generation() {
    let (site, app) = serving().await;
    drop(app.listener);
    let mut browser = site.get("/", "").await;
    // A moment later the front hears of it.
    site.gate.current().unwrap().upstream.close();
    let mut changes = site.gate.changes();
    soon(changes.wait_for(|_| site.gate.current().is_none())).await.unwrap();
    let mut next = site.swap(2);
    next.next().await.answer(200, &[], "next").await;
    assert_eq!(browser.response().await.1, "next");
}

#[actix_web::test]
async fn an_app_on_ipv6_is_reached() {
    let site = Site::start();
    let app = RawApp::start(&site, "[::1]:0").await;
    let (head, body) = answer_raw(&site, &app, "GET", OK).await;
    assert_eq!((head.status, body.as_slice()), (200, &b"ok"[..]));
}

#[actix_web::test]
async fn a_request_without_a_host_gets_one() {
    let (site, app) = serving().await;
    let mut browser = site.connect().await;
    browser.send("GET / HTTP/1.0\r\n\r\n").await;
    let mut connection = app.accept().await;
    let head = String::from_utf8(connection.read_until(b"\r\n\r\n").await).unwrap();
    assert!(head.starts_with("GET / HTTP/1.1\r\n") && head.contains("Host: localhost\r\n"), "{head}");
    connection.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await;
    let head = browser.head().await;
    assert_eq!(head.get("transfer-encoding"), None);
    assert_eq!(browser.rest().await, b"ok");
}

#[actix_web::test]
async fn held_requests_go_to_the_new_generation_and_old_ones_finish_where_they_are() {
    let (site, old) = serving().await;
    let mut first = site.get("/first", "").await;
    let mut in_flight = old.accept().await;
    in_flight.read_until(b"\r\n\r\n").await;
    site.gate.hold();
    let mut second = site.get("/second", "").await;
    let new = TcpListener::bind("127.0.0.1:0").await.unwrap();
    site.swap_to(2, SocketClient::new(new.local_addr().unwrap()));
    old.client.goaway();
    let mut connection = Browser { stream: soon(new.accept()).await.unwrap().0, input: Vec::new() };
    connection.read_until(b"\r\n\r\n").await;
    connection.send(OK).await;
    assert_eq!(second.response().await.0.get("x-devhost-generation"), Some("2"));
    in_flight.send(OK).await;
    assert_eq!(first.response().await.0.get("x-devhost-generation"), Some("1"));
    // It is not kept: nothing new will come.
    assert_eq!(in_flight.rest().await, b"");
}

#[actix_web::test]
async fn a_listener_that_comes_later_is_served_in_the_same_way() {
    let (site, mut worker) = Site::start_serving();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    site.server.listen(listener).unwrap();
    let mut browser = Browser { stream: TcpStream::connect(address).await.unwrap(), input: Vec::new() };
    browser.send("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    worker.next().await.answer(200, &[], "later").await;
    assert_eq!(browser.response().await.1, "later");
    // The first one still serves.
    let mut browser = site.get("/", "").await;
    worker.next().await.answer(200, &[], "first").await;
    assert_eq!(browser.response().await.1, "first");
    soon(site.server.stop(false)).await;
    assert!(TcpStream::connect(address).await.is_err() && TcpStream::connect(site.address).await.is_err());
}
