//! Several requests in one segment: each is answered as if it had come alone.

use super::echo::{EchoApp, Way};
use super::*;

const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What follows a request on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Next,
    /// Nothing: the connection ends.
    End,
    /// A WebSocket that echoes.
    Tunnel,
}

struct RequestCase {
    name: &'static str,
    request: Vec<u8>,
    after: After,
}

fn kinds() -> Vec<RequestCase> {
    let kind = |name, request: &str, after| RequestCase { name, request: request.as_bytes().to_vec(), after };
    let host = "host: localhost\r\n";
    let many: String = (0..crate::inbound::HEADERS_COUNT_MAX).map(|n| format!("x-{n}: 1\r\n")).collect();
    vec![
        kind("GET", &format!("GET /hello HTTP/1.1\r\n{host}\r\n"), After::Next),
        kind("HEAD", &format!("HEAD /hello HTTP/1.1\r\n{host}\r\n"), After::Next),
        kind("GET in chunks", &format!("GET /count HTTP/1.1\r\n{host}\r\n"), After::Next),
        kind("no content", &format!("GET /204 HTTP/1.1\r\n{host}\r\n"), After::Next),
        kind("not modified", &format!("GET /304 HTTP/1.1\r\n{host}\r\n"), After::Next),
        kind("raw UTF-8", &format!("GET /caf\u{e9} HTTP/1.1\r\n{host}\r\n"), After::Next),
        kind("POST", &format!("POST /count HTTP/1.1\r\n{host}content-length: 3\r\n\r\nabc"), After::Next),
        kind(
            "POST in chunks",
            &format!(
                "POST /count HTTP/1.1\r\n{host}transfer-encoding: chunked\r\n\r\n3;x\r\nGET\r\n1\r\n \r\n0\r\nx: 1\r\n\r\n"
            ),
            After::Next,
        ),
        kind(
            "expect",
            &format!("POST /count HTTP/1.1\r\n{host}expect: 100-continue\r\ncontent-length: 2\r\n\r\nab"),
            After::Next,
        ),
        kind("keep-alive", "GET /hello HTTP/1.0\r\nconnection: keep-alive\r\n\r\n", After::Next),
        kind("blank lines", &format!("\r\n\r\nGET /hello HTTP/1.1\r\n{host}\r\n"), After::Next),
        kind("HTTP/1.0", "GET /hello HTTP/1.0\r\n\r\n", After::End),
        kind(
            "HTTP/1.0 without a length",
            "GET /count HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
            After::End,
        ),
        kind("close", &format!("GET /hello HTTP/1.1\r\n{host}connection: close\r\n\r\n"), After::End),
        kind(
            "another upgrade",
            &format!("GET /hello HTTP/1.1\r\n{host}connection: upgrade\r\nupgrade: h2c\r\n\r\n"),
            After::End,
        ),
        kind(
            "false upgrade",
            &format!("GET /hello HTTP/1.1\r\n{host}upgrade: websocket\r\n\r\n"),
            After::End,
        ),
        kind("CONNECT", &format!("CONNECT a:1 HTTP/1.1\r\n{host}\r\n"), After::End),
        kind("garbage", "\0\u{1}garbage\r\n\r\n", After::End),
        kind("no Host", "GET /hello HTTP/1.1\r\n\r\n", After::End),
        kind("many headers", &format!("HEAD /hello HTTP/1.1\r\n{host}{many}\r\n"), After::End),
        kind(
            "bad chunk",
            &format!("POST /count HTTP/1.1\r\n{host}transfer-encoding: chunked\r\n\r\n1\r\na\r\nzz"),
            After::End,
        ),
        kind(
            "upgrade",
            &format!(
                "GET /ws HTTP/1.1\r\n{host}connection: upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            ),
            After::Tunnel,
        ),
    ]
}

fn serving(way: Way) -> (Site, EchoApp) {
    let site = Site::start();
    let app = EchoApp::start(way);
    site.swap_to(1, app.upstream.clone());
    (site, app)
}

/// Removes what may differ: dates, the order of headers, and interim responses.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace(std::str::from_utf8(INTERIM).unwrap(), "");
    let mut plain = String::new();
    let mut rest = text.as_str();
    while let Some(start) = rest.find("HTTP/1.") {
        let end = rest[start..].find("\r\n\r\n").map_or(rest.len(), |at| start + at);
        let mut lines: Vec<_> =
            rest[start..end].split("\r\n").filter(|line| !line.starts_with("date: ")).collect();
        lines[1..].sort_unstable();
        plain += &rest[..start];
        plain += &lines.join("\r\n");
        rest = &rest[end..];
    }
    plain + rest
}

