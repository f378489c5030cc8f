//! Host and origin checks, and the front's own endpoints.

use super::*;
use devhost_model::{BrowserEvent, Failure};

async fn status_of(site: &Site, request: &str) -> u16 {
    let mut browser = site.connect().await;
    browser.send(request).await;
    browser.head().await.status
}

#[actix_web::test]
async fn foreign_hosts_are_refused_everywhere() {
    let (site, mut worker) = Site::start_serving();
    for path in ["/", "/__devhost/status", "/__devhost/events"] {
        for upgrade in ["", "connection: upgrade\r\nupgrade: websocket\r\n"] {
            let request = format!("GET {path} HTTP/1.1\r\nhost: evil.test:80\r\n{upgrade}\r\n");
            assert_eq!(status_of(&site, &request).await, 403, "{path}");
        }
    }
    let mut browser = site.connect().await;
    browser.send("GET / HTTP/1.1\r\nhost: evil.test\r\n\r\n").await;
    let (head, body) = browser.response().await;
    assert_eq!(head.get("content-type"), Some("text/plain; charset=utf-8"));
    assert!(body.contains("\"evil.test\"") && body.contains("--allowed-host evil.test"), "{body}");
    assert_eq!(status_of(&site, "GET / HTTP/1.1\r\n\r\n").await, 400);
    assert_eq!(status_of(&site, "GET http://evil.test/ HTTP/1.1\r\nhost: localhost\r\n\r\n").await, 400);
    let mut browser = site.connect().await;
    browser.send("GET / HTTP/1.1\r\nhost: a.allowed.test\r\n\r\n").await;
    worker.next().await.answer(200, &[], "x").await;
    assert_eq!(browser.head().await.status, 200);
}

#[actix_web::test]
async fn own_endpoints_are_for_the_same_origin() {
    let site = Site::start();
    for path in ["/__devhost/status", "/__devhost/events", "/__devhost/client.js", "/__devhost/"] {
        let ask = async |headers: &str| {
            let mut browser = site.get(path, headers).await;
            let head = browser.head().await;
            assert!(head.headers.iter().all(|(name, _)| !name.starts_with("access-control-")));
            assert_eq!(head.get("cache-control"), Some("no-store"));
            assert_eq!(head.get("x-content-type-options"), Some("nosniff"));
            assert_eq!(head.get("cross-origin-resource-policy"), Some("same-origin"));
            let policy = head.get("content-security-policy");
            assert!(policy.is_none_or(|policy| policy.contains("frame-ancestors 'none'")), "{policy:?}");
            head.status
        };
        assert_eq!(ask("").await, 200);
        assert_eq!(ask("origin: http://localhost\r\nsec-fetch-site: same-origin\r\n").await, 200);
        assert_eq!(ask("origin: http://evil.test\r\n").await, 403);
        assert_eq!(ask("sec-fetch-site: cross-site\r\n").await, 403);
    }
    assert_eq!(
        status_of(&site, "POST /__devhost/status HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n")
            .await,
        405
    );
    assert_eq!(site.get("/__devhost/nothing", "").await.head().await.status, 404);
}

#[actix_web::test]
async fn the_status_is_json_and_a_page() {
    let site = Site::start();
    site.status.update(|status| status.generation = 7);
    let (head, body) = site.get("/__devhost/status", "").await.response().await;
    assert_eq!(head.get("content-type"), Some("application/json"));
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&json["app"], &json["generation"], &json["state"]),
        (&"shop".into(), &7.into(), &"starting".into())
    );
    let (_, body) = site.get("/__devhost/", "").await.response().await;
    assert!(body.contains("Generation 7") && body.contains("data-page=\"status\""));
}

#[actix_web::test]
async fn events_begin_with_hello_and_end_with_devhost() {
    let (site, _worker) = Site::start_serving();
    site.gate.set_failure(Some(Failure::start("no", "")));
    let mut browser = site.get("/__devhost/events", "").await;
    let head = browser.head().await;
    assert_eq!(head.get("content-type"), Some("text/event-stream"));
    let hello = String::from_utf8(browser.chunk().await.unwrap()).unwrap();
    let json: serde_json::Value =
        serde_json::from_str(hello.lines().nth(1).unwrap().strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(
        (&json["type"], &json["session"], &json["generation"]),
        (&"hello".into(), &"session-1".into(), &1.into())
    );
    assert_eq!(json["failure"]["kind"], "start");
    site.hub.send(BrowserEvent::Css { files: vec!["a.css".into()] });
    assert_eq!(browser.chunk().await.unwrap(), b"id: 1\ndata: {\"type\":\"css\",\"files\":[\"a.css\"]}\n\n");
    site.hub.close();
    assert_eq!(browser.chunk().await, None);
}

#[actix_web::test]
async fn a_page_that_leaves_is_no_listener_any_more() {
    let site = Site::start();
    let mut browser = site.get("/__devhost/events", "").await;
    browser.read_until(b"hello").await;
    assert_eq!(site.hub.listener_count(), 1);
    drop(browser);
    soon(async {
        while site.hub.listener_count() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
