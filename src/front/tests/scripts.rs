//! The live-reload script in pages on their way.

use actix_http::encoding::Encoder;
use actix_http::{ContentEncoding, ResponseHead, StatusCode};
use bytes::Bytes;

use super::*;

const PAGE: &str = "<!doctype html><html><head><title>t</title></head><body>b</body></html>";

fn expected(nonce: &str) -> String {
    let tag = format!(
        "<script src=\"/__devhost/client.js\" async data-session=\"session-1\" data-generation=\"1\" \
         data-revision=\"0\" data-page=\"app\"{nonce}></script>"
    );
    PAGE.replace("<head>", &format!("<head>{tag}"))
}

#[actix_web::test]
async fn a_page_gets_the_script_and_loses_its_length() {
    let (site, mut worker) = Site::start_serving();
    let length = PAGE.len().to_string();
    let (head, body) = page(&site, &mut worker, &[("content-length", &length), ("x-app", "1")], PAGE).await;
    assert_eq!(body, expected(""));
    assert_eq!((head.get("content-length"), head.get("transfer-encoding")), (None, Some("chunked")));
    assert_eq!(head.get("x-app"), Some("1"));
}

#[actix_web::test]
async fn fragments_and_other_types_pass_byte_for_byte() {
    let (site, mut worker) = Site::start_serving();
    let (_, body) = page(&site, &mut worker, &[], "<li>one</li>").await;
    assert_eq!(body, "<li>one</li>");
    let mut browser = site.get("/data", "").await;
    let length = PAGE.len().to_string();
    worker
        .next()
        .await
        .answer(200, &[("content-type", "text/plain"), ("content-length", &length)], PAGE)
        .await;
    let (head, body) = browser.response().await;
    assert_eq!((body.as_str(), head.get("content-length")), (PAGE, Some(length.as_str())));
}

async fn compress(encoding: ContentEncoding) -> Bytes {
    let mut head = ResponseHead::new(StatusCode::OK);
    let body = Encoder::response(encoding, &mut head, PAGE.to_owned());
    actix_web::body::to_bytes(body).await.ok().unwrap()
}

#[actix_web::test]
async fn compressed_pages_are_unpacked() {
    let (site, mut worker) = Site::start_serving();
    for encoding in
        [ContentEncoding::Gzip, ContentEncoding::Brotli, ContentEncoding::Zstd, ContentEncoding::Deflate]
    {
        let bytes = compress(encoding).await;
        assert_ne!(bytes, PAGE);
        let length = bytes.len().to_string();
        let headers = [("content-encoding", encoding.as_str()), ("content-length", &length)];
        let (head, body) = page(&site, &mut worker, &headers, bytes).await;
        assert_eq!(body, expected(""), "{encoding:?}");
        assert_eq!((head.get("content-encoding"), head.get("content-length")), (None, None));
    }
    let (head, body) = page(&site, &mut worker, &[("content-encoding", "rot13")], PAGE).await;
    assert_eq!((body.as_str(), head.get("content-encoding")), (PAGE, Some("rot13")));
}

#[actix_web::test]
async fn a_page_that_does_not_unpack_breaks_the_connection() {
    let (site, mut worker) = Site::start_serving();
    let mut browser = site.get("/", "accept: text/html\r\n").await;
    let exchange = worker.next().await;
    exchange.respond(200, &[("content-type", "text/html"), ("content-encoding", "gzip")], false).await;
    exchange.data("no gzip at all").await;
    browser.head().await;
    assert!(!browser.rest().await.ends_with(b"0\r\n\r\n"));
}

#[actix_web::test]
async fn a_page_streams_through_as_it_comes() {
    let (site, mut worker) = Site::start_serving();
    let mut browser = site.get("/", "accept: text/html\r\n").await;
    let exchange = worker.next().await;
    exchange.respond(200, &[("content-type", "text/html")], false).await;
    browser.head().await;
    for piece in ["<html>", "<head>", "<p>one</p>", "<p>two"] {
        exchange.data(piece).await;
        assert!(String::from_utf8(browser.chunk().await.unwrap()).unwrap().contains(piece));
    }
    exchange.end().await;
    assert_eq!(browser.chunk().await, None);
}

#[actix_web::test]
async fn policies_are_respected_and_noticed_once() {
    let (site, mut worker) = Site::start_serving();
    let nonce = [("content-security-policy", "script-src 'nonce-abc123'")];
    let (head, body) = page(&site, &mut worker, &nonce, PAGE).await;
    assert_eq!(body, expected(" nonce=\"abc123\""));
    assert_eq!(head.get("content-security-policy"), Some("script-src 'nonce-abc123'"));
    assert!(site.notices.lock().unwrap().is_empty());
    for _ in 0..2 {
        let closed = [("content-security-policy", "default-src 'self'; connect-src 'none'")];
        let (_, body) = page(&site, &mut worker, &closed, PAGE).await;
        assert_eq!(body, PAGE);
    }
    let notices = site.notices.lock().unwrap();
    assert_eq!(notices.len(), 1);
    assert!(notices[0].contains("/page") && notices[0].contains("connect-src"), "{notices:?}");
}

#[actix_web::test]
async fn head_and_fetch_are_left_alone() {
    let (site, mut worker) = Site::start_serving();
    let length = PAGE.len().to_string();
    let headers = [("content-type", "text/html"), ("content-length", length.as_str())];
    let mut browser = site.connect().await;
    browser.send("HEAD / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    worker.next().await.respond(200, &headers, true).await;
    assert_eq!(browser.head().await.get("content-length"), Some(length.as_str()));
    let mut browser = site.get("/", "sec-fetch-dest: empty\r\n").await;
    worker.next().await.answer(200, &headers, PAGE).await;
    assert_eq!(browser.response().await.1, PAGE);
}