/// Sends these pieces, giving the front time between them. Returns the answer up to its end, or as much as is
/// expected.
async fn exchange(site: &Site, pieces: &[&[u8]], expected: Option<&str>) -> String {
    let mut browser = site.connect().await;
    for (index, piece) in pieces.iter().enumerate() {
        if index > 0 {
            // Before it answers this, the front has dealt with the previous piece.
            site.get("/__devhost/client.js", "").await.response().await;
        }
        browser.send(piece).await;
    }
    loop {
        let so_far = plain(&browser.input);
        if expected.is_some_and(|expected| so_far.len() >= expected.len()) || !browser.fill().await {
            return so_far;
        }
    }
}

/// Returns the answer to a request alone.
async fn alone(site: &Site, kind: &RequestCase) -> String {
    let mut browser = site.connect().await;
    browser.send(&kind.request).await;
    match kind.after {
        After::End => plain(&browser.rest().await),
        After::Tunnel => {
            let mut whole = browser.read_until(b"\r\n\r\n").await;
            whole.extend(browser.read_exact(4).await);
            plain(&whole)
        }
        After::Next => {
            // A request that ends the connection shows where the first response ends.
            let end = "GET /204 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
            let mut before = plain(&browser.read_until(b"\r\n\r\n").await);
            if before.is_empty() {
                before = plain(&browser.read_until(b"\r\n\r\n").await);
            }
            browser.send(end).await;
            let rest = plain(&browser.rest().await);
            let at = rest.find("HTTP/1.1 204").unwrap();
            before + &rest[..at]
        }
    }
}

/// Returns the expected answer to a sequence.
fn expected(kinds: &[(&RequestCase, &String)]) -> String {
    let mut whole = String::new();
    for (index, (kind, answer)) in kinds.iter().enumerate() {
        whole += answer;
        match kind.after {
            After::Next => {}
            After::End => break,
            After::Tunnel => {
                let echoed: Vec<u8> =
                    kinds[index + 1..].iter().flat_map(|(kind, _)| kind.request.clone()).collect();
                return whole + &plain(&echoed);
            }
        }
    }
    whole
}

async fn check(site: &Site, sequence: &[(&RequestCase, &String)], cuts: &[usize]) {
    let whole: Vec<u8> = sequence.iter().flat_map(|(kind, _)| kind.request.clone()).collect();
    let mut pieces: Vec<&[u8]> = Vec::new();
    let mut from = 0;
    for cut in cuts.iter().copied().chain([whole.len()]) {
        pieces.push(&whole[from..cut]);
        from = cut;
    }
    let expected = expected(sequence);
    let ends = sequence.iter().any(|(kind, _)| kind.after == After::End)
        && !sequence
            .iter()
            .take_while(|(kind, _)| kind.after != After::End)
            .any(|(kind, _)| kind.after == After::Tunnel);
    let found = exchange(site, &pieces, (!ends).then_some(&expected)).await;
    let names: Vec<_> = sequence.iter().map(|(kind, _)| kind.name).collect();
    assert_eq!(found, expected, "{names:?} cut at {cuts:?}");
}

