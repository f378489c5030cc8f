//! What a client gets when the app cannot answer.

use super::*;
use devhost_link::StreamError;
use devhost_link::wire::{PanicReport, RESPONSE_PANIC};
use devhost_model::{Diagnostic, End, Failure, StopReason};

const HTML: &str = "accept: text/html,*/*;q=0.8\r\nsec-fetch-mode: navigate\r\n";

fn build_failure() -> Failure {
    let diagnostic = Diagnostic {
        level: "error".into(),
        message: "mismatched <types>".into(),
        code: Some("E0308".into()),
        file: Some("src/pages.rs".into()),
        line: Some(3),
        column: Some(9),
        rendered: "\u{1b}[31merror\u{1b}[0m: mismatched <types>".into(),
    };
    Failure::Build { diagnostics: vec![diagnostic].into(), output: String::new() }
}

#[actix_web::test]
async fn a_panic_is_a_page_with_message_location_and_backtrace() {
    let (site, mut worker) = Site::start_serving();
    let report = PanicReport {
        message: "<script>alert(1)</script>".into(),
        location: "src/pages.rs:12:5".into(),
        backtrace: "  3: app::boom\n       at ./src/pages.rs:12:5\n".into(),
    };
    let json = serde_json::to_string(&report).unwrap();
    for (accept, content_type, needle) in [
        (HTML, "text/html; charset=utf-8", "&lt;script&gt;alert(1)"),
        ("accept: application/json\r\n", "application/json", "\"location\":\"src/pages.rs:12:5\""),
        ("", "text/plain; charset=utf-8", "Request: GET /boom?x=%3Cb%3E"),
    ] {
        let mut browser = site.get("/boom?x=%3Cb%3E", accept).await;
        let exchange = worker.next().await;
        exchange.respond_flagged(RESPONSE_PANIC, 500, &[], false).await;
        let (start, end) = json.split_at(20);
        exchange.data(start.to_owned()).await;
        exchange.data(end.to_owned()).await;
        exchange.end().await;
        let (head, body) = browser.response().await;
        assert_eq!((head.status, head.get("content-type")), (500, Some(content_type)));
        assert_eq!(
            (head.get("cache-control"), head.get("x-devhost-generation")),
            (Some("no-store"), Some("1"))
        );
        assert!(body.contains(needle) && body.contains("src/pages.rs:12:5"), "{body}");
        if accept == HTML {
            assert_eq!(body.matches("<script").count(), 1);
            assert!(body.contains("<li class=\"app\">app::boom"));
        }
    }
}

#[actix_web::test]
async fn a_worker_that_dies_leaves_a_page_with_the_signal() {
    let (site, mut worker) = Site::start_serving();
    let mut browser = site.get("/segv", HTML).await;
    let exchange = worker.next().await;
    let generation = site.gate.current().unwrap();
    exchange.fail(StreamError::Lost).await;
    generation.set_end(End::Signalled { signal: 11 });
    let (head, body) = browser.response().await;
    assert_eq!((head.status, head.get("x-devhost-generation")), (502, Some("1")));
    assert!(body.contains("SIGSEGV") && body.contains("data-page=\"crash\""), "{body}");
}

#[actix_web::test]
async fn a_request_that_devhost_cuts_off_is_told_so_however_the_app_ends() {
    for (reason, says, kind) in [
        (StopReason::Replaced, "The new code has taken over", "cut_off"),
        (StopReason::Crowded, "changed several times", "cut_off"),
        (StopReason::Shutdown, "devhost is shutting down", "closed"),
    ] {
        let ends = [
            (StreamError::Lost, End::Signalled { signal: 15 }),
            (StreamError::Lost, End::Signalled { signal: 9 }),
            (StreamError::Lost, End::Exited { code: 0 }),
            (StreamError::Reset, End::Exited { code: 1 }),
        ];
        for (error, end) in ends {
            let (site, mut worker) = Site::start_serving();
            let mut browser = site.get("/slow", HTML).await;
            let exchange = worker.next().await;
            let generation = site.gate.current().unwrap();
            generation.set_stopping(reason);
            exchange.fail(error).await;
            generation.set_end(end);
            let (head, body) = browser.response().await;
            assert_eq!(head.status, 503, "{body}");
            assert!(body.contains(says) && body.contains(&format!("data-page=\"{kind}\"")), "{body}");
            assert!(!body.contains("SIG") && !body.contains("crash"), "{body}");
        }
    }
    // A fault of the app remains one.
    let (site, mut worker) = Site::start_serving();
    let mut browser = site.get("/slow", HTML).await;
    let exchange = worker.next().await;
    let generation = site.gate.current().unwrap();
    generation.set_stopping(StopReason::Replaced);
    generation.set_end(End::Signalled { signal: 11 });
    exchange.fail(StreamError::Lost).await;
    let (head, body) = browser.response().await;
    assert!(head.status == 502 && body.contains("SIGSEGV"), "{body}");
}

