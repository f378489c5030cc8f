//! Forwards a request through the gate to a generation, and returns its response. Both bodies stream
//! concurrently. A failure before the response's head becomes a page; a later one cuts the connection, so
//! that no client takes half a response for a whole one.

use std::sync::Arc;
use std::time::Instant;

use actix_http::ConnectionType;
use actix_web::body::{BodySize, BoxBody};
use actix_web::dev::Payload;
use actix_web::http::{Method, StatusCode, Version, header};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::StreamExt;

use super::body::{self, AppBody, ByteStream, Pump, RequestBody, SizedBody};
use super::caching;
use super::client_gone::ClientWatch;
use super::context::{Front, PageContext};
use super::csp;
use super::gate::{Admission, Backend, HELD_COUNT_MAX, HOLD_TIME_MAX, Visit};
use super::headers::{self, CheckedHead, Framing, GENERATION_HEADER};
use super::inbound::Turn;
use super::inject::{self, Verdict};
use super::pages::{Form, Page, wanted_form};
use super::slots::SlotKind;
use super::unpack::codings;
use super::upstream::{RecvHalf, UpstreamError};
use super::words::capitalize;
use devhost_link::wire::{PanicReport, REQUEST_EXPECT, RESPONSE_PANIC, ResponseHead};
use devhost_model::End;
use devhost_sys::output::Position;
use devhost_watch::{Answer, Check, Comparison, Look};

/// The longest panic report read, in bytes.
pub(crate) const PANIC_REPORT_SIZE_MAX: usize = 1024 * 1024;

/// How many workers in a row a request may be sent to before one reads it.
const ENTER_TRIES_COUNT_MAX: u32 = 8;

/// How often a request is sent again because the app has answered with the old content of a file.
const STALE_REPEATS_COUNT_MAX: u32 = 3;

/// Kills a process from outside, without a word.
const SIGKILL: i32 = 9;

/// Why there is no response from the app.
enum Refused {
    Page(Page),
    ClientGone,
}

impl From<Page> for Refused {
    fn from(page: Page) -> Self {
        Self::Page(page)
    }
}

/// Forwards a request. Returns the response, or a page in its place.
pub(crate) async fn forward(request: &HttpRequest, payload: Payload, front: &Front) -> HttpResponse {
    // Taken now: a page becomes outdated by any change after this.
    let context = front.page_context();
    let mut generation = context.generation;
    let framing = match headers::framing(request) {
        Ok(framing) => framing,
        Err(bad) => {
            return close(Page::bad_request(&bad.to_string()).respond(request, &context));
        }
    };
    let mut response = match exchange(request, payload, framing, front, &mut generation).await {
        Ok(response) => response,
        Err(Refused::Page(page)) => page.respond(request, &PageContext { generation, ..context }),
        // Nobody gets this.
        Err(Refused::ClientGone) => HttpResponse::new(StatusCode::BAD_REQUEST),
    };
    if framing != Framing::Finite && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        // Bytes that follow might be a WebSocket's.
        response = close(response);
    }
    response
}

/// Exchanges a request for a response. One that the app has answered with the old content of a file is sent again, to the
/// generation that takes the place of this one.
async fn exchange(
    request: &HttpRequest,
    mut payload: Payload,
    framing: Framing,
    front: &Front,
    generation: &mut u64,
) -> Result<HttpResponse, Refused> {
    let is_bodiless = matches!(payload, Payload::None);
    let mut repeats = if request.method().is_safe() && is_bodiless { STALE_REPEATS_COUNT_MAX } else { 0 };
    loop {
        match exchange_once(request, payload, framing, front, generation, repeats > 0).await? {
            Exchanged::Response(response) => return Ok(response),
            Exchanged::Stale => {
                repeats -= 1;
                payload = Payload::None;
            }
        }
    }
}

enum Exchanged {
    Response(HttpResponse),
    /// The app has not looked at a file that has changed.
    Stale,
}

