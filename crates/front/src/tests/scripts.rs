//! The live-reload script in pages.

use bytes::Bytes;

use super::*;
use crate::unpack::{Coding, tests::pack};

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

/// Returns the tag of an otherwise empty page.
fn tag() -> String {
    let page = expected("");
    let at = page.find("<script").unwrap();
    page[at..page.find("</script>").unwrap() + "</script>".len()].to_owned()
}

#[actix_web::test]
async fn the_simplest_page_gets_the_script() {
    let (site, mut worker) = Site::start_serving();
    for body in ["<h1>Hello, World!</h1>", "Hello", ""] {
        let length = body.len().to_string();
        let (_, got) = page(&site, &mut worker, &[("content-length", &length)], body).await;
        assert_eq!(got, format!("{}{body}", tag()));
    }
}

#[actix_web::test]
async fn a_page_without_a_type_gets_the_script_and_data_without_one_does_not() {
    let (site, mut worker) = Site::start_serving();
    for (body, expected) in [("<h1>Hello</h1>", tag() + "<h1>Hello</h1>"), ("{}", "{}".into())] {
        let mut browser = site.get("/", "sec-fetch-dest: document\r\n").await;
        worker.next().await.answer(200, &[], body).await;
        let (head, got) = browser.response().await;
        assert_eq!((got, head.get("content-type")), (expected, None));
    }
}

#[actix_web::test]
async fn an_error_without_a_body_becomes_a_page_that_reloads() {
    let (site, mut worker) = Site::start_serving();
    let mut browser = site.get("/", "accept: text/html\r\n").await;
    worker.next().await.respond(404, &[("content-length", "0")], true).await;
    let (head, body) = browser.response().await;
    assert_eq!((head.status, head.get("content-type")), (404, Some("text/html; charset=utf-8")));
    assert!(body.contains(&tag()) && body.contains("404 Not Found"), "{body}");
    let mut browser = site.get("/", "accept: */*\r\n").await;
    worker.next().await.respond(404, &[("content-length", "0")], true).await;
    let (head, body) = browser.response().await;
    assert_eq!((head.status, head.get("content-type"), body.as_str()), (404, None, ""));
}

#[actix_web::test]
async fn a_page_is_never_answered_by_a_copy_that_has_no_script() {
    let (site, mut worker) = Site::start_serving();
    let condition = "if-none-match: \"a\"\r\nif-modified-since: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
    let mut browser = site.get("/", &format!("sec-fetch-dest: document\r\n{condition}")).await;
    let exchange = worker.next().await;
    assert_eq!((exchange.header("if-none-match"), exchange.header("if-modified-since")), (None, None));
    exchange.answer(200, &[("content-type", "text/html")], PAGE).await;
    assert_eq!(browser.response().await.1, expected(""));
    let mut browser = site.get("/app.js", &format!("sec-fetch-dest: script\r\n{condition}")).await;
    let exchange = worker.next().await;
    assert_eq!(exchange.header("if-none-match").as_deref(), Some("\"a\""));
    assert!(exchange.header("if-modified-since").is_some());
    exchange.respond(304, &[("etag", "\"a\"")], true).await;
    assert_eq!(browser.head().await.status, 304);
}

#[actix_web::test]
async fn other_types_pass_byte_for_byte() {
    let (site, mut worker) = Site::start_serving();
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

#[actix_web::test]
async fn compressed_pages_are_unpacked() {
    let (site, mut worker) = Site::start_serving();
    let gzip = pack(PAGE.as_bytes(), Coding::Gzip).await;
    let brotli = pack(PAGE.as_bytes(), Coding::Brotli).await;
    let twice = pack(&brotli, Coding::Gzip).await;
    for (encoding, bytes) in [
        ("gzip", gzip.clone()),
        ("x-gzip", gzip),
        ("br", brotli),
        ("zstd", pack(PAGE.as_bytes(), Coding::Zstd).await),
        ("deflate", pack(PAGE.as_bytes(), Coding::Deflate).await),
        ("br, gzip", twice),
    ] {
        let length = bytes.len().to_string();
        let headers = [("content-encoding", encoding), ("content-length", &length)];
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
    let packed = pack(PAGE.as_bytes(), Coding::Gzip).await;
    for (header, bytes, ends) in [
        (("content-encoding", "gzip"), &b"no gzip at all"[..], false),
        (("content-encoding", "gzip"), &packed[..packed.len() - 1], true),
        // The app ends it in order, but too early.
        (("content-length", "9999"), PAGE.as_bytes(), true),
    ] {
        let mut browser = site.get("/", "accept: text/html\r\n").await;
        let exchange = worker.next().await;
        exchange.respond(200, &[("content-type", "text/html"), header], false).await;
        exchange.data(Bytes::copy_from_slice(bytes)).await;
        if ends {
            exchange.end().await;
        }
        browser.head().await;
        assert!(!browser.rest().await.ends_with(b"0\r\n\r\n"));
    }
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
    // The same policy at another address.
    let mut browser = site.get("/other", "accept: text/html\r\n").await;
    let closed = [
        ("content-type", "text/html"),
        ("content-security-policy", "default-src 'self'; connect-src 'none'"),
    ];
    worker.next().await.answer(200, &closed, PAGE).await;
    assert_eq!(browser.response().await.1, PAGE);
    let notices = site.notices.lock().unwrap();
    assert_eq!(notices.len(), 1);
    assert!(notices[0].contains("`connect-src 'self'`"), "{notices:?}");
    assert!(notices[0].contains("/page") && notices[0].contains("connect-src"), "{notices:?}");
}

#[actix_web::test]
async fn what_no_browser_loads_as_a_document_is_left_alone() {
    let (site, mut worker) = Site::start_serving();
    let length = PAGE.len().to_string();
    let headers = [("content-type", "text/html"), ("content-length", length.as_str())];
    let mut browser = site.connect().await;
    browser.send("HEAD / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    worker.next().await.respond(200, &headers, true).await;
    assert_eq!(browser.head().await.get("content-length"), Some(length.as_str()));
    for asked in [
        "sec-fetch-dest: empty\r\naccept: text/html\r\n",
        "accept: */*\r\n",
        "accept: text/html\r\nhx-request: true\r\n",
        "accept: text/html\r\nx-requested-with: XMLHttpRequest\r\n",
    ] {
        let mut browser = site.get("/", asked).await;
        worker.next().await.answer(200, &headers, PAGE).await;
        assert_eq!(browser.response().await.1, PAGE, "{asked}");
    }
}
