//! The head of a request: where it ends, how its body is framed, and whether it can be served. Anything
//! ambiguous is refused (RFC 9112 §6.3, §11.2).

use actix_web::http::{Method, Uri};
use bytes::{BufMut, Bytes, BytesMut};
use httparse::Status;

use devhost_link::HEAD_LENGTH_MAX_BYTES;

/// The largest head in bytes, from the request line to the empty line: the link's limit.
pub(crate) const HEAD_SIZE_MAX: usize = HEAD_LENGTH_MAX_BYTES;

/// The largest number of headers: actix-http's own limit.
pub(crate) const HEADERS_COUNT_MAX: usize = 96;

/// The longest target that actix-http parses, in bytes.
const TARGET_SIZE_MAX: usize = u16::MAX as usize - 1;

/// The result of a look at the start of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Examined {
    /// The beginning of a head.
    Partial,
    Whole(Head),
    /// Something that cannot be served.
    Refused(Refusal),
}

/// What is known of a head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Its size in the input, in bytes.
    pub size: usize,
    pub framing: BodyFraming,
    /// The connection ends with this request.
    pub is_last: bool,
    /// What actix gets instead, if it could not read the original or would act too soon.
    pub rewritten: Option<Bytes>,
    /// Path and query as the client sent them, if actix gets them in another form.
    pub target: Option<Bytes>,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// How a request's body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFraming {
    None,
    /// This many bytes, at least one.
    Length(u64),
    Chunked,
    /// Everything that follows on the connection: actix takes it for a WebSocket.
    Tunnel,
}

/// A request refused before actix sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub reason: RefusalReason,
    /// The request's `Accept` header, if known.
    pub accept: Option<Bytes>,
    /// It is a HEAD, so the answer has no body.
    pub is_head: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RefusalReason {
    /// It is not valid HTTP/1.1, for this reason (a sentence).
    Malformed(String),
    TooLarge,
    TimedOut,
}

impl Refusal {
    /// Refuses an unreadable request, guessing what can be guessed of it.
    pub(crate) fn guess(reason: RefusalReason, input: &[u8]) -> Self {
        let mut lines = input.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let is_head = lines.next().is_some_and(|line| line.starts_with(b"HEAD "));
        let accept = lines
            .filter_map(|line| line.split_at_checked("accept:".len()))
            .find(|(name, _)| name.eq_ignore_ascii_case(b"accept:"))
            .map(|(_, value)| value.trim_ascii())
            .filter(|value| value.iter().all(|byte| *byte == b' ' || byte.is_ascii_graphic()))
            .map(Bytes::copy_from_slice);
        Self { reason, accept, is_head }
    }
}

/// Examines the start of a connection's input. Leading empty lines must have been removed.
pub(super) fn examine(input: &[u8]) -> Examined {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_COUNT_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request.parse(input);
    let refused = |reason| Examined::Refused(Refusal::guess(reason, input));
    match parsed {
        Ok(Status::Complete(size)) if size > HEAD_SIZE_MAX => refused(RefusalReason::TooLarge),
        Ok(Status::Complete(size)) => match check(&request, size) {
            Ok(head) => Examined::Whole(head),
            Err(reason) => refused(reason),
        },
        Ok(Status::Partial) if input.len() >= HEAD_SIZE_MAX => refused(RefusalReason::TooLarge),
        Ok(Status::Partial) => Examined::Partial,
        Err(httparse::Error::TooManyHeaders) => refused(RefusalReason::TooLarge),
        Err(error) => refused(RefusalReason::Malformed(format!("It cannot be read as HTTP/1.1: {error}."))),
    }
}

/// What the headers say about framing.
#[derive(Default)]
struct Seen {
    host: bool,
    length: Option<u64>,
    chunked: bool,
    websocket: bool,
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    expect: bool,
    expects_continue: bool,
}

fn check(request: &httparse::Request<'_, '_>, size: usize) -> Result<Head, RefusalReason> {
    let malformed = |reason: &str| RefusalReason::Malformed(reason.to_owned());
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(malformed("Its first line is not whole."));
    };
    Method::from_bytes(method.as_bytes()).map_err(|_| malformed("Its method is not valid."))?;
    let encoded = encode_target(target);
    if encoded.as_deref().unwrap_or(target).len() > TARGET_SIZE_MAX {
        return Err(RefusalReason::TooLarge);
    }
    let is_plain_path = target.starts_with('/') && encoded.is_none();
    if !is_plain_path {
        Uri::try_from(encoded.as_deref().unwrap_or(target))
            .map_err(|_| malformed("Its target is not valid."))?;
    }
    let seen = look_at(request.headers, version)?;
    if !seen.host && version == 1 {
        return Err(malformed("It has no Host header."));
    }
    if seen.chunked && seen.length.is_some() {
        return Err(malformed("It has both Content-Length and Transfer-Encoding."));
    }
    let is_connect = method == "CONNECT";
    let framing = match seen.length {
        _ if seen.chunked => BodyFraming::Chunked,
        _ if seen.websocket => BodyFraming::Tunnel,
        Some(length) if length > 0 => BodyFraming::Length(length),
        None if version == 0 && method == "POST" => {
            return Err(malformed("A POST in HTTP/1.0 needs a Content-Length header."));
        }
        _ => BodyFraming::None,
    };
    let keeps_alive = if version == 0 { seen.keep_alive } else { true };
    let is_last = seen.close || seen.upgrade || !keeps_alive || framing == BodyFraming::Tunnel || is_connect;
    let rewritten = (seen.expect || encoded.is_some())
        .then(|| rewrite(request.headers, method, encoded.as_deref().unwrap_or(target), version, size));
    Ok(Head {
        size,
        framing,
        is_last,
        rewritten,
        target: encoded.is_some().then(|| own_target(target)).flatten(),
        expects_continue: seen.expects_continue && framing != BodyFraming::None,
    })
}