async fn exchange_once(
    request: &HttpRequest,
    payload: Payload,
    framing: Framing,
    front: &Front,
    generation: &mut u64,
    may_repeat: bool,
) -> Result<Exchanged, Refused> {
    let watch = request.conn_data::<ClientWatch>().cloned();
    let turn = request.conn_data::<Turn>().cloned().unwrap_or_default();
    if front.gate.is_starting() && is_navigation(request) {
        return Err(Page::starting(&front.app).into());
    }
    let mut head = headers::request_head(request, framing, turn.target());
    if front.inject && inject::is_for_document(request) {
        // A cached copy has no script, or one that knows an earlier generation.
        headers::make_unconditional(&mut head);
    }
    if turn.expects_continue() {
        head.flags |= REQUEST_EXPECT;
    }
    let bodiless = framing == Framing::FalseUpgrade || matches!(payload, Payload::None);
    let head = head.encode();
    let mut body = (!bodiless).then(|| RequestBody::new(payload, turn.clone()));
    let mut tries = 0;
    let (Entered { mut visit, revision, mut recv, pump, look, .. }, entered, (bytes, over)) = loop {
        let entering = enter(front, &head, &mut body, framing, request, generation, &mut tries);
        let mut exchange = unless_gone(watch.as_ref(), entering).await.ok_or(Refused::ClientGone)??;
        let entered = Instant::now();
        let received = {
            let go_ahead = exchange.recv.go_ahead();
            let head = exchange.recv.head();
            tokio::pin!(go_ahead, head);
            loop {
                tokio::select! {
                    biased;
                    // Checked before the head: what an app says about a body that broke off is not what the
                    // client got wrong.
                    () = exchange.pump.broken() => return Err(broken_page(&turn).into()),
                    head = &mut head => break head,
                    () = &mut go_ahead, if turn.is_waiting() => turn.let_continue(),
                    () = gone(watch.as_ref()) => return Err(Refused::ClientGone),
                }
            }
        };
        let error = match received {
            Ok(received) => break (exchange, entered, received),
            Err(error) => error,
        };
        let (backend, since) = (Arc::clone(exchange.visit.backend()), exchange.since);
        if error == UpstreamError::Lost && tries < ENTER_TRIES_COUNT_MAX {
            let leaving = leave_unread(exchange, request.method(), bodiless, tries == 1);
            if let Some(back) = unless_gone(watch.as_ref(), leaving).await.ok_or(Refused::ClientGone)? {
                front.gate.leave(backend.worker);
                body = back;
                continue;
            }
        }
        return Err(explain(error, request, &backend, since).await.into());
    };
    pump.keep_no_more();
    if visit.backend().take_first_response() {
        front.status.first_response(visit.backend().generation, entered.elapsed());
    }
    let line = headers::request_line(request);
    let head = ResponseHead::decode(bytes)
        .map_err(|malformed| Page::bad_response(&capitalize(&malformed.to_string()), &line))?;
    if head.flags & RESPONSE_PANIC != 0 {
        let report = if over { PanicReport::default() } else { read_panic(&mut recv).await };
        return Err(Page::panic(&report, &line, visit.backend().generation).into());
    }
    let checked = headers::check_response(&head, framing)
        .map_err(|bad| Page::bad_response(&format!("{}.", capitalize(&bad.to_string())), &line))?;
    if is_event_stream(&checked) && !visit.make_long_lived() {
        let long_lived = visit.long_lived_count_max();
        front.notices.busy(SlotKind::LongLived, long_lived);
        return Err(Page::busy(SlotKind::LongLived, long_lived).into());
    }
    let comparison = match look.map_or(Check::Pass, |look| judge(&look, request, &checked)) {
        Check::Stale if may_repeat => return Ok(Exchanged::Stale),
        Check::Stale | Check::Pass => None,
        Check::Compare(comparison) => Some(*comparison),
    };
    let body = AppBody::finite(recv, pump, visit, watch);
    Ok(Exchanged::Response(respond(request, framing, front, checked, body, revision, over, comparison)))
}

