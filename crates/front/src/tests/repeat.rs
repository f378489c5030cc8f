//! How often a request reaches the app: at most once, unless its method is idempotent. And where it goes if
//! its worker dies.

use std::os::fd::AsRawFd;

use nix::libc;
use tokio::net::TcpListener;

use super::*;
use crate::upstream::SocketClient;
use devhost_link::{Client, LinkFds, WorkerEvent, WorkerLink};
use devhost_model::End;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn accept(listener: &TcpListener) -> Browser {
    Browser { stream: soon(listener.accept()).await.unwrap().0, input: Vec::new() }
}

/// Closes a connection by a reset, although all of it was read.
#[expect(clippy::needless_pass_by_value, reason = "it is closed by being dropped")]
fn reset(connection: Browser) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    nix::sys::socket::setsockopt(&connection.stream, nix::sys::socket::sockopt::Linger, &linger).unwrap();
    assert!(connection.stream.as_raw_fd() >= 0);
}

/// Starts a front with an app, and returns them with their kept connection.
async fn with_kept_connection() -> (Site, TcpListener, SocketClient, Browser) {
    let site = Site::start();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let client = SocketClient::new(listener.local_addr().unwrap());
    site.swap_to(1, client.clone());
    let mut browser = site.get("/first", "").await;
    let mut connection = accept(&listener).await;
    connection.read_until(b"\r\n\r\n").await;
    connection.send(OK).await;
    assert_eq!(browser.response().await.1, "ok");
    let kept = async {
        while client.idle_count() == 0 {
            tokio::task::yield_now().await;
        }
    };
    soon(kept).await;
    (site, listener, client, connection)
}

async fn ask(site: &Site, method: &str) -> Browser {
    let mut browser = site.connect().await;
    browser.send(format!("{method} /order HTTP/1.1\r\nhost: localhost\r\naccept: text/html\r\n\r\n")).await;
    browser
}

#[actix_web::test]
async fn a_request_that_is_not_idempotent_is_sent_once_whatever_the_app_does_to_the_connection() {
    for method in ["POST", "PATCH", "PROPFIND", "post", "ORDER"] {
        let (site, listener, _client, kept) = with_kept_connection().await;
        let mut browser = ask(&site, method).await;
        // Not on the kept connection, which the app may be closing.
        let mut connection = accept(&listener).await;
        connection.read_until(b"\r\n\r\n").await;
        reset(connection);
        let (head, body) = browser.response().await;
        assert_eq!(head.status, 502, "{method}");
        assert!(body.contains("data-page=\"unanswered\""), "{method}: {body}");
        use futures_util::FutureExt;
        assert!(listener.accept().now_or_never().is_none(), "{method} was sent again");
        drop(kept);
    }
}

#[actix_web::test]
async fn an_idempotent_request_is_sent_once_more_after_a_reset_and_not_a_third_time() {
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        let (site, listener, _client, mut kept) = with_kept_connection().await;
        let mut browser = ask(&site, method).await;
        kept.read_until(b"\r\n\r\n").await;
        reset(kept);
        let mut connection = accept(&listener).await;
        connection.read_until(b"\r\n\r\n").await;
        reset(connection);
        assert_eq!(browser.head().await.status, 502, "{method}");
        use futures_util::FutureExt;
        assert!(listener.accept().now_or_never().is_none(), "{method} was sent a third time");
    }
}

#[actix_web::test]
async fn a_request_on_a_connection_that_died_unread_goes_to_the_next_worker() {
    let (site, listener, client, kept) = with_kept_connection().await;
    let mut browser = ask(&site, "GET").await;
    soon(kept.stream.readable()).await.unwrap();
    // As when its process is killed: unread bytes make the kernel reset, and nothing listens any more.
    drop((kept, listener));
    client.close();
    site.gate.current().unwrap().set_end(End::Signalled { signal: 9 });
    let mut changes = site.gate.changes();
    soon(changes.wait_for(|_| site.gate.current().is_none())).await.unwrap();
    let mut next = site.swap(2);
    next.next().await.answer(200, &[], "next").await;
    let (head, body) = browser.response().await;
    assert_eq!((head.get("x-devhost-generation"), body.as_str()), (Some("2"), "next"));
}