#[actix_web::test]
async fn each_of_several_requests_in_a_segment_is_answered_as_if_it_were_alone() {
    for way in [Way::Link, Way::Socket] {
        let (site, _app) = serving(way);
        let kinds = kinds();
        let mut answers = Vec::new();
        for kind in &kinds {
            answers.push(alone(&site, kind).await);
        }
        let all: Vec<(&RequestCase, &String)> = kinds.iter().zip(&answers).collect();
        for first in &all {
            for second in &all {
                check(&site, &[*first, *second], &[]).await;
            }
        }
        // Deeper, with each kind at each depth.
        for shift in 0..all.len() {
            let sequence: Vec<_> = (0..8).map(|depth| all[(shift + depth * 5) % all.len()]).collect();
            check(&site, &sequence, &[]).await;
        }
        let lasting: Vec<_> = all.iter().copied().filter(|(kind, _)| kind.after == After::Next).collect();
        let many: Vec<_> = lasting.iter().copied().cycle().take(60).collect();
        check(&site, &many, &[]).await;
    }
}

#[actix_web::test]
async fn requests_are_told_apart_wherever_the_segments_are_cut() {
    let (site, _app) = serving(Way::Link);
    let kinds = kinds();
    let mut answers = Vec::new();
    for kind in &kinds {
        answers.push(alone(&site, kind).await);
    }
    let all: Vec<(&RequestCase, &String)> = kinds.iter().zip(&answers).collect();
    for (index, kind) in all.iter().enumerate() {
        if kind.0.name == "many headers" {
            continue;
        }
        // Each is followed by another kind.
        let follower = all[(index * 7 + 1) % all.len()];
        for cut in 1..kind.0.request.len() + 4 {
            check(&site, &[*kind, follower], &[cut]).await;
        }
    }
}

#[actix_web::test]
async fn a_request_is_not_looked_at_before_the_one_before_is_answered() {
    let (site, mut worker) = Site::start_serving();
    let mut browser = site.get("/1", "").await;
    browser.send("HEAD /2 HTTP/1.0\r\n\r\nGET /3 HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let first = worker.next().await;
    first.respond(200, &[], false).await;
    let head = browser.head().await;
    assert_eq!((head.get("transfer-encoding"), head.get("connection")), (Some("chunked"), None));
    first.data("one").await;
    assert_eq!(browser.chunk().await.unwrap(), b"one");
    assert_eq!((site.gate.visits(1).finite, site.gate.visits(1).endless), (1, 0));
    first.end().await;
    assert_eq!(browser.chunk().await, None);
    let second = worker.next().await;
    assert_eq!((&second.head.target[..], &second.head.method[..]), (&b"/2"[..], &b"HEAD"[..]));
    second.respond(200, &[("content-length", "3")], true).await;
    assert!(String::from_utf8(browser.rest().await).unwrap().starts_with("HTTP/1.0 200"));
}

#[actix_web::test]
async fn what_follows_a_body_that_nobody_reads_is_answered_or_the_connection_ends() {
    for framing in [
        "transfer-encoding: chunked\r\n\r\n5\r\nstart\r\n0\r\n\r\n",
        "content-length: 5\r\n\r\nstart",
        "transfer-encoding: chunked\r\n\r\n5\r\nstart\r\n",
        "content-length: 100\r\n\r\nstart",
    ] {
        let (site, _app) = serving(Way::Link);
        let mut browser = site.connect().await;
        browser.send(format!("POST /early HTTP/1.1\r\nhost: localhost\r\n{framing}")).await;
        let (head, body) = browser.response().await;
        assert_eq!((head.status, body.as_str()), (413, "big"));
        let is_whole = framing.ends_with("0\r\n\r\n") || framing.contains(": 5");
        browser.send("HEAD /hello HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        // actix closes if it had the answer before it had read the whole body.
        if is_whole && head.get("connection").is_none() {
            assert_eq!(browser.head().await.get("content-length"), Some("5"));
        } else {
            assert_eq!((head.get("connection"), browser.rest().await), (Some("close"), Vec::new()));
        }
    }
}

#[actix_web::test]
async fn a_response_that_ends_with_its_connection_breaks_off_with_a_reset() {
    let (site, _app) = serving(Way::Link);
    let mut browser = site.connect().await;
    browser.send("POST /cut HTTP/1.0\r\ncontent-length: 1\r\n\r\n").await;
    browser.read_until(b"part").await;
    browser.send("x").await;
    let error = soon(browser.stream.read_buf(&mut browser.input)).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}