/// Judges whether a response is a file, and an old one.
fn judge(look: &Look, request: &HttpRequest, head: &CheckedHead) -> Check {
    let part = head.headers.get(header::CONTENT_RANGE).and_then(|range| part_of(range.to_str().ok()?));
    look.judge(&Answer {
        path: request.path(),
        is_head: request.method() == Method::HEAD,
        status: head.status.as_u16(),
        length: head.body_length,
        is_encoded: head.headers.contains_key(header::CONTENT_ENCODING),
        part,
    })
}

/// Reads where a part begins, and how long the whole is, from `bytes 0-99/1000`.
fn part_of(range: &str) -> Option<(u64, u64)> {
    let (part, whole) = range.strip_prefix("bytes ")?.split_once('/')?;
    Some((part.split_once('-')?.0.trim().parse().ok()?, whole.trim().parse().ok()?))
}

fn broken_page(turn: &Turn) -> Page {
    match turn.broken() {
        Some(reason) => Page::bad_request(&format!("The request body cannot be read: {reason}.")),
        None => Page::bad_request("The request body broke off."),
    }
}

/// A request inside a generation.
struct Entered {
    visit: Visit,
    /// The revision of the pages at its admission.
    revision: u64,
    /// The position of the worker's output at that time.
    since: Position,
    recv: RecvHalf,
    pump: Pump,
    /// What the worker does with files meanwhile.
    look: Option<Look>,
}

/// Returns the body of a request that may go to another worker: the lost worker never read it, or it may be
/// repeated. Returns `None` if the request must fail.
async fn leave_unread(
    exchange: Entered,
    method: &Method,
    bodiless: bool,
    is_first: bool,
) -> Option<Option<RequestBody>> {
    let Entered { visit, recv, pump, .. } = exchange;
    // Until its process has ended, a worker may still read. If no end was reported, that is unknown.
    let end = visit.backend().end().await;
    // No request ends a worker in these ways.
    let was_killed = matches!(end, End::Signalled { signal: SIGKILL } | End::Lost | End::Orphaned);
    let may_go_on = match end {
        End::Exited { .. } | End::Signalled { .. } | End::StackOverflow { .. } => true,
        End::Stopped { .. } => visit.backend().reported_end().is_some() || method.is_idempotent(),
        End::Orphaned | End::Lost => method.is_idempotent(),
        End::Fault { .. } | End::Stalled { .. } => false,
    };
    let may_be_repeated = is_first && was_killed && recv.may_be_repeated();
    if !may_go_on || !(recv.was_never_read() || may_be_repeated) {
        return None;
    }
    if bodiless { Some(None) } else { pump.recall().await.map(Some) }
}

/// Admits a request to a generation, opens its stream and starts its body, if any. If the generation is gone
/// by then, it has seen nothing of the request, and the next one is tried.
async fn enter(
    front: &Front,
    head: &Bytes,
    body: &mut Option<RequestBody>,
    framing: Framing,
    request: &HttpRequest,
    generation: &mut u64,
    tries: &mut u32,
) -> Result<Entered, Refused> {
    front.suspicion.settled().await;
    let stay = if framing == Framing::Upgrade || wants_events(request) {
        SlotKind::LongLived
    } else {
        SlotKind::Ordinary
    };
    loop {
        *tries += 1;
        let visit = match front.gate.admit(stay).await {
            Admission::Enter(visit) => visit,
            Admission::Failed(failure) => return Err(Page::failure(&failure).into()),
            Admission::TimedOut => return Err(Page::timed_out(HOLD_TIME_MAX).into()),
            Admission::Full => return Err(Page::full(HELD_COUNT_MAX).into()),
            Admission::Busy(long_lived) => {
                front.notices.busy(stay, long_lived);
                return Err(Page::busy(stay, long_lived).into());
            }
            Admission::Closed => return Err(Page::closed().into()),
        };
        let revision = front.hub.revision();
        let since = visit.backend().output_position();
        let look = if request.method().is_safe() { visit.backend().look() } else { None };
        *generation = visit.backend().generation;
        match visit.backend().upstream.open(head.clone(), body.is_none()).await {
            Ok((send, recv)) => {
                let pump = match body.take() {
                    Some(body) => Pump::start(body, send, framing == Framing::Upgrade),
                    None => Pump::idle(send),
                };
                return Ok(Entered { visit, revision, since, recv, pump, look });
            }
            Err(UpstreamError::Lost | UpstreamError::Fault(_)) if *tries < ENTER_TRIES_COUNT_MAX => {
                front.gate.leave(visit.backend().worker);
            }
            Err(error) => return Err(explain(error, request, visit.backend(), since).await.into()),
        }
    }
}