fn look_at(headers: &[httparse::Header<'_>], version: u8) -> Result<Seen, RefusalReason> {
    let malformed = |reason: &str| Err(RefusalReason::Malformed(reason.to_owned()));
    let mut seen = Seen::default();
    let mut coded = false;
    for header in headers {
        let value = header.value.trim_ascii();
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("host") {
            if seen.host {
                return malformed("It has several Host headers.");
            }
            seen.host = true;
        } else if is("content-length") {
            if seen.length.is_some() {
                return malformed("It has several Content-Length headers.");
            }
            let Some(length) = parse_length(value) else {
                return malformed("Its Content-Length is not valid.");
            };
            seen.length = Some(length);
        } else if is("transfer-encoding") {
            if coded || version == 0 || !value.eq_ignore_ascii_case(b"chunked") {
                return malformed("Its Transfer-Encoding is not supported: only \"chunked\" is.");
            }
            coded = true;
            seen.chunked = true;
        } else if is("connection") {
            for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                seen.close |= option.eq_ignore_ascii_case(b"close");
                seen.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                seen.upgrade |= option.eq_ignore_ascii_case(b"upgrade");
            }
        } else if is("upgrade") {
            seen.websocket |= value.eq_ignore_ascii_case(b"websocket");
        } else if is("expect") {
            seen.expect = true;
            seen.expects_continue |= version == 1
                && value
                    .split(|byte| *byte == b',')
                    .any(|item| item.trim_ascii().eq_ignore_ascii_case(b"100-continue"));
        }
    }
    Ok(seen)
}

fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok()?;
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Escapes what browsers escape and actix's parser refuses. Returns `None` if there is no such byte.
fn encode_target(target: &str) -> Option<String> {
    let is_refused = |byte: u8| matches!(byte, b'<' | b'>' | b'`' | 0x7f..=0xff);
    if !target.bytes().any(is_refused) {
        return None;
    }
    let mut encoded = String::with_capacity(target.len() * 2);
    for byte in target.bytes() {
        if is_refused(byte) {
            encoded.push('%');
            encoded.extend(
                [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])),
            );
        } else {
            encoded.push(char::from(byte));
        }
    }
    Some(encoded)
}

/// Returns the original path and query, if the target has that form.
fn own_target(target: &str) -> Option<Bytes> {
    let target = target.split('#').next().unwrap_or_default();
    target.starts_with('/').then(|| Bytes::copy_from_slice(target.as_bytes()))
}

