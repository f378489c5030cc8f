//! Puts the live-reload script into HTML pages while they stream through. What is no page that a browser will
//! show (a fragment, a fetch, another method, a part) passes byte for byte. Only the tag is added: nothing
//! else of a page, and nothing of its policy, is touched.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_http::encoding::Decoder;
use actix_web::HttpRequest;
use actix_web::http::header::{self, ContentEncoding, HeaderMap};
use actix_web::http::{Method, StatusCode};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, TryStreamExt};
use lol_html::html_content::ContentType;
use lol_html::{HtmlRewriter, MemorySettings, Settings, doctype, element, end};

use super::body::{BodyError, ByteStream};
use super::csp;
use super::headers::CheckedHead;
use super::pages::PageContext;

/// The address of the script.
pub const CLIENT_SCRIPT_PATH: &str = "/__devhost/client.js";

/// How much of an unfinished tag is kept while a page streams; a page with a longer one passes as it is.
pub const REWRITER_SIZE_MAX: usize = 256 * 1024;

/// What is to be done with a response.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes as it is.
    Leave,
    /// It is a page, but its policy forbids the script: why.
    Forbidden(String),
    /// The script is put in.
    Inject(Injection),
}

/// How to put the script into a page.
#[derive(Debug, PartialEq, Eq)]
pub struct Injection {
    tag: String,
    encoding: ContentEncoding,
}

/// Tells what is to be done with the response to a request.
pub fn judge(request: &HttpRequest, head: &CheckedHead, page: &PageContext<'_>) -> Verdict {
    if request.method() != Method::GET || !wants_document(request.headers()) || !is_page(head) {
        return Verdict::Leave;
    }
    let Some(encoding) = content_encoding(&head.headers) else { return Verdict::Leave };
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    match csp::judge(&head.headers, host, CLIENT_SCRIPT_PATH) {
        Ok(nonce) => Verdict::Inject(Injection { tag: script_tag(page, "app", nonce.as_deref()), encoding }),
        Err(reason) => Verdict::Forbidden(reason),
    }
}

/// The tag that loads the script. `kind` tells the script what sort of page it is in.
pub fn script_tag(page: &PageContext<'_>, kind: &str, nonce: Option<&str>) -> String {
    let nonce = nonce.map(|nonce| format!(" nonce=\"{nonce}\"")).unwrap_or_default();
    format!(
        "<script src=\"{CLIENT_SCRIPT_PATH}\" async data-session=\"{}\" data-generation=\"{}\" \
         data-revision=\"{}\" data-page=\"{kind}\"{nonce}></script>",
        super::pages::escape(page.session),
        page.generation,
        page.revision,
    )
}

impl Injection {
    /// Takes the headers off that will not be true any more.
    pub fn prepare(&self, headers: &mut HeaderMap) {
        headers.remove(header::CONTENT_ENCODING);
    }

    /// The body with the script in it, in no content-encoding.
    pub fn apply(self, body: ByteStream) -> ByteStream {
        let plain = match self.encoding {
            ContentEncoding::Identity => body,
            encoding => {
                // actix's decoder knows its own error only; ours travels inside it and is taken out again.
                let input = body.map_err(|error| {
                    actix_web::error::PayloadError::Io(std::io::Error::other(error.to_string()))
                });
                Decoder::new(input, encoding).map_err(BodyError::Decode).boxed_local()
            }
        };
        Injector::new(plain, self.tag).boxed_local()
    }
}

fn wants_document(headers: &HeaderMap) -> bool {
    let document = match headers.get("sec-fetch-dest") {
        Some(dest) => matches!(dest.as_bytes(), b"document" | b"iframe" | b"frame"),
        None => true,
    };
    let ajax = headers
        .get("x-requested-with")
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"xmlhttprequest"));
    document && !ajax
}

fn is_page(head: &CheckedHead) -> bool {
    let bodiless = matches!(
        head.status,
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT
    );
    let download = head
        .headers
        .get(header::CONTENT_DISPOSITION)
        .is_some_and(|value| value.as_bytes().to_ascii_lowercase().starts_with(b"attachment"));
    let Some(content_type) = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let mut parts = content_type.split(';').map(str::trim);
    let html = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("text/html"));
    let charset_fits = parts
        .filter_map(|parameter| parameter.split_once('='))
        .filter(|(name, _)| name.eq_ignore_ascii_case("charset"))
        .all(|(_, charset)| is_ascii_compatible(charset.trim_matches('"')));
    !bodiless && !download && html && charset_fits
}

/// True where the bytes of ASCII markup mean markup. That is all the rewriter needs: it looks at tags only, and
/// the tag that it adds is ASCII. In the multi-byte charsets of the web (Shift_JIS, Big5, GB 18030 …) no second
/// byte is below 0x30, or `<` or `>`.
fn is_ascii_compatible(charset: &str) -> bool {
    let charset = charset.to_ascii_lowercase();
    let incompatible = ["utf-16", "utf16", "utf-32", "utf32", "ucs-2", "unicode", "iso-10646", "iso-2022"];
    !incompatible.iter().any(|prefix| charset.starts_with(prefix))
        && !matches!(charset.as_str(), "csiso2022jp" | "csiso2022kr" | "csunicode" | "hz-gb-2312" | "utf-7")
}

