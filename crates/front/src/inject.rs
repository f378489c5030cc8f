//! Injects the live-reload script into documents as they stream through. Other methods, partial responses,
//! downloads and what scripts request pass unchanged. Only the tag is added; the policy is left alone. An
//! empty error gets a line of text, because the browser's own error page could not reload itself.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::http::{Method, StatusCode};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use maud::{DOCTYPE, Markup, html};

use super::body::{BodyError, ByteStream};
use super::context::PageContext;
use super::csp;
use super::headers::CheckedHead;
use super::html::{CLIENT_SCRIPT_PATH, script_tag_with};
use super::prolog::{Found, HELD_SIZE_MAX, Prolog};
use super::sniff;
use super::unpack::{Coding, codings, unpack};

/// Headers by which libraries mark their requests. Their responses go into a page that is already open.
const LIBRARY_HEADERS: [&str; 8] = [
    "x-requested-with",
    "hx-request",
    "turbo-frame",
    "x-up-version",
    "x-pjax",
    "x-alpine-request",
    "datastar-request",
    "x-inertia",
];

/// What to do with a response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Leave,
    /// It is a page, but its policy forbids the script, for this reason.
    Forbidden(String),
    Inject(Injection),
}

/// How to inject the script into a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Injection {
    tag: String,
    /// Replaces an empty page.
    if_empty: String,
    codings: Vec<Coding>,
    /// The response has no content type: it is a page if a browser takes it for one.
    sniffed: bool,
    is_empty: bool,
}

/// Returns true if a browser loads a document with this request. Browsers omit `sec-fetch-dest` over plain
/// HTTP from another machine.
pub(crate) fn is_for_document(request: &HttpRequest) -> bool {
    let headers = request.headers();
    // The methods of links and forms.
    matches!(*request.method(), Method::GET | Method::POST)
        && match headers.get("sec-fetch-dest") {
            Some(dest) => matches!(dest.as_bytes(), b"document" | b"iframe" | b"frame"),
            None => accepts_html(headers) && !LIBRARY_HEADERS.iter().any(|name| headers.contains_key(*name)),
        }
}

fn accepts_html(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|range| range.split(';').next())
        .any(|range| range.trim().eq_ignore_ascii_case("text/html"))
}

/// Decides what to do with the response to a request. `is_empty` says that it has no body.
pub(crate) fn judge(
    request: &HttpRequest,
    head: &CheckedHead,
    is_empty: bool,
    page: &PageContext<'_>,
) -> Verdict {
    if !is_for_document(request) || !is_shown(head) {
        return Verdict::Leave;
    }
    let sniffed = match content_type(&head.headers) {
        ContentType::Html => false,
        // An empty body has no type.
        ContentType::Unknown if is_empty => false,
        ContentType::Unknown if !head.headers.contains_key(header::X_CONTENT_TYPE_OPTIONS) => true,
        ContentType::Unknown | ContentType::Other => return Verdict::Leave,
    };
    let Some(codings) = codings(&head.headers) else { return Verdict::Leave };
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    match csp::judge(&head.headers, host, CLIENT_SCRIPT_PATH) {
        Ok(nonce) => {
            // Reloading the answer to a POST would send the request again.
            let method = (*request.method() != Method::GET).then_some("POST");
            let tag = script_tag_with(page, "app", nonce.as_deref(), method);
            let if_empty = describe_empty(head.status, &tag).into_string();
            Verdict::Inject(Injection { tag: tag.into_string(), if_empty, codings, sniffed, is_empty })
        }
        // Most likely not a page.
        Err(_) if sniffed => Verdict::Leave,
        Err(reason) => Verdict::Forbidden(reason),
    }
}

/// Renders the page for an empty response: nothing visible, unless the browser would show an error of its
/// own.
fn describe_empty(status: StatusCode, tag: &Markup) -> Markup {
    if !status.is_client_error() && !status.is_server_error() {
        return html! { (tag) };
    }
    html! {
        (DOCTYPE)
        meta name="color-scheme" content="light dark";
        title { (status) }
        (tag)
        p { (status) ": the app's response has no body." }
    }
}