/// Returns the head for actix: with this target, and without `Expect`, which actix would answer before asking
/// anybody.
fn rewrite(headers: &[httparse::Header<'_>], method: &str, target: &str, version: u8, size: usize) -> Bytes {
    let mut head = BytesMut::with_capacity(size + target.len());
    head.put_slice(format!("{method} {target} HTTP/1.{version}\r\n").as_bytes());
    for header in headers.iter().filter(|header| !header.name.eq_ignore_ascii_case("expect")) {
        head.put_slice(header.name.as_bytes());
        head.put_slice(b": ");
        head.put_slice(header.value);
        head.put_slice(b"\r\n");
    }
    head.put_slice(b"\r\n");
    head.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(input: &str) -> Head {
        match examine(input.as_bytes()) {
            Examined::Whole(head) => head,
            other => panic!("{input:?}: {other:?}"),
        }
    }

    fn refused(input: impl AsRef<[u8]>) -> RefusalReason {
        match examine(input.as_ref()) {
            Examined::Refused(refusal) => refusal.reason,
            other => panic!("{:?}: {other:?}", String::from_utf8_lossy(input.as_ref())),
        }
    }

    #[test]
    fn framing_and_the_end_of_the_connection_are_read_from_the_head() {
        for (head, framing, is_last) in [
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", BodyFraming::None, false),
            ("GET / HTTP/1.1\r\nhost: a\r\nConnection: keep-alive, Close\r\n\r\n", BodyFraming::None, true),
            ("GET / HTTP/1.0\r\n\r\n", BodyFraming::None, true),
            ("GET / HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\n", BodyFraming::None, false),
            ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n", BodyFraming::Length(3), false),
            ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n", BodyFraming::None, false),
            ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked\r\n\r\n", BodyFraming::Chunked, false),
            (
                "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
                BodyFraming::Tunnel,
                true,
            ),
            (
                "GET / HTTP/1.1\r\nhost: a\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
                BodyFraming::None,
                true,
            ),
            ("CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n", BodyFraming::None, true),
        ] {
            let examined = whole(head);
            assert_eq!((examined.framing, examined.is_last), (framing, is_last), "{head:?}");
            assert_eq!((examined.size, examined.rewritten), (head.len(), None), "{head:?}");
            for size in 0..head.len() {
                assert_eq!(examine(&head.as_bytes()[..size]), Examined::Partial, "{size} bytes of {head:?}");
            }
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for headers in [
            "",
            "host: a\r\nhost: a\r\n",
            "host: a\r\ncontent-length: 1\r\ncontent-length: 1\r\n",
            "host: a\r\ncontent-length: +1\r\n",
            "host: a\r\ncontent-length: 1, 1\r\n",
            "host: a\r\ncontent-length: 99999999999999999999\r\n",
            "host: a\r\ncontent-length:\r\n",
            "host: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n",
            "host: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "host: a\r\ntransfer-encoding: gzip, chunked\r\n",
            "host: a\r\ntransfer-encoding: identity\r\n",
            "host: a\r\ntransfer-encoding : chunked\r\n",
            "host: a\r\n folded: 1\r\n",
        ] {
            let reason = refused(format!("POST / HTTP/1.1\r\n{headers}\r\n"));
            assert!(matches!(reason, RefusalReason::Malformed(_)), "{headers:?}: {reason:?}");
        }
        for head in [
            &b"POST / HTTP/1.0\r\n\r\n"[..],
            b"GET / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n",
            b"GET / HTTP/2.0\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01",
            b"GET /\xff HTTP/1.1\r\nhost: a\r\n\r\n",
            b"GET http://[ HTTP/1.1\r\nhost: a\r\n\r\n",
        ] {
            assert!(matches!(refused(head), RefusalReason::Malformed(_)));
        }
    }

    #[test]
    fn limits_are_exact() {
        let with_headers =
            |count: usize| format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: 1\r\n".repeat(count - 1));
        whole(&with_headers(HEADERS_COUNT_MAX));
        assert_eq!(refused(with_headers(HEADERS_COUNT_MAX + 1)), RefusalReason::TooLarge);
        let of_size = |size: usize| {
            let rest = "GET / HTTP/1.1\r\nhost: a\r\nx: \r\n\r\n".len();
            format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(size - rest))
        };
        whole(&of_size(HEAD_SIZE_MAX));
        assert_eq!(refused(of_size(HEAD_SIZE_MAX + 1)), RefusalReason::TooLarge);
        assert_eq!(refused(&of_size(HEAD_SIZE_MAX + 9)[..HEAD_SIZE_MAX]), RefusalReason::TooLarge);
    }

    #[test]
    fn a_target_in_raw_utf_8_is_escaped_for_actix_alone() {
        let head = whole("GET /caf\u{e9}?q=<\u{65e5}>#x HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n");
        assert_eq!(
            head.rewritten.unwrap(),
            "GET /caf%C3%A9?q=%3C%E6%97%A5%3E#x HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n"
        );
        assert_eq!(head.target.unwrap(), "/caf\u{e9}?q=<\u{65e5}>");
        let long = "\u{e9}".repeat(15_000);
        assert_eq!(refused(format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n")), RefusalReason::TooLarge);
    }

    #[test]
    fn an_expectation_is_kept_from_actix() {
        let head = |version: u8, expect: &str, length: u8| {
            whole(&format!(
                "POST / HTTP/1.{version}\r\nhost: a\r\nExpect: {expect}\r\ncontent-length: {length}\r\n\r\n"
            ))
        };
        let expecting = head(1, "a, 100-Continue", 2);
        assert!(expecting.expects_continue);
        assert_eq!(expecting.rewritten.unwrap(), "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n");
        for (version, expect, length) in [(0, "100-continue", 2), (1, "100-continue", 0), (1, "other", 2)] {
            let head = head(version, expect, length);
            assert!(!head.expects_continue && head.rewritten.is_some());
        }
    }

    #[test]
    fn a_refusal_knows_how_to_be_answered() {
        for (head, accept, is_head) in [
            ("HEAD / HTTP/1.1\r\nAccept: text/html, a/b\r\n\r\n", Some("text/html, a/b"), true),
            ("GET / HTTP/9\r\nx: accept: a\r\naccept:b\r\n", Some("b"), false),
            ("GET / HTTP/1.1\r\nx\r\naccept: a\u{1}b\r\n\r\n", None, false),
            ("\0", None, false),
        ] {
            let Examined::Refused(refusal) = examine(head.as_bytes()) else { panic!("{head:?}") };
            assert_eq!(
                (refusal.accept.as_deref(), refusal.is_head),
                (accept.map(str::as_bytes), is_head),
                "{head:?}"
            );
        }
    }
}