/// The one content-encoding of a response; `None` where the front cannot take it off.
fn content_encoding(headers: &HeaderMap) -> Option<ContentEncoding> {
    let mut values = headers.get_all(header::CONTENT_ENCODING);
    let Some(value) = values.next() else { return Some(ContentEncoding::Identity) };
    if values.next().is_some() {
        return None;
    }
    match value.to_str().ok()?.trim() {
        "" => Some(ContentEncoding::Identity),
        gzip if gzip.eq_ignore_ascii_case("x-gzip") => Some(ContentEncoding::Gzip),
        one => one.parse().ok(),
    }
}

/// What is known of a page so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Nothing that makes it more than a fragment.
    Nothing,
    /// A doctype or an html tag: it is a document, and the script goes before its first element.
    Document,
    /// The script is in.
    Script,
}

type Output = Rc<RefCell<BytesMut>>;

/// A stream of HTML with the script put in.
struct Injector {
    input: ByteStream,
    /// `None` once the script is in: the rest passes as it is.
    rewriter: Option<HtmlRewriter<'static, Sink>>,
    output: Output,
    seen: Rc<Cell<Seen>>,
    over: bool,
}

struct Sink(Output);

impl lol_html::OutputSink for Sink {
    fn handle_chunk(&mut self, chunk: &[u8]) {
        self.0.borrow_mut().extend_from_slice(chunk);
    }
}

impl Injector {
    fn new(input: ByteStream, tag: String) -> Self {
        let output = Output::default();
        let seen = Rc::new(Cell::new(Seen::Nothing));
        let rewriter = Some(build_rewriter(&tag, &seen, Sink(Rc::clone(&output))));
        Self { input, rewriter, output, seen, over: false }
    }

    fn write(&mut self, chunk: &[u8]) {
        let Some(rewriter) = &mut self.rewriter else { return };
        if rewriter.write(chunk).is_err() {
            // A tag beyond the limit. The rewriter has let go of all bytes unchanged.
            self.rewriter = None;
        } else if self.seen.get() == Seen::Script {
            self.finish();
        }
    }

    fn finish(&mut self) {
        if let Some(rewriter) = self.rewriter.take() {
            // As in `write`: on an error the bytes are out all the same.
            let _ = rewriter.end();
        }
    }

    fn take_output(&mut self) -> Option<Bytes> {
        let mut output = self.output.borrow_mut();
        (!output.is_empty()).then(|| output.split().freeze())
    }
}

fn build_rewriter(tag: &str, seen: &Rc<Cell<Seen>>, sink: Sink) -> HtmlRewriter<'static, Sink> {
    let memory = MemorySettings::new()
        .with_max_allowed_memory_usage(REWRITER_SIZE_MAX)
        .with_graceful_bail_out_on_memory_limit_exceeded(true);
    let settings = Settings::new().with_memory_settings(memory).with_strict(false);
    let on_doctype = {
        let seen = Rc::clone(seen);
        doctype!(move |_| {
            if seen.get() == Seen::Nothing {
                seen.set(Seen::Document);
            }
            Ok(())
        })
    };
    let on_element = {
        let (seen, tag) = (Rc::clone(seen), tag.to_owned());
        element!("*", move |element| {
            if seen.get() == Seen::Script {
                return Ok(());
            }
            match element.tag_name().as_str() {
                "html" => seen.set(Seen::Document),
                "head" | "body" => {
                    element.prepend(&tag, ContentType::Html);
                    seen.set(Seen::Script);
                }
                _ if seen.get() == Seen::Document => {
                    element.before(&tag, ContentType::Html);
                    seen.set(Seen::Script);
                }
                _ => {}
            }
            Ok(())
        })
    };
    let on_end = {
        let (seen, tag) = (Rc::clone(seen), tag.to_owned());
        end!(move |end| {
            if seen.get() == Seen::Document {
                end.append(&tag, ContentType::Html);
            }
            Ok(())
        })
    };
    HtmlRewriter::new(
        settings
            .append_document_content_handler(on_doctype)
            .append_document_content_handler(on_end)
            .append_element_content_handler(on_element),
        sink,
    )
}