/// Builds the response with the app's body. `over` says that the body is empty.
#[expect(clippy::too_many_arguments, reason = "all that a response is made of")]
fn respond(
    request: &HttpRequest,
    framing: Framing,
    front: &Front,
    mut head: CheckedHead,
    body: AppBody,
    revision: u64,
    over: bool,
    comparison: Option<Comparison>,
) -> HttpResponse {
    let comparison = comparison.zip(codings(&head.headers));
    let number = body.generation_number();
    let events = is_event_stream(&head);
    let mut size = body_size(request.method(), &head, over);
    if head.status == StatusCode::NOT_MODIFIED
        && let Some(length) = head.body_length
    {
        // The length of the body that a 304 omits. actix writes none of its own here.
        head.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    let head_only = request.method() == Method::HEAD || has_no_body(head.status);
    let upgraded = head.status == StatusCode::SWITCHING_PROTOCOLS;
    let injection = if front.inject && !head_only && !upgraded {
        let context = PageContext { generation: number, revision, ..front.page_context() };
        // An announced body that is missing is a broken page, not an empty one.
        let is_empty = over && head.body_length.is_none_or(|length| length == 0);
        inject::judge(request, &head, is_empty, &context)
    } else {
        Verdict::Leave
    };
    let injection = match injection {
        Verdict::Leave => None,
        Verdict::Forbidden(reason) => {
            front.notices.page_without_script(request.path(), csp::identity(&head.headers), &reason);
            None
        }
        Verdict::Inject(injection) => {
            injection.prepare(&mut head.headers);
            size = BodySize::Stream;
            Some(injection)
        }
    };

    let mut response = HttpResponse::new(head.status);
    *response.headers_mut() = head.headers;
    response.headers_mut().insert(GENERATION_HEADER, number.into());
    if upgraded {
        response.head_mut().set_connection_type(ConnectionType::Upgrade);
        let stream = body.ending_with_close_frame().boxed_local();
        return response.set_body(BoxBody::new(SizedBody::new(stream, BodySize::Stream)));
    }
    caching::require_question(response.headers_mut());
    if size == BodySize::Stream && (request.version() < Version::HTTP_11 || framing != Framing::Finite) {
        // HTTP/1.0 has no chunks, and actix writes none if it took the request for an upgrade.
        response.head_mut().no_chunking(true);
        response = close(response);
    }
    if head_only {
        return response.set_body(BoxBody::new(SizedBody::head_only(size)));
    }
    if events {
        let stream = if over {
            futures_util::stream::empty().boxed_local()
        } else {
            body.ending_with_generation().boxed_local()
        };
        return response.set_body(BoxBody::new(SizedBody::new(stream, size)));
    }
    let plain = if over { futures_util::stream::empty().boxed_local() } else { body.boxed_local() };
    let plain = match comparison {
        Some((comparison, codings)) => body::compared(plain, comparison, codings, head.body_length),
        None => plain,
    };
    let stream: ByteStream = match injection {
        Some(injection) => injection.apply(match head.body_length {
            Some(length) => body::announced(plain, length),
            None => plain,
        }),
        None => plain,
    };
    response.set_body(BoxBody::new(SizedBody::new(stream, size)))
}

/// Returns how the body is framed. An announced length is kept even if the body turns out shorter, so that
/// the client sees a broken response.
fn body_size(method: &Method, head: &CheckedHead, over: bool) -> BodySize {
    match head.body_length {
        _ if has_no_body(head.status) => BodySize::None,
        Some(length) => BodySize::Sized(length),
        None if method == Method::HEAD => BodySize::None,
        None if over => BodySize::Sized(0),
        None => BodySize::Stream,
    }
}

fn has_no_body(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Returns true for a request of a browser's `EventSource`.
fn wants_events(request: &HttpRequest) -> bool {
    request
        .headers()
        .get(header::ACCEPT)
        .is_some_and(|accept| accept.as_bytes().trim_ascii().eq_ignore_ascii_case(b"text/event-stream"))
}

fn is_event_stream(head: &CheckedHead) -> bool {
    head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
        value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream")
    })
}

