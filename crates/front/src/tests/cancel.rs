//! Clients that go away.

use super::*;

#[actix_web::test]
async fn a_client_that_leaves_while_it_waits_cancels_the_request() {
    let (site, mut worker) = Site::start_serving();
    let browser = site.get("/slow", "").await;
    let mut exchange = worker.next().await;
    drop(browser);
    exchange.cancelled().await;
    let mut changes = site.gate.changes();
    soon(changes.wait_for(|_| site.gate.visits(1).finite == 0)).await.unwrap();
}

#[actix_web::test]
async fn a_client_that_leaves_an_idle_stream_cancels_it() {
    let (site, mut worker) = Site::start_serving();
    let mut browser = site.get("/events", "").await;
    let mut exchange = worker.next().await;
    exchange.respond(200, &[("content-type", "text/event-stream")], false).await;
    exchange.data("data: 1\n\n").await;
    browser.read_until(b"data: 1\n\n").await;
    assert_eq!(site.gate.visits(1).endless, 1);
    drop(browser);
    exchange.cancelled().await;
    let mut changes = site.gate.changes();
    soon(changes.wait_for(|_| site.gate.visits(1).endless == 0)).await.unwrap();
}

#[actix_web::test]
async fn a_client_that_leaves_while_it_is_held_leaves_its_place() {
    let site = Site::start();
    let browser = site.get("/", "").await;
    drop(browser);
    // Only the second request waits when the generation comes.
    let mut second = site.get("/second", "").await;
    let mut worker = site.swap(1);
    loop {
        let mut exchange = worker.next().await;
        if exchange.head.target == "/second" {
            exchange.answer(200, &[], "x").await;
            break;
        }
        exchange.cancelled().await;
    }
    assert_eq!(second.response().await.0.status, 200);
}

#[actix_web::test]
async fn an_upload_that_breaks_off_is_noticed_though_the_app_does_not_read_it() {
    let (site, mut worker) = Site::start_serving();
    let mut browser = site.connect().await;
    browser.send("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000000\r\n\r\n").await;
    let mut exchange = worker.next().await;
    // Fills all buffers on the way, until the front has stopped reading.
    while tokio::time::timeout(Duration::from_millis(300), browser.stream.writable()).await.is_ok() {
        let _ = browser.stream.try_write(&vec![0; 65536]);
    }
    // A reset overtakes bytes in flight; an orderly end would queue behind them.
    browser.stream.set_zero_linger().unwrap();
    drop(browser);
    exchange.cancelled().await;
}

#[actix_web::test]
async fn an_upload_that_breaks_off_never_looks_whole() {
    let (site, mut worker) = Site::start_serving();
    for start in ["content-length: 10\r\n\r\nhalf", "transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"] {
        let mut browser = site.connect().await;
        browser.send(format!("POST / HTTP/1.1\r\nhost: localhost\r\n{start}")).await;
        let mut exchange = worker.next().await;
        assert_eq!(exchange.body_piece().await.unwrap(), "half");
        drop(browser);
        // `cancelled` fails if an end of the body arrives.
        exchange.cancelled().await;
    }
}

#[actix_web::test]
async fn a_malformed_chunk_ends_the_request() {
    let (site, mut worker) = Site::start_serving();
    let mut browser = site.connect().await;
    browser.send("POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n").await;
    let mut exchange = worker.next().await;
    exchange.cancelled().await;
    browser.rest().await;
}

#[actix_web::test]
async fn pipelined_bytes_are_no_reason_to_take_a_client_for_gone() {
    let (site, mut worker) = Site::start_serving();
    let mut browser = site.get("/1", "").await;
    let first = worker.next().await;
    browser.send("GET /2 HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    first.answer(200, &[], "1").await;
    assert_eq!(browser.response().await.1, "1");
    worker.next().await.answer(200, &[], "2").await;
    assert_eq!(browser.response().await.1, "2");
}