impl Stream for Injector {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(output) = self.take_output() {
                return Poll::Ready(Some(Ok(output)));
            }
            if self.over {
                return Poll::Ready(None);
            }
            match ready!(self.input.poll_next_unpin(cx)) {
                Some(Ok(chunk)) if self.rewriter.is_none() => return Poll::Ready(Some(Ok(chunk))),
                Some(Ok(chunk)) => self.write(&chunk),
                Some(Err(error)) => {
                    self.over = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.over = true;
                    self.finish();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};
    use actix_web::test::TestRequest;

    const TAG: &str = "<script></script>";

    async fn inject(pieces: &[&[u8]]) -> String {
        let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let output = Injector::new(futures_util::stream::iter(pieces).boxed_local(), TAG.into());
        let chunks: Vec<Bytes> = output.try_collect().await.unwrap();
        String::from_utf8(chunks.concat()).unwrap()
    }

    #[tokio::test]
    async fn the_script_goes_to_the_start_of_the_page() {
        for (page, expected) in [
            ("<html><head><title>x</title></head></html>", "<html><head>|<title>x</title></head></html>"),
            ("<HEAD class=a>\n</HEAD>", "<HEAD class=a>|\n</HEAD>"),
            ("<html><body><p>x", "<html><body>|<p>x"),
            ("<!doctype html><title>x</title>", "<!doctype html>|<title>x</title>"),
            ("<!doctype html>text only", "<!doctype html>text only|"),
            ("<html lang=en>", "<html lang=en>|"),
            ("<!-- <head> --><head></head><body></body>", "<!-- <head> --><head>|</head><body></body>"),
            ("<title>x</title><body>y", "<title>x</title><body>|y"),
            ("<!doctype html><header>x", "<!doctype html>|<header>x"),
        ] {
            let expected = expected.replace('|', TAG);
            assert_eq!(inject(&[page.as_bytes()]).await, expected);
            let bytes: Vec<&[u8]> = page.as_bytes().chunks(1).collect();
            assert_eq!(inject(&bytes).await, expected, "byte by byte");
        }
    }

    #[tokio::test]
    async fn fragments_pass_byte_for_byte() {
        for fragment in [
            "",
            "<li>a</li><li>b",
            "text & <b",
            "<p>\u{e9}</p><header>",
            "<tr><td>1",
            "<a b='c\"d' e=f>\r\n\t</a >",
        ] {
            assert_eq!(inject(&[fragment.as_bytes()]).await, fragment);
        }
    }

    #[tokio::test]
    async fn bytes_are_not_held_back() {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
        let input = futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|chunk| (Ok(chunk), receiver))
        });
        let mut output = Injector::new(input.boxed_local(), TAG.into());
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
    async fn an_endless_tag_passes() {
        let page = format!("<html><a b='{}'>", "x".repeat(2 * REWRITER_SIZE_MAX));
        let pieces: Vec<&[u8]> = page.as_bytes().chunks(16 * 1024).collect();
        assert_eq!(inject(&pieces).await, page);
    }

    fn verdict(request: TestRequest, status: u16, headers: &[(&'static str, &str)]) -> Verdict {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect();
        let head =
            CheckedHead { status: StatusCode::from_u16(status).unwrap(), headers, body_length: Some(1) };
        let page = PageContext { app: "a", session: "s", generation: 7, revision: 2 };
        judge(&request.to_http_request(), &head, &page)
    }

    const HTML: (&str, &str) = ("content-type", "text/html; charset=utf-8");

    #[test]
    fn pages_get_the_script() {
        let get = TestRequest::get;
        let fetch = |dest: &'static str| get().insert_header(("sec-fetch-dest", dest));
        for (request, status, headers) in [
            (get(), 200, vec![HTML]),
            (get(), 404, vec![HTML]),
            (fetch("document"), 200, vec![("content-type", "TEXT/HTML")]),
            (fetch("iframe"), 200, vec![HTML]),
            (get(), 200, vec![HTML, ("content-encoding", "GZip")]),
            (get(), 200, vec![("content-type", "text/html;charset=\"Shift_JIS\"")]),
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
    fn what_is_no_page_is_left_alone() {
        let get = TestRequest::get;
        for (request, status, headers) in [
            (TestRequest::default().method(Method::HEAD), 200, vec![HTML]),
            (TestRequest::post(), 200, vec![HTML]),
            (get().insert_header(("sec-fetch-dest", "empty")), 200, vec![HTML]),
            (get().insert_header(("x-requested-with", "XMLHttpRequest")), 200, vec![HTML]),
            (get(), 204, vec![HTML]),
            (get(), 206, vec![HTML]),
            (get(), 304, vec![HTML]),
            (get(), 200, vec![]),
            (get(), 200, vec![("content-type", "text/html-x")]),
            (get(), 200, vec![("content-type", "application/json")]),
            (get(), 200, vec![("content-type", "text/html; charset=UTF-16LE")]),
            (get(), 200, vec![HTML, ("content-encoding", "gzip, br")]),
            (get(), 200, vec![HTML, ("content-encoding", "compress")]),
            (get(), 200, vec![HTML, ("content-disposition", "attachment; filename=a.html")]),
        ] {
            assert_eq!(verdict(request, status, &headers), Verdict::Leave, "{headers:?}");
        }
    }

    #[test]
    fn a_policy_decides() {
        let strict = ("content-security-policy", "script-src 'nonce-abc' 'strict-dynamic'");
        let Verdict::Inject(injection) = verdict(TestRequest::get(), 200, &[HTML, strict]) else { panic!() };
        assert!(injection.tag.ends_with(" nonce=\"abc\"></script>"));
        let closed = ("content-security-policy", "default-src 'none'");
        assert!(matches!(verdict(TestRequest::get(), 200, &[HTML, closed]), Verdict::Forbidden(_)));
    }
}