impl Injection {
    /// Removes the headers that will no longer be true, and adds a missing type to an empty response.
    pub(crate) fn prepare(&self, headers: &mut HeaderMap) {
        headers.remove(header::CONTENT_ENCODING);
        if self.is_empty && !headers.contains_key(header::CONTENT_TYPE) {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        }
    }

    /// Returns the body with the script in it, not encoded.
    pub(crate) fn apply(self, body: ByteStream) -> ByteStream {
        let plain = if self.is_empty {
            futures_util::stream::empty().boxed_local()
        } else {
            unpack(body, &self.codings)
        };
        Injector::new(plain, self.tag, self.if_empty, self.sniffed).boxed_local()
    }
}

/// Returns true if a browser shows the response's body.
fn is_shown(head: &CheckedHead) -> bool {
    let bodiless = matches!(
        head.status,
        StatusCode::NO_CONTENT
            | StatusCode::RESET_CONTENT
            | StatusCode::NOT_MODIFIED
            | StatusCode::PARTIAL_CONTENT
    );
    let redirects = head.status.is_redirection() && head.headers.contains_key(header::LOCATION);
    let download = head
        .headers
        .get(header::CONTENT_DISPOSITION)
        .is_some_and(|value| value.as_bytes().to_ascii_lowercase().starts_with(b"attachment"));
    !bodiless && !redirects && !download
}

enum ContentType {
    /// HTML in an encoding with ASCII markup.
    Html,
    Unknown,
    Other,
}

fn content_type(headers: &HeaderMap) -> ContentType {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return ContentType::Unknown };
    let Ok(value) = value.to_str() else { return ContentType::Other };
    let mut parts = value.split(';').map(str::trim);
    let html = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("text/html"));
    let charset_fits = parts
        .filter_map(|parameter| parameter.split_once('='))
        .filter(|(name, _)| name.eq_ignore_ascii_case("charset"))
        .all(|(_, charset)| is_ascii_compatible(charset.trim_matches('"')));
    if html && charset_fits { ContentType::Html } else { ContentType::Other }
}

/// Returns true if ASCII bytes mean ASCII markup. That suffices: the search looks at tags only, and the added
/// tag is ASCII. In the multi-byte charsets of the web (Shift JIS, Big5, GB 18030 …) no trail byte is below
/// 0x30, or `<` or `>`.
fn is_ascii_compatible(charset: &str) -> bool {
    let charset = charset.to_ascii_lowercase();
    let incompatible = ["utf-16", "utf16", "utf-32", "utf32", "ucs-2", "unicode", "iso-10646", "iso-2022"];
    !incompatible.iter().any(|prefix| charset.starts_with(prefix))
        && !matches!(charset.as_str(), "csiso2022jp" | "csiso2022kr" | "csunicode" | "hz-gb-2312" | "utf-7")
}

struct Injector {
    input: ByteStream,
    tag: String,
    if_empty: String,
    search: Search,
    /// Bytes seen but not decided yet. Few, except while sniffing white space.
    held: BytesMut,
}

enum Search {
    /// A browser may or may not take it for HTML.
    Sniffing,
    /// The place of the script is still to come.
    Looking {
        prolog: Prolog,
        is_empty: bool,
    },
    Passing,
    Over,
}

impl Injector {
    fn new(input: ByteStream, tag: String, if_empty: String, sniffed: bool) -> Self {
        let search = if sniffed { Search::Sniffing } else { Search::looking() };
        Self { input, tag, if_empty, search, held: BytesMut::new() }
    }

    /// Takes a chunk and returns what can be passed on.
    fn pass(&mut self, chunk: Bytes) -> Bytes {
        if matches!(self.search, Search::Passing) {
            return chunk;
        }
        self.held.extend_from_slice(&chunk);
        if matches!(self.search, Search::Sniffing) {
            match sniff::is_html(&self.held) {
                None => return Bytes::new(),
                Some(true) => self.search = Search::looking(),
                Some(false) => self.search = Search::Passing,
            }
        }
        let Search::Looking { prolog, is_empty } = &mut self.search else {
            return self.held.split().freeze();
        };
        *is_empty &= self.held.is_empty();
        match prolog.advance(&self.held) {
            Found::NotYet(used) => {
                let out = self.held.split_to(used).freeze();
                debug_assert!(self.held.len() <= HELD_SIZE_MAX);
                out
            }
            Found::Nowhere => {
                self.search = Search::Passing;
                self.held.split().freeze()
            }
            Found::Place(at) => {
                let mut out = self.held.split_to(at);
                out.extend_from_slice(self.tag.as_bytes());
                out.unsplit(self.held.split());
                self.search = Search::Passing;
                out.freeze()
            }
        }
    }

