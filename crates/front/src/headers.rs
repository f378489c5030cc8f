//! Converts actix's requests to wire heads, and wire heads to actix's responses. Drops hop-by-hop headers
//! (RFC 9110 §7.6.1) both ways. No I/O.

use std::net::SocketAddr;

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode, Version};
use bytes::Bytes;

use devhost_link::wire::{Header, REQUEST_UPGRADE, RequestHead, ResponseHead};

/// Names the generation that answered.
pub(crate) const GENERATION_HEADER: HeaderName = HeaderName::from_static("x-devhost-generation");

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How a request uses its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// A request with an end.
    Finite,
    /// A WebSocket upgrade: after a 101 the rest of the connection belongs to the app.
    Upgrade,
    /// actix took it for an upgrade, but it is none. The rest of the connection is ignored.
    FalseUpgrade,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRequest {
    /// CONNECT asks for a proxy, which devhost is not.
    #[error("CONNECT is not supported")]
    Connect,
    /// Implementations disagree on where such a body ends.
    #[error("an upgrade with a request body is not supported")]
    UpgradeWithBody,
}

/// Returns how a request is framed. actix hands over the connection if `Upgrade` is exactly `websocket`, and
/// for no other protocol. Other upgrades are therefore not forwarded, as a server may ignore them.
pub(crate) fn framing(request: &HttpRequest) -> Result<Framing, BadRequest> {
    if request.method() == Method::CONNECT {
        return Err(BadRequest::Connect);
    }
    let headers = request.headers();
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Ok(Framing::Finite);
    }
    if !asks_for_websocket(headers) {
        return Ok(Framing::Finite);
    }
    if body_length(headers).is_some_and(|length| length > 0) {
        return Err(BadRequest::UpgradeWithBody);
    }
    let asked = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && connection_tokens(headers).any(|token| token == "upgrade");
    Ok(if asked { Framing::Upgrade } else { Framing::FalseUpgrade })
}

/// Returns true if a request names WebSocket in `Upgrade`, properly or not.
pub(crate) fn asks_for_websocket(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::UPGRADE)
        .any(|value| value.to_str().is_ok_and(|value| value.trim().eq_ignore_ascii_case("websocket")))
}

/// Builds the head sent to the app. As a proxy, the front appends the client to `x-forwarded-for`, and sets
/// `x-forwarded-host` and `x-forwarded-proto` unless they are set. `own_target` is the client's spelling of
/// path and query, if actix changed it.
pub(crate) fn request_head(
    request: &HttpRequest,
    framing: Framing,
    own_target: Option<Bytes>,
) -> RequestHead {
    let upgrade = framing == Framing::Upgrade;
    let incoming = request.headers();
    let dropped: Vec<String> = connection_tokens(incoming).collect();
    let mut headers: Vec<Header> = Vec::with_capacity(incoming.len() + 3);
    for (name, value) in incoming {
        let named = dropped.iter().any(|token| token == name.as_str());
        let kept_for_upgrade = upgrade && (name == header::UPGRADE || name == header::CONNECTION);
        let answered_here = name == header::EXPECT || name == FORWARDED_FOR;
        if ((is_hop_by_hop(name) || named) && !kept_for_upgrade) || answered_here {
            continue;
        }
        headers.push((Bytes::copy_from_slice(name.as_str().as_bytes()), value_bytes(value)));
    }
    let peer = request.peer_addr();
    let mut add = |name: HeaderName, value: Bytes| {
        headers.push((Bytes::copy_from_slice(name.as_str().as_bytes()), value));
    };
    if let Some(value) = forwarded_for(incoming, peer) {
        add(FORWARDED_FOR, value);
    }
    if let Some(host) = incoming.get(header::HOST)
        && !incoming.contains_key(FORWARDED_HOST)
    {
        add(FORWARDED_HOST, value_bytes(host));
    }
    if !incoming.contains_key(FORWARDED_PROTO) {
        add(FORWARDED_PROTO, Bytes::from_static(b"http"));
    }
    RequestHead {
        flags: if upgrade { REQUEST_UPGRADE } else { 0 },
        version: if request.version() == Version::HTTP_10 { 10 } else { 11 },
        method: Bytes::copy_from_slice(request.method().as_str().as_bytes()),
        target: own_target.unwrap_or_else(|| target(request)),
        remote: peer.map(|peer| peer.to_string().into()).unwrap_or_default(),
        body_length: match framing {
            Framing::Finite => body_length(incoming),
            Framing::Upgrade | Framing::FalseUpgrade => None,
        },
        headers,
    }
}