#[actix_web::test]
async fn a_worker_that_breaks_the_protocol_is_reported() {
    let (site, mut worker) = Site::start_serving();
    let mut browser = site.get("/", "").await;
    worker.next().await.fault("position out of <range>").await;
    let (head, body) = browser.response().await;
    assert_eq!(head.status, 502);
    assert!(body.contains("position out of <range>"), "{body}");
    let end = site.gate.current().unwrap().end().await;
    assert!(matches!(end, End::Fault { message } if message.contains("position out of <range>")));
}

#[actix_web::test]
async fn responses_that_are_none_become_pages() {
    let (site, mut worker) = Site::start_serving();
    let ask = async |head: Option<&'static [u8]>,
                     status: u16,
                     headers: &[(&str, &str)],
                     worker: &mut FakeWorker| {
        let mut browser = site.get("/", "").await;
        let exchange = worker.next().await;
        match head {
            Some(bytes) => exchange.respond_raw(bytes::Bytes::from_static(bytes), true).await,
            None => exchange.respond(status, headers, true).await,
        }
        let (head, body) = browser.response().await;
        (head.status, body)
    };
    assert_eq!(ask(Some(b"garbage"), 0, &[], &mut worker).await.0, 502);
    assert_eq!(ask(None, 101, &[], &mut worker).await.0, 502);
    let (status, body) = ask(None, 200, &[("a", "x\r\nset-cookie: evil")], &mut worker).await;
    assert!(status == 502 && body.contains("\"a\""), "{body}");
    let mut browser = site.get("/", "").await;
    worker.next().await.fail(StreamError::Reset).await;
    assert_eq!(browser.response().await.0.status, 502);
}

#[actix_web::test]
async fn a_failed_build_is_shown_in_the_form_that_was_asked_for() {
    let site = Site::start();
    site.gate.set_failure(Some(build_failure()));
    site.gate.release();
    for (accept, needle) in [
        (HTML, "mismatched &lt;types&gt;"),
        ("accept: application/json\r\n", "\"line\":3"),
        ("accept: */*\r\n", "error: mismatched <types>"),
    ] {
        let (head, body) = site.get("/", accept).await.response().await;
        assert_eq!(head.status, 500);
        assert!(body.contains(needle), "{body}");
    }
    // Once the code builds, the app is there.
    let mut worker = site.swap(1);
    let mut browser = site.get("/", HTML).await;
    worker.next().await.answer(200, &[], "app").await;
    assert_eq!(browser.response().await.1, "app");
}

#[actix_web::test]
async fn only_a_page_load_sees_that_the_first_build_is_running() {
    let site = Site::start();
    let (head, body) = site.get("/", HTML).await.response().await;
    assert_eq!((head.status, head.get("retry-after")), (503, Some("2")));
    assert!(body.contains("Building shop for the first time") && body.contains("data-devhost-progress"));
    let mut fetch = site.get("/api", "accept: */*\r\nsec-fetch-mode: cors\r\n").await;
    let mut curl = site.get("/curl", "").await;
    let mut worker = site.swap(1);
    for _ in 0..2 {
        worker.next().await.answer(200, &[], "app").await;
    }
    assert_eq!(fetch.response().await.1, "app");
    assert_eq!(curl.response().await.1, "app");
}

#[actix_web::test]
async fn a_closed_gate_turns_requests_away() {
    let site = Site::start();
    let mut held = site.get("/", "").await;
    site.gate.close();
    assert_eq!(held.response().await.0.status, 503);
}