    /// Returns what is left at the end.
    fn finish(&mut self) -> Bytes {
        let tag = match std::mem::replace(&mut self.search, Search::Over) {
            Search::Sniffing | Search::Looking { is_empty: true, .. } if self.held.is_empty() => {
                &self.if_empty
            }
            Search::Looking { prolog, .. } if prolog.is_between() => &self.tag,
            _ => "",
        };
        let mut out = BytesMut::from(tag);
        out.unsplit(self.held.split());
        out.freeze()
    }
}

impl Search {
    fn looking() -> Self {
        Self::Looking { prolog: Prolog::default(), is_empty: true }
    }
}

impl Stream for Injector {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if matches!(self.search, Search::Over) {
                return Poll::Ready(None);
            }
            let output = match ready!(self.input.poll_next_unpin(cx)) {
                Some(Ok(chunk)) => self.pass(chunk),
                Some(Err(error)) => {
                    self.search = Search::Over;
                    return Poll::Ready(Some(Err(error)));
                }
                None => self.finish(),
            };
            if !output.is_empty() {
                return Poll::Ready(Some(Ok(output)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};
    use actix_web::test::TestRequest;
    use futures_util::TryStreamExt;

    const TAG: &str = "<script></script>";

    const IF_EMPTY: &str = "<p>nothing</p>";

    async fn pass(pieces: &[&[u8]], sniffed: bool) -> Vec<u8> {
        let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let input = futures_util::stream::iter(pieces).boxed_local();
        let output = Injector::new(input, TAG.into(), IF_EMPTY.into(), sniffed);
        let chunks: Vec<Bytes> = output.try_collect().await.unwrap();
        chunks.concat()
    }

    async fn inject(pieces: &[&[u8]]) -> String {
        String::from_utf8(pass(pieces, false).await).unwrap()
    }

    #[tokio::test]
    async fn the_script_goes_to_the_start_of_the_page() {
        for (page, expected) in [
            ("<html><head><title>x</title></head></html>", "<html><head>|<title>x</title></head></html>"),
            ("<HEAD class=a>\n</HEAD>", "<HEAD class=a>|\n</HEAD>"),
            ("<html><body><p>x", "<html><body>|<p>x"),
            ("<!doctype html><title>x</title>", "<!doctype html>|<title>x</title>"),
            ("<!doctype html>text only", "<!doctype html>|text only"),
            ("<html lang=en>", "<html lang=en>|"),
            ("<!-- <head> --><head></head><body></body>", "<!-- <head> --><head>|</head><body></body>"),
            ("<title>x</title><body>y", "|<title>x</title><body>y"),
            ("<!doctype html><header>x", "<!doctype html>|<header>x"),
        ] {
            let expected = expected.replace('|', TAG);
            assert_eq!(inject(&[page.as_bytes()]).await, expected);
            let bytes: Vec<&[u8]> = page.as_bytes().chunks(1).collect();
            assert_eq!(inject(&bytes).await, expected, "byte by byte");
        }
    }

    #[tokio::test]
    async fn a_document_needs_no_tags_of_its_own() {
        for (page, expected) in [
            ("<h1>Hello, World!</h1>", "|<h1>Hello, World!</h1>"),
            ("Hello", "|Hello"),
            ("\n<!-- a --> <li>a</li><li>b", "\n<!-- a --> |<li>a</li><li>b"),
            ("<a b='c\"d' e=f>\r\n\t</a >", "|<a b='c\"d' e=f>\r\n\t</a >"),
            ("<!doctype html>", "<!doctype html>|"),
            ("<bo", "|<bo"),
            (" \n", " \n|"),
            ("<!-- unfinished", "<!-- unfinished"),
            ("", IF_EMPTY),
        ] {
            let expected = expected.replace('|', TAG);
            assert_eq!(inject(&[page.as_bytes()]).await, expected);
            let bytes: Vec<&[u8]> = page.as_bytes().chunks(1).collect();
            assert_eq!(inject(&bytes).await, expected, "byte by byte");
        }
    }

    #[tokio::test]
    async fn bytes_of_any_encoding_pass_as_they_are() {
        // Latin-1, and Shift JIS whose trail bytes look like ASCII letters.
        for page in [&b"\xe0 propos <b>d\xe9j\xe0"[..], b"\x83\x7b\x83\x5c<p>"] {
            assert_eq!(pass(&[page], false).await, [TAG.as_bytes(), page].concat());
        }
        let utf16 = b"\xff\xfe<\0h\x001\0>\0";
        assert_eq!(pass(&[&utf16[..1], &utf16[1..]], false).await, utf16);
        let marked = [&b"\xef\xbb\xbf<!doctype html>"[..], TAG.as_bytes(), b"x"].concat();
        assert_eq!(pass(&[b"\xef", b"\xbb\xbf<!doctype html>x"], false).await, marked);
    }

    #[tokio::test]
    async fn a_response_of_no_type_gets_the_script_if_a_browser_takes_it_for_a_page() {
        for (body, expected) in [
            ("<h1>Hello</h1>", "|<h1>Hello</h1>"),
            ("  <!doctype html><p>x", "  <!doctype html>|<p>x"),
            ("{\"a\": \"<h1>\"}", "{\"a\": \"<h1>\"}"),
            ("<h", "<h"),
            ("Hello <b>you</b>", "Hello <b>you</b>"),
            ("", IF_EMPTY),
        ] {
            let expected = expected.replace('|', TAG);
            let bytes: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
            for pieces in [&bytes[..], &[body.as_bytes()]] {
                assert_eq!(String::from_utf8(pass(pieces, true).await).unwrap(), expected);
            }
        }
    }

    #[tokio::test]
    async fn bytes_are_not_held_back() {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
        let input = futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|chunk| (Ok(chunk), receiver))
        });
        let mut output = Injector::new(input.boxed_local(), TAG.into(), String::new(), false);
        for (piece, expected) in [
            ("<!doctype html>", "<!doctype html>"),
            ("<html>\n<he", "<html>\n"),
            ("ad><p>one", "<head><script></script><p>one"),
            ("<p>tw", "<p>tw"),
            ("o<unfinished", "o<unfinished"),
        ] {
            sender.send(Bytes::from(piece)).unwrap();
            assert_eq!(output.next().await.unwrap().unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn tags_and_comments_of_any_length_get_the_script() {
        let long = "x".repeat(1024 * 1024);
        for (before, after) in [
            (String::new(), format!("<img src='{long}'>")),
            (format!("<!-- {long} -->"), "<p>".to_owned()),
            (format!("<html class='{long}'>"), "<p>".to_owned()),
        ] {
            let page = format!("{before}{after}");
            let pieces: Vec<&[u8]> = page.as_bytes().chunks(16 * 1024).collect();
            assert!(inject(&pieces).await == format!("{before}{TAG}{after}"));
        }
    }

    fn verdict(request: TestRequest, status: u16, headers: &[(&'static str, &str)]) -> Verdict {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect();
        let head =
            CheckedHead { status: StatusCode::from_u16(status).unwrap(), headers, body_length: Some(1) };
        let page = PageContext { app: "a", session: "s", generation: 7, revision: 2 };
        judge(&request.to_http_request(), &head, false, &page)
    }

    const HTML: (&str, &str) = ("content-type", "text/html; charset=utf-8");

    const NAVIGATION: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");

    /// A page load without `sec-fetch-dest`.
    fn load() -> TestRequest {
        TestRequest::get().insert_header(NAVIGATION)
    }

    #[test]
    fn pages_get_the_script() {
        let fetch = |dest: &'static str| TestRequest::get().insert_header(("sec-fetch-dest", dest));
        for (request, status, headers) in [
            (load(), 200, vec![HTML]),
            (load(), 404, vec![HTML]),
            (load(), 500, vec![HTML]),
            (TestRequest::get().insert_header(("accept", "*/*, TEXT/HTML;q=0.1")), 200, vec![HTML]),
            (fetch("document"), 200, vec![("content-type", "TEXT/HTML")]),
            (fetch("iframe"), 200, vec![HTML]),
            (fetch("frame"), 200, vec![HTML]),
            (load(), 200, vec![HTML, ("content-encoding", "GZip")]),
            (load(), 200, vec![("content-type", "text/html;charset=\"Shift_JIS\"")]),
            (load(), 200, vec![]),
            (load(), 300, vec![HTML]),
        ] {
            let verdict = verdict(request, status, &headers);
            let Verdict::Inject(injection) = verdict else { panic!("{headers:?}: {verdict:?}") };
            assert!(
                injection
                    .tag
                    .contains("data-generation=\"7\" data-revision=\"2\" data-page=\"app\"></script>")
            );
        }
    }

    #[test]
    fn a_page_that_a_form_was_sent_to_knows_it() {
        let Verdict::Inject(injection) = verdict(load().method(Method::POST), 422, &[HTML]) else { panic!() };
        assert!(injection.tag.contains(" data-method=\"POST\"></script>"), "{}", injection.tag);
    }

    #[test]
    fn what_is_no_page_is_left_alone() {
        let get = TestRequest::get;
        for (request, status, headers) in [
            (load().method(Method::HEAD), 200, vec![HTML]),
            (load().method(Method::PUT), 200, vec![HTML]),
            (get(), 200, vec![HTML]),
            (get().insert_header(("accept", "*/*")), 200, vec![HTML]),
            (load().insert_header(("sec-fetch-dest", "empty")), 200, vec![HTML]),
            (load().insert_header(("sec-fetch-dest", "image")), 200, vec![HTML]),
            (load().insert_header(("x-requested-with", "XMLHttpRequest")), 200, vec![HTML]),
            (load().insert_header(("hx-request", "true")), 200, vec![HTML]),
            (load(), 204, vec![HTML]),
            (load(), 205, vec![HTML]),
            (load(), 206, vec![HTML]),
            (load(), 303, vec![HTML, ("location", "/")]),
            (load(), 304, vec![HTML]),
            (load(), 200, vec![("x-content-type-options", "nosniff")]),
            (load(), 200, vec![("content-type", "text/html-x")]),
            (load(), 200, vec![("content-type", "application/json")]),
            (load(), 200, vec![("content-type", "text/html; charset=UTF-16LE")]),
            (load(), 200, vec![HTML, ("content-encoding", "gzip, rot13")]),
            (load(), 200, vec![HTML, ("content-encoding", "compress")]),
            (load(), 200, vec![HTML, ("content-disposition", "attachment; filename=a.html")]),
        ] {
            assert_eq!(verdict(request, status, &headers), Verdict::Leave, "{status} {headers:?}");
        }
    }

    #[test]
    fn a_policy_decides() {
        let strict = ("content-security-policy", "script-src 'nonce-abc' 'strict-dynamic'");
        let Verdict::Inject(injection) = verdict(load(), 200, &[HTML, strict]) else { panic!() };
        assert!(injection.tag.ends_with(" nonce=\"abc\"></script>"));
        let closed = ("content-security-policy", "default-src 'none'");
        assert!(matches!(verdict(load(), 200, &[HTML, closed]), Verdict::Forbidden(_)));
        assert_eq!(verdict(load(), 200, &[closed]), Verdict::Leave, "it may be no page");
    }

    #[test]
    fn an_error_without_a_page_gets_one() {
        let empty = |status: u16, headers: &[(&'static str, &'static str)]| {
            let headers = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            let status = StatusCode::from_u16(status).unwrap();
            let mut head = CheckedHead { status, headers, body_length: Some(0) };
            let page = PageContext { app: "a", session: "s", generation: 7, revision: 2 };
            let Verdict::Inject(injection) = judge(&load().to_http_request(), &head, true, &page) else {
                panic!("{status}");
            };
            injection.prepare(&mut head.headers);
            let content_type = head.headers.get(header::CONTENT_TYPE).unwrap().to_str().unwrap().to_owned();
            (injection.if_empty, content_type)
        };
        let (page, content_type) = empty(404, &[]);
        assert!(page.contains("404 Not Found") && page.contains("data-page=\"app\""), "{page}");
        assert_eq!(content_type, "text/html; charset=utf-8");
        let (page, content_type) = empty(200, &[("content-type", "text/html")]);
        assert!(page.starts_with("<script ") && page.ends_with("</script>"), "{page}");
        assert_eq!(content_type, "text/html");
    }
}