/// Starts a front with a link whose other end is the test's.
fn with_link() -> (Site, Client, WorkerLink) {
    let site = Site::start();
    let fds = LinkFds::create(1).unwrap();
    let client = Client::attach(&fds).unwrap();
    let worker = WorkerLink::attach(fds).unwrap();
    site.swap_to(1, client.clone());
    (site, client, worker)
}

/// Ends the worker's process, as far as the front can tell.
fn die(site: &Site, client: &Client) {
    let generation = site.gate.current().unwrap();
    client.close();
    generation.set_end(End::Signalled { signal: 9 });
}

/// Waits until a request is in a worker, by polling.
async fn until_entered(site: &Site, worker: u64) {
    let entered = async {
        while site.gate.visits(worker).finite == 0 {
            tokio::task::yield_now().await;
        }
    };
    soon(entered).await;
}

const REQUESTS: [&str; 3] = [
    "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n",
];

/// The rest of the last of them.
const LATER: &str = "3\r\ntwo\r\n0\r\n\r\n";

#[actix_web::test]
async fn a_request_that_was_never_taken_from_the_link_goes_to_the_next_worker_with_its_body() {
    for (index, request) in REQUESTS.into_iter().enumerate() {
        let (site, client, worker) = with_link();
        let mut browser = site.connect().await;
        browser.send(request).await;
        until_entered(&site, 1).await;
        drop(worker);
        die(&site, &client);
        let mut changes = site.gate.changes();
        soon(changes.wait_for(|_| site.gate.current().is_none())).await.unwrap();
        let mut next = site.swap(2);
        let mut exchange = next.next().await;
        if index == 2 {
            browser.send(LATER).await;
            assert_eq!(exchange.whole_body().await, b"onetwo");
        }
        exchange.answer(200, &[], "next").await;
        let (head, body) = browser.response().await;
        assert_eq!((head.get("x-devhost-generation"), body.as_str()), (Some("2"), "next"), "{request}");
    }
}

#[actix_web::test]
async fn a_request_that_a_dead_worker_had_read_is_told_as_a_crash() {
    for request in REQUESTS {
        let (site, client, worker) = with_link();
        let mut browser = site.connect().await;
        browser.send(request).await;
        let mut events = Vec::new();
        let read = async {
            while !events.iter().any(|event| matches!(event, WorkerEvent::Head { .. })) {
                worker.poll(&mut events).unwrap();
                tokio::task::yield_now().await;
            }
        };
        soon(read).await;
        drop(worker);
        die(&site, &client);
        let (head, body) = browser.response().await;
        assert_eq!(head.status, 502, "{request}");
        assert!(body.contains("SIGKILL"), "{request}: {body}");
    }
}

#[actix_web::test]
async fn a_request_is_not_tried_without_end() {
    let (site, client, worker) = with_link();
    let mut browser = site.connect().await;
    browser.send(REQUESTS[0]).await;
    let mut last = (client, worker);
    for number in 1.. {
        until_entered(&site, number).await;
        drop(last.1);
        die(&site, &last.0);
        let mut changes = site.gate.changes();
        let lost = changes.wait_for(|_| site.gate.current().is_none());
        tokio::select! {
            biased;
            head = browser.head() => {
                assert_eq!((head.status, number), (502, 8));
                break;
            }
            _ = soon(lost) => {}
        }
        let fds = LinkFds::create(number + 1).unwrap();
        last = (Client::attach(&fds).unwrap(), WorkerLink::attach(fds).unwrap());
        site.swap_to(number + 1, last.0.clone());
    }
}