/// Returns true for a page load in a browser, which should show progress instead of waiting.
fn is_navigation(request: &HttpRequest) -> bool {
    let mode = request.headers().get("sec-fetch-mode");
    request.method() == Method::GET
        && mode.is_none_or(|mode| mode.as_bytes() == b"navigate")
        && wanted_form(request.headers()) == Form::Html
}

/// Returns the page for an exchange that failed before the response's head. `since` is the position of the
/// worker's output at admission.
async fn explain(
    error: UpstreamError,
    request: &HttpRequest,
    backend: &Arc<Backend>,
    since: Position,
) -> Page {
    let line = headers::request_line(request);
    let output = || backend.last_output_since(since);
    match error {
        // However an app behaves that was told to end, devhost is the cause.
        UpstreamError::Reset
        | UpstreamError::Unanswered
        | UpstreamError::Malformed(_)
        | UpstreamError::Unreachable(_)
            if let Some(reason) = backend.stopping() =>
        {
            Page::cut_off(reason, &line, backend.generation)
        }
        UpstreamError::TooLarge => Page::head_too_large(),
        UpstreamError::Reset => Page::bad_response("The app cut the response off.", &line),
        UpstreamError::Malformed(reason) => Page::bad_response(&format!("{}.", capitalize(&reason)), &line),
        UpstreamError::Unanswered => Page::unanswered(&line, backend.generation)
            .output_since_request(&output(), || backend.last_output()),
        UpstreamError::Unreachable(reason) => Page::unreachable(&reason, &line, backend.generation)
            .output_since_request(&output(), || backend.last_output()),
        UpstreamError::BadRequest(reason) => Page::bad_request(reason),
        UpstreamError::Lost => {
            // Awaited first, so that the output is complete.
            let end = backend.end().await;
            Page::crash(&end, &line, backend.generation)
                .output_since_request(&output(), || backend.last_output())
        }
        UpstreamError::Fault(fault) => {
            let end = End::Fault { message: fault.to_string() };
            backend.set_end(end.clone());
            Page::crash(&end, &line, backend.generation)
                .output_since_request(&output(), || backend.last_output())
        }
    }
}

async fn read_panic(recv: &mut RecvHalf) -> PanicReport {
    let mut json = Vec::new();
    let broken = loop {
        match recv.data().await {
            Ok(Some(chunk)) if json.len() + chunk.len() <= PANIC_REPORT_SIZE_MAX => {
                json.extend_from_slice(&chunk);
            }
            Ok(None) => break false,
            Ok(Some(_)) | Err(_) => break true,
        }
    };
    let report = if broken { None } else { serde_json::from_slice(&json).ok() };
    report.unwrap_or_else(|| PanicReport {
        message: "(the report of the panic did not arrive)".into(),
        ..PanicReport::default()
    })
}

async fn gone(watch: Option<&ClientWatch>) {
    match watch {
        Some(watch) => watch.gone().await,
        None => std::future::pending().await,
    }
}

async fn unless_gone<T>(watch: Option<&ClientWatch>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = gone(watch) => None,
    }
}

/// Closes the connection after this response.
pub(super) fn close(mut response: HttpResponse) -> HttpResponse {
    response.head_mut().set_connection_type(ConnectionType::Close);
    response
}