/// Removes the headers that allow a 304.
pub(crate) fn make_unconditional(head: &mut RequestHead) {
    let conditional = [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE];
    head.headers.retain(|(name, _)| !conditional.iter().any(|known| name == known.as_str()));
}

fn target(request: &HttpRequest) -> Bytes {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    Bytes::copy_from_slice(target.as_bytes())
}

/// Returns the first line of a request, for display.
pub(crate) fn request_line(request: &HttpRequest) -> String {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    format!("{} {target}", request.method())
}

fn forwarded_for(headers: &HeaderMap, peer: Option<SocketAddr>) -> Option<Bytes> {
    let mut list: Vec<u8> = Vec::new();
    let peer = peer.map(|peer| peer.ip().to_string());
    for value in
        headers.get_all(FORWARDED_FOR).map(HeaderValue::as_bytes).chain(peer.iter().map(String::as_bytes))
    {
        if !list.is_empty() {
            list.extend_from_slice(b", ");
        }
        list.extend_from_slice(value);
    }
    (!list.is_empty()).then(|| list.into())
}

fn value_bytes(value: &HeaderValue) -> Bytes {
    Bytes::copy_from_slice(value.as_bytes())
}

fn body_length(headers: &HeaderMap) -> Option<u64> {
    // actix has refused duplicates and non-numbers.
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

fn connection_tokens(headers: &HeaderMap) -> impl Iterator<Item = String> + '_ {
    headers
        .get_all(header::CONNECTION)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|token| token.trim().to_ascii_lowercase())
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// A valid response head.
#[derive(Debug)]
pub(crate) struct CheckedHead {
    pub status: StatusCode,
    /// The headers, without hop-by-hop ones and `content-length`.
    pub headers: HeaderMap,
    /// The announced length of the body.
    pub body_length: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadResponse {
    /// Not an HTTP status, or not a final one.
    #[error("the status {0} cannot answer this request")]
    Status(u16),
    /// Not representable in HTTP.
    #[error("the header {0:?} is not valid")]
    Header(String),
    /// Not a number, or contradictory.
    #[error("the content-length {0:?} is not valid")]
    ContentLength(String),
}

/// Checks an app's response to a request with this framing.
pub(crate) fn check_response(head: &ResponseHead, framing: Framing) -> Result<CheckedHead, BadResponse> {
    let status = StatusCode::from_u16(head.status).map_err(|_| BadResponse::Status(head.status))?;
    let upgraded = status == StatusCode::SWITCHING_PROTOCOLS;
    if status.is_informational() && !(upgraded && framing == Framing::Upgrade) {
        return Err(BadResponse::Status(head.status));
    }
    let mut all = HeaderMap::with_capacity(head.headers.len() + 1);
    for (name, value) in &head.headers {
        let bad = || BadResponse::Header(String::from_utf8_lossy(name).into_owned());
        let name = HeaderName::from_bytes(name).map_err(|_| bad())?;
        all.append(name, HeaderValue::from_bytes(value).map_err(|_| bad())?);
    }
    let dropped: Vec<String> = connection_tokens(&all).collect();
    let mut body_length = None;
    let mut headers = HeaderMap::with_capacity(all.len() + 1);
    for (name, value) in all {
        if name == header::CONTENT_LENGTH {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            let length = parse_length(&text).ok_or_else(|| BadResponse::ContentLength(text.clone()))?;
            if body_length.is_some_and(|known| known != length) {
                return Err(BadResponse::ContentLength(text));
            }
            body_length = Some(length);
        } else if (upgraded && name == header::UPGRADE)
            || !(is_hop_by_hop(&name) || dropped.iter().any(|token| token == name.as_str()))
        {
            headers.append(name, value);
        }
    }
    Ok(CheckedHead { status, headers, body_length })
}

fn parse_length(text: &str) -> Option<u64> {
    let digits = text.trim();
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn pairs(head: &RequestHead) -> Vec<(String, String)> {
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let mut pairs: Vec<_> = head.headers.iter().map(|(name, value)| (text(name), text(value))).collect();
        pairs.sort();
        pairs
    }

    fn response(status: u16, headers: &[(&str, &str)]) -> ResponseHead {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        ResponseHead {
            flags: 0,
            status,
            headers: headers.iter().map(|(name, value)| (bytes(name), bytes(value))).collect(),
        }
    }

    #[test]
    fn hop_by_hop_request_headers_stay_in_the_front() {
        let request = TestRequest::get()
            .uri("/a?b")
            .peer_addr("127.0.0.1:9".parse().unwrap())
            .insert_header(("host", "localhost:1"))
            .insert_header(("connection", "close, X-Secret"))
            .insert_header(("x-secret", "1"))
            .insert_header(("te", "trailers"))
            .insert_header(("upgrade", "h2c"))
            .insert_header(("expect", "100-continue"))
            .insert_header(("x-forwarded-for", "10.0.0.1"))
            .append_header(("accept", "a"))
            .append_header(("accept", "b"))
            .to_http_request();
        let head = request_head(&request, framing(&request).unwrap(), None);
        assert_eq!((head.flags, head.version), (0, 11));
        assert_eq!((&head.target[..], &head.remote[..]), (&b"/a?b"[..], &b"127.0.0.1:9"[..]));
        let expected = [
            ("accept", "a"),
            ("accept", "b"),
            ("host", "localhost:1"),
            ("x-forwarded-for", "10.0.0.1, 127.0.0.1"),
            ("x-forwarded-host", "localhost:1"),
            ("x-forwarded-proto", "http"),
        ];
        assert_eq!(pairs(&head), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_websocket_upgrade_keeps_its_headers() {
        let request = TestRequest::get()
            .insert_header(("connection", "keep-alive, Upgrade"))
            .insert_header(("upgrade", "websocket"))
            .insert_header(("sec-websocket-key", "k"))
            .to_http_request();
        assert_eq!(framing(&request), Ok(Framing::Upgrade));
        let head = request_head(&request, Framing::Upgrade, None);
        assert_eq!(head.flags, REQUEST_UPGRADE);
        for name in ["connection", "upgrade", "sec-websocket-key"] {
            assert!(pairs(&head).iter().any(|(have, _)| have == name), "{name}");
        }
    }

    #[test]
    fn upgrades_that_are_none_are_told_apart() {
        let websocket = || TestRequest::get().insert_header(("upgrade", "websocket"));
        assert_eq!(framing(&websocket().to_http_request()), Ok(Framing::FalseUpgrade));
        let post = websocket().method(Method::POST).insert_header(("connection", "upgrade"));
        assert_eq!(framing(&post.to_http_request()), Ok(Framing::FalseUpgrade));
        let body = websocket().insert_header(("content-length", "3"));
        assert_eq!(framing(&body.to_http_request()), Err(BadRequest::UpgradeWithBody));
        let chunked = websocket().insert_header(("transfer-encoding", "chunked"));
        assert_eq!(framing(&chunked.to_http_request()), Ok(Framing::Finite));
        let connect = TestRequest::default().method(Method::CONNECT);
        assert_eq!(framing(&connect.to_http_request()), Err(BadRequest::Connect));
    }

    #[test]
    fn response_headers_are_checked_and_cleaned() {
        let head = response(
            200,
            &[
                ("Set-Cookie", "a=1"),
                ("set-cookie", "b=2"),
                ("connection", "x-hop"),
                ("x-hop", "1"),
                ("transfer-encoding", "chunked"),
                ("content-length", "5"),
                ("content-length", "5"),
            ],
        );
        let checked = check_response(&head, Framing::Finite).unwrap();
        assert_eq!(checked.body_length, Some(5));
        assert_eq!(checked.headers.get_all(header::SET_COOKIE).count(), 2);
        assert_eq!(checked.headers.len(), 2);
    }

    #[test]
    fn responses_that_http_cannot_carry_are_refused() {
        let check = |status, headers: &[(&str, &str)]| {
            check_response(&response(status, headers), Framing::Finite).map(|_| ())
        };
        assert_eq!(check(103, &[]), Err(BadResponse::Status(103)));
        assert_eq!(check(101, &[]), Err(BadResponse::Status(101)));
        assert!(matches!(check(200, &[("a b", "")]), Err(BadResponse::Header(_))));
        assert!(matches!(check(200, &[("a", "x\r\nset-cookie: evil")]), Err(BadResponse::Header(_))));
        for lengths in [&[("content-length", "-1")][..], &[("content-length", "1"), ("content-length", "2")]]
        {
            assert!(matches!(check(200, lengths), Err(BadResponse::ContentLength(_))));
        }
        assert!(check_response(&response(101, &[]), Framing::Upgrade).is_ok());
    }
}
