//! The front's own pages: what a client gets in place of a response of the app. One description of a page is
//! rendered as HTML, JSON or plain text, whichever the client asked for. Everything that comes from a compiler,
//! an app or a client is escaped; no page needs anything but itself and the live-reload script.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::headers::GENERATION_HEADER;
use super::inbound::{HEAD_SIZE_MAX, HEADERS_COUNT_MAX};
use super::inject::script_tag;
use super::slots::{LONG_LIVED_COUNT_MAX, ORDINARY_COUNT_MAX, SlotKind};
use devhost_link::wire::PanicReport;
use devhost_model::{Diagnostic, Diagnostics, End, Failure, StopReason};

/// How much of a compiler's output a page shows.
pub(crate) const OUTPUT_SHOWN_SIZE_MAX: usize = 256 * 1024;

/// How many lines of the app's output a page shows: a panic with its backtrace has about a hundred.
const OUTPUT_LINES_SHOWN_COUNT_MAX: usize = 200;

const NOTHING_SINCE: &str = "The app has written nothing since the request; before it";

const STYLE: &str = include_str!("page.css");

/// Nothing but the page itself and the live-reload script. Styles are inline, for the compiler's colours.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Keeps what devhost says of itself out of pages of other origins.
pub(super) const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// What a page is shown in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageContext<'a> {
    /// The app's name.
    pub app: &'a str,
    /// This run of devhost.
    pub session: &'a str,
    /// The generation that the page tells about, or the current one; 0 before the first.
    pub generation: u64,
    /// The revision of the event stream.
    pub revision: u64,
}

/// What keeps a request out.
pub(super) fn describe_busy(kind: SlotKind, long_lived_count_max: usize) -> String {
    let long_lived = format!("{long_lived_count_max} WebSockets, event streams and other long requests");
    match kind {
        SlotKind::Ordinary => {
            format!("the app has {ORDINARY_COUNT_MAX} requests open at once, and {long_lived}")
        }
        SlotKind::LongLived => format!("the app has {long_lived} open at once"),
    }
}

/// Which representation a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A page.
    Html,
    /// For a program.
    Json,
    /// For a terminal.
    Text,
}

/// A page in place of a response.
#[derive(Debug)]
pub(crate) struct Page {
    status: StatusCode,
    /// One word for programs, and for the live-reload script.
    kind: &'static str,
    title: String,
    lead: String,
    hint: String,
    retry_after: Option<Duration>,
    sections: Vec<Section>,
}

#[derive(Debug)]
enum Section {
    Diagnostics(Diagnostics),
    /// Terminal output.
    Output {
        label: &'static str,
        text: String,
    },
    /// Terminal output from before the request: to be asked for.
    Earlier(String),
    Facts(Vec<(&'static str, String)>),
    Backtrace(String),
    Progress,
}

impl Page {
    fn new(
        status: StatusCode,
        kind: &'static str,
        title: impl Into<String>,
        lead: impl Into<String>,
    ) -> Self {
        Self {
            status,
            kind,
            title: title.into(),
            lead: lead.into(),
            hint: String::new(),
            retry_after: None,
            sections: Vec::new(),
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    fn section(mut self, section: Section) -> Self {
        self.sections.push(section);
        self
    }

    /// The last lines of what the app wrote.
    #[must_use]
    pub(crate) fn output(self, output: &str) -> Self {
        self.labelled_output("The app's last output", output)
    }

    /// The last lines of what the app has written since the request came in. If that is nothing, what it had written
    /// before is there for who wants to see it.
    #[must_use]
    pub(crate) fn output_since_request(self, output: &str, before: impl FnOnce() -> String) -> Self {
        if !output.trim().is_empty() {
            return self.labelled_output("The app's output since the request", output);
        }
        let before = before();
        match last_lines(before.trim_end()) {
            "" => self,
            text => self.section(Section::Earlier(text.to_owned())),
        }
    }

    fn labelled_output(self, label: &'static str, output: &str) -> Self {
        let text = last_lines(output.trim_end());
        if text.trim().is_empty() {
            return self;
        }
        self.section(Section::Output { label, text: text.to_owned() })
    }

    fn retry_after(mut self, time: Duration) -> Self {
        self.retry_after = Some(time);
        self
    }

    /// No generation serves, and why.
    pub(crate) fn failure(failure: &Failure) -> Self {
        let title = failure.title();
        match failure {
            Failure::Build { diagnostics, output } => {
                let mut sorted = diagnostics.clone();
                sorted.sort();
                let mut page = Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "build_failed",
                    title,
                    "This page loads the app as soon as the code builds.",
                );
                if !sorted.is_empty() {
                    page = page.section(Section::Diagnostics(sorted));
                }
                if !output.trim().is_empty() {
                    page = page.section(Section::Output { label: "cargo", text: clip(output) });
                }
                page
            }
            Failure::Start { message, hint, output, .. } => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "start_failed", title, message.trim())
                    .hint(hint)
                    .output(output)
            }
            Failure::Crash { message, output, .. } => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "crash_loop", title, message)
                    .hint("devhost starts the app again after the next change to its code.")
                    .output(output)
            }
        }
    }

    /// The first build is running.
    pub(crate) fn starting(app: &str) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "starting",
            format!("Building {app} for the first time"),
            "This page loads the app as soon as it is ready.",
        )
        .retry_after(Duration::from_secs(2))
        .section(Section::Progress)
    }

    /// A handler panicked.
    pub(crate) fn panic(report: &PanicReport, request_line: &str, generation: u64) -> Self {
        let mut facts = vec![("Request", request_line.to_owned())];
        if !report.location.is_empty() {
            facts.push(("Location", report.location.clone()));
        }
        facts.push(("Generation", generation.to_string()));
        let mut page = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "panic",
            "The app panicked",
            if report.message.is_empty() { "(no message)" } else { &report.message },
        )
        .section(Section::Facts(facts));
        if report.backtrace.trim().is_empty() {
            page = page.hint("There is no backtrace. RUST_BACKTRACE=1 asks for one.");
        } else {
            page = page.section(Section::Backtrace(report.backtrace.clone()));
        }
        page
    }

    /// The worker died, or was ended, with the request inside.
    pub(crate) fn crash(end: &End, request_line: &str, generation: u64) -> Self {
        let title = match end {
            End::Stopped { reason: StopReason::HungUp } => "The app was ended",
            End::Stopped { reason } => return Self::cut_off(*reason, request_line, generation),
            End::StackOverflow { .. } => "The app's stack overflowed",
            End::Stalled { .. } => "The app stopped responding",
            End::Exited { .. } => "The app exited",
            End::Orphaned | End::Lost => "The app is gone",
            End::Signalled { .. } | End::Fault { .. } => "The app crashed",
        };
        let mut lead = end.to_string();
        if let Some(first) = lead.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let hint = match end {
            End::StackOverflow { .. } => {
                "Usually a function calls itself without end. A thread that needs more has it from \
                 std::thread::Builder::stack_size, or from RUST_MIN_STACK."
            }
            _ => "",
        };
        Self::new(StatusCode::BAD_GATEWAY, "crash", title, format!("{lead}."))
            .hint(hint)
            .about(request_line, generation)
    }

    /// devhost ended the worker with the request inside.
    pub(crate) fn cut_off(reason: StopReason, request_line: &str, generation: u64) -> Self {
        let title = "The request was cut off";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let page = match reason {
            StopReason::Replaced => Self::new(
                status,
                "cut_off",
                title,
                "The code was changed while the app was still answering. The new code has taken over, and the time was up \
                 that the old code had to finish.",
            )
            .hint("--drain-ms gives such requests more time."),
            StopReason::Crowded => Self::new(
                status,
                "cut_off",
                title,
                "The code was changed several times while the app was still answering, and devhost keeps only a few \
                 generations that have requests.",
            ),
            StopReason::Shutdown => Self::new(
                status,
                "closed",
                "devhost is shutting down",
                "It was ended while the app was still answering this request.",
            ),
            StopReason::HungUp => return Self::crash(&End::Stopped { reason }, request_line, generation),
        };
        page.about(request_line, generation)
    }

    /// Which request it was, and whose.
    fn about(self, request_line: &str, generation: u64) -> Self {
        self.section(Section::Facts(vec![
            ("Request", request_line.to_owned()),
            ("Generation", generation.to_string()),
        ]))
    }

    /// The app answered with something that is no response.
    pub(crate) fn bad_response(reason: &str, request_line: &str) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "bad_response", "The app sent no valid response", reason)
            .section(Section::Facts(vec![("Request", request_line.to_owned())]))
    }

    /// The app closed its connection where its response should have begun.
    pub(crate) fn unanswered(request_line: &str, generation: u64) -> Self {
        Self::new(
            StatusCode::BAD_GATEWAY,
            "unanswered",
            "The app gave no answer",
            "It closed the connection without an answer, and runs on. Has a handler panicked?",
        )
        .about(request_line, generation)
    }

    /// The app runs but takes no connections.
    pub(crate) fn unreachable(reason: &str, request_line: &str, generation: u64) -> Self {
        Self::new(
            StatusCode::BAD_GATEWAY,
            "unreachable",
            "The app takes no connections",
            format!("It runs, but nothing answers where it listened: {reason}."),
        )
        .hint("Has it closed its listener, or does one request keep it from taking the next?")
        .about(request_line, generation)
    }

    /// The build takes too long for this request.
    pub(crate) fn timed_out(limit: Duration) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "timed_out",
            "The build takes longer than this request could wait",
            format!("It waited {} s for the new code, which is not ready yet.", limit.as_secs()),
        )
        .retry_after(Duration::from_secs(5))
    }

    /// Too many requests wait.
    pub(crate) fn full(limit: usize) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "full",
            "Too many requests wait for the build",
            format!("{limit} requests wait for the new code already."),
        )
        .retry_after(Duration::from_secs(2))
    }

    /// The app has as many requests as it may.
    pub(crate) fn busy(kind: SlotKind, long_lived_count_max: usize) -> Self {
        let hint = if long_lived_count_max < LONG_LIVED_COUNT_MAX {
            "the system lets devhost open few files: raise the limit (ulimit -n) to at least 8192"
        } else {
            "--workers gives the app more processes, each with as many"
        };
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "Too many requests are open at once",
            format!("{}, and none has made room for this one.", describe_busy(kind, long_lived_count_max)),
        )
        .hint(hint)
        .retry_after(Duration::from_secs(2))
    }

    /// devhost is ending.
    pub(crate) fn closed() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "closed", "devhost is shutting down", "")
    }

    /// The request's head exceeds a limit.
    pub(crate) fn head_too_large() -> Self {
        Self::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "head_too_large",
            "The request's headers are too large",
            format!(
                "Request line and headers may have {} KiB in all, and there may be {HEADERS_COUNT_MAX} headers.",
                HEAD_SIZE_MAX / 1024
            ),
        )
        .hint("Are there many or large cookies? The browser sends all that any app on this host name has set.")
    }

    /// The request's head did not arrive in time.
    pub(crate) fn head_timed_out(limit: Duration) -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "head_timed_out",
            "The request took too long",
            format!("Request line and headers must arrive within {} s.", limit.as_secs()),
        )
    }

    /// The request makes no sense.
    pub(crate) fn bad_request(reason: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", "Bad request", reason)
    }

    /// The name that the client used is not one to answer to.
    pub(crate) fn host_forbidden(host: &str) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "host_forbidden",
            "This host name is not allowed",
            format!("devhost does not answer to \"{host}\", so that no other site can reach your app by it."),
        )
        .hint(format!("To allow it, start devhost with --allowed-host {host}"))
    }

    /// Another origin asked for one of the front's own endpoints.
    pub(crate) fn origin_forbidden() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "origin_forbidden",
            "Not for other origins",
            "Only pages of this origin may use /__devhost/.",
        )
    }

    /// A page of another origin wants to open a WebSocket to the app.
    pub(crate) fn websocket_forbidden(origin: &str) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "origin_forbidden",
            "Not for pages of other origins",
            format!("A page of {origin} may not open a WebSocket here, so that no other site can read your app by it."),
        )
        .hint(format!("To allow it, start devhost with --allowed-origin {origin}"))
    }

    /// There is no such endpoint.
    pub(crate) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "There is nothing here",
            "devhost has no such endpoint.",
        )
    }

    /// The endpoint is only read.
    pub(crate) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Only GET is allowed here", "")
    }

    /// Renders the page as its client wants it.
    pub(crate) fn respond(&self, request: &HttpRequest, context: &PageContext<'_>) -> HttpResponse {
        let form = wanted_form(request.headers());
        let (content_type, body) = match form {
            Form::Html => ("text/html; charset=utf-8", self.to_html(request.method(), context)),
            Form::Json => ("application/json", self.to_json(context).to_string()),
            Form::Text => ("text/plain; charset=utf-8", self.to_text()),
        };
        let mut response = HttpResponse::build(self.status);
        response
            .insert_header((header::CONTENT_TYPE, content_type))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .insert_header((CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"))
            .insert_header((header::VARY, "accept"))
            .insert_header((GENERATION_HEADER, context.generation));
        if form == Form::Html {
            response.insert_header((header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)));
        }
        if let Some(time) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, time.as_secs()));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            response.insert_header((header::ALLOW, "GET, HEAD"));
        }
        response.body(body)
    }

    pub(super) fn to_html(&self, method: &Method, context: &PageContext<'_>) -> String {
        let mut content = String::new();
        for section in &self.sections {
            section.write_html(&mut content);
        }
        let frame = Frame {
            kind: self.kind,
            method: method.as_str(),
            calm: self.status == StatusCode::SERVICE_UNAVAILABLE,
            title: &self.title,
            lead: &self.lead,
            hint: &self.hint,
        };
        frame.render(&content, context)
    }

    fn to_json(&self, context: &PageContext<'_>) -> Value {
        let mut error = json!({
            "kind": self.kind,
            "title": self.title,
            "message": self.lead,
            "generation": context.generation,
        });
        if !self.hint.is_empty() {
            error["hint"] = json!(self.hint);
        }
        for section in &self.sections {
            match section {
                Section::Diagnostics(diagnostics) => {
                    error["diagnostics"] = json!(&diagnostics[..]);
                    error["left_out"] = json!(diagnostics.left_out());
                }
                Section::Output { text, .. } => error["output"] = json!(strip_ansi(text)),
                Section::Earlier(text) => error["earlier_output"] = json!(strip_ansi(text)),
                Section::Facts(facts) => {
                    for (name, value) in facts {
                        error[name.to_ascii_lowercase()] = json!(value);
                    }
                }
                Section::Backtrace(text) => error["backtrace"] = json!(text),
                Section::Progress => {}
            }
        }
        json!({ "error": error })
    }

    fn to_text(&self) -> String {
        let mut out = format!("{}\n", self.title);
        for line in [&self.lead, &self.hint] {
            if !line.is_empty() {
                let _ = writeln!(out, "{line}");
            }
        }
        for section in &self.sections {
            match section {
                Section::Diagnostics(diagnostics) => {
                    for diagnostic in diagnostics {
                        let _ = write!(out, "\n{}\n", strip_ansi(rendered(diagnostic)).trim_end());
                    }
                    if let Some(left_out) = diagnostics.left_out().describe() {
                        let _ = writeln!(out, "\n… {left_out}");
                    }
                }
                Section::Output { text, .. } => {
                    let _ = write!(out, "\n{}\n", strip_ansi(text).trim_end());
                }
                Section::Earlier(text) => {
                    let _ = write!(out, "\n{NOTHING_SINCE}:\n{}\n", strip_ansi(text).trim_end());
                }
                Section::Facts(facts) => {
                    out.push('\n');
                    for (name, value) in facts {
                        let _ = writeln!(out, "{name}: {value}");
                    }
                }
                Section::Backtrace(text) => {
                    let _ = write!(out, "\n{}\n", text.trim_end());
                }
                Section::Progress => {}
            }
        }
        out
    }
}

/// What all pages have in common.
pub(super) struct Frame<'a> {
    pub kind: &'a str,
    /// The request's method: a page that answers a POST must not load itself again.
    pub method: &'a str,
    pub calm: bool,
    pub title: &'a str,
    pub lead: &'a str,
    pub hint: &'a str,
}

impl Frame<'_> {
    /// A whole page around `content`, which is HTML.
    pub(crate) fn render(&self, content: &str, context: &PageContext<'_>) -> String {
        let paragraph = |class: &str, text: &str| match text {
            "" => String::new(),
            text => format!("<p class=\"{class}\">{}</p>", escape(text)),
        };
        format!(
            "<!doctype html>\n<html lang=\"en\" data-devhost-method=\"{method}\"><head><meta charset=\"utf-8\">\
             <title>{title} · {app}</title><meta name=\"viewport\" content=\"width=device-width\">\
             <link rel=\"icon\" href=\"data:,\"><style>{STYLE}</style>{script}</head>\
             <body class=\"{kind}{calm}\"><main><header><p class=\"tag\">{app} · devhost</p><h1>{title}</h1>{lead}{hint}\
             <p class=\"hint\" data-devhost-note hidden></p></header>\n{content}\
             <footer>Served by devhost, not by the app · <a href=\"/__devhost/\">status</a></footer></main></body></html>\n",
            method = escape(self.method),
            title = escape(self.title),
            app = escape(context.app),
            script = script_tag(context, self.kind),
            kind = self.kind,
            calm = if self.calm { " calm" } else { "" },
            lead = paragraph("lead", self.lead),
            hint = paragraph("hint", self.hint),
        )
    }
}

impl Section {
    fn write_html(&self, out: &mut String) {
        // Writing to a string cannot fail.
        let _ = match self {
            Self::Diagnostics(diagnostics) => {
                diagnostics.iter().for_each(|diagnostic| write_diagnostic(out, diagnostic));
                match diagnostics.left_out().describe() {
                    Some(left_out) => {
                        writeln!(out, "<section><p class=\"empty\">… {left_out}</p></section>")
                    }
                    None => Ok(()),
                }
            }
            Self::Output { label, text } => {
                writeln!(out, "<section><h2>{label}</h2><pre>{}</pre></section>", ansi_to_html(text))
            }
            Self::Earlier(text) => writeln!(
                out,
                "<section><details><summary>{NOTHING_SINCE}</summary><pre>{}</pre></details></section>",
                ansi_to_html(text)
            ),
            Self::Facts(facts) => {
                out.push_str("<section><dl>");
                for (name, value) in facts {
                    let _ = write!(out, "<dt>{name}</dt><dd>{}</dd>", escape(value));
                }
                writeln!(out, "</dl></section>")
            }
            Self::Backtrace(text) => {
                write_backtrace(out, text);
                Ok(())
            }
            Self::Progress => writeln!(
                out,
                "<section class=\"progress\"><progress data-devhost-progress></progress>\
                 <p data-devhost-progress-text>Starting cargo …</p></section>"
            ),
        };
    }
}

fn write_diagnostic(out: &mut String, diagnostic: &Diagnostic) {
    let class = if diagnostic.is_error() { "level-error" } else { "level-warning" };
    let code = diagnostic.code.as_ref().map(|code| format!("[{}]", escape(code))).unwrap_or_default();
    let place = place(diagnostic).map(|place| format!("<span class=\"place\">{}</span>", escape(&place)));
    let _ = writeln!(
        out,
        "<section><h2><span class=\"{class}\">{}{code}</span> <span>{}</span>{}</h2><pre>{}</pre></section>",
        escape(&diagnostic.level),
        escape(&diagnostic.message),
        place.unwrap_or_default(),
        ansi_to_html(&clip(rendered(diagnostic).trim_end())),
    );
}

fn rendered(diagnostic: &Diagnostic) -> &str {
    if diagnostic.rendered.is_empty() { &diagnostic.message } else { &diagnostic.rendered }
}

/// `src/pages.rs:12:5`
fn place(diagnostic: &Diagnostic) -> Option<String> {
    let mut place = diagnostic.file.clone()?;
    for number in [diagnostic.line, diagnostic.column] {
        let Some(number) = number else { break };
        let _ = write!(place, ":{number}");
    }
    Some(place)
}

/// Where this repository has the crate by which an app becomes a plugin: not each of its frames has its name.
const ADAPTER_SOURCES: &str = "/plugin_abi/src/service/";

/// One frame of a backtrace as std prints it: a line with number and name, and perhaps one with `at` and a place.
#[derive(Debug, PartialEq, Eq)]
struct BacktraceFrame<'a> {
    name: &'a str,
    at: Option<&'a str>,
}

impl BacktraceFrame<'_> {
    /// True for code that the user writes, as far as its name and its file tell: that of the app and of path dependencies.
    fn is_of_the_app(&self) -> bool {
        let is_foreign = |at: &str| {
            ["/rustc/", "/registry/src/", "/git/checkouts/", "/rustlib/", "/library/std/", ADAPTER_SOURCES]
                .iter()
                .any(|part| at.contains(part))
                || is_vendored(at)
        };
        !self.is_of_devhost() && self.at.is_some_and(|at| !is_foreign(at))
    }

    /// True for code of the crate by which an app becomes a plugin. It is often a path dependency.
    fn is_of_devhost(&self) -> bool {
        ["devhost_plugin::", "<devhost_plugin::"].iter().any(|prefix| self.name.starts_with(prefix))
    }
}

/// True for a file of `cargo vendor`: it leaves a record of checksums beside each manifest.
fn is_vendored(at: &str) -> bool {
    let path = at.rsplitn(3, ':').last().unwrap_or(at);
    Path::new(path).ancestors().skip(1).take_while(|directory| !directory.as_os_str().is_empty()).any(
        |directory| {
            directory.join("Cargo.toml").is_file() && directory.join(".cargo-checksum.json").is_file()
        },
    )
}

fn parse_backtrace(text: &str) -> Vec<BacktraceFrame<'_>> {
    let mut frames: Vec<BacktraceFrame<'_>> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("note: ")) {
        let numbered = line
            .split_once(": ")
            .filter(|(number, _)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()));
        match (numbered, line.strip_prefix("at "), frames.last_mut()) {
            (Some((_, name)), _, _) => frames.push(BacktraceFrame { name: name.trim(), at: None }),
            (None, Some(at), Some(frame)) if frame.at.is_none() => frame.at = Some(at.trim()),
            // An inlined function has a name line without a number.
            (None, None, Some(_)) => frames.push(BacktraceFrame { name: line, at: None }),
            _ => {}
        }
    }
    frames
}

fn write_backtrace(out: &mut String, text: &str) {
    let frames = parse_backtrace(text);
    if frames.is_empty() {
        let _ = writeln!(out, "<section><h2>Backtrace</h2><pre>{}</pre></section>", escape(text));
        return;
    }
    let app: Vec<_> = frames.iter().filter(|frame| frame.is_of_the_app()).collect();
    if !app.is_empty() {
        out.push_str("<section><h2>In the app</h2><ol class=\"frames\">");
        app.iter().for_each(|frame| write_frame(out, frame));
        out.push_str("</ol></section>\n");
    }
    let open = if app.is_empty() { " open" } else { "" };
    let _ = write!(
        out,
        "<section><details{open}><summary>Whole backtrace, {} frames</summary><ol class=\"frames\">",
        frames.len()
    );
    frames.iter().for_each(|frame| write_frame(out, frame));
    out.push_str("</ol></details></section>\n");
}

fn write_frame(out: &mut String, frame: &BacktraceFrame<'_>) {
    let class = if frame.is_of_the_app() { " class=\"app\"" } else { "" };
    let _ = write!(out, "<li{class}>{}", escape(frame.name));
    if let Some(at) = frame.at {
        let _ = write!(out, "<span class=\"at\">{}</span>", escape(at));
    }
    out.push_str("</li>");
}

/// Which form a client prefers: the one of the highest quality, HTML before JSON before text among equals, and
/// text for whoever takes anything (curl, fetch).
pub(crate) fn wanted_form(headers: &HeaderMap) -> Form {
    let accept = headers.get_all(header::ACCEPT).filter_map(|value| value.to_str().ok());
    accept
        .flat_map(|value| value.split(','))
        .filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let (rank, form) = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
                "text/html" | "application/xhtml+xml" => (3, Form::Html),
                "application/json" => (2, Form::Json),
                json if json.ends_with("+json") => (2, Form::Json),
                "text/plain" | "text/*" => (1, Form::Text),
                _ => return None,
            };
            let quality = parts.find_map(|parameter| parameter.strip_prefix("q="));
            Some((quality.map_or(1.0, |quality| quality.parse::<f32>().unwrap_or(0.0)), rank, form))
        })
        .filter(|(quality, ..)| *quality > 0.0)
        .max_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))
        .map_or(Form::Text, |(_, _, form)| form)
}

/// Text as HTML, in elements and in quoted attributes, without control characters.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && !matches!(c, '\n' | '\t') => {}
            c => out.push(c),
        }
    }
    out
}

/// Terminal output as HTML, escaped, its colours in spans.
fn ansi_to_html(text: &str) -> String {
    let text = strip_escapes(text, true);
    ansi_to_html::convert(&text).unwrap_or_else(|_| escape(&strip_ansi(&text)))
}

/// Terminal output without its colours.
pub(crate) fn strip_ansi(text: &str) -> String {
    strip_escapes(text, false)
}

/// Takes the escape sequences out of a text (ECMA-48), but for the colours where those are to stay, and other
/// control characters with them.
fn strip_escapes(text: &str, keep_colours: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        push_printable(&mut out, &rest[..at]);
        let sequence = &rest[at..];
        let len = escape_len(sequence);
        if keep_colours && sequence[..len].ends_with('m') && sequence.starts_with("\u{1b}[") {
            out.push_str(&sequence[..len]);
        }
        rest = &sequence[len..];
    }
    push_printable(&mut out, rest);
    out
}

fn push_printable(out: &mut String, text: &str) {
    out.extend(text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')));
}

/// The length of the escape sequence at the start of a text.
fn escape_len(sequence: &str) -> usize {
    let end = |at: Option<usize>| at.unwrap_or(sequence.len());
    match sequence[1..].chars().next() {
        // A control sequence ends with a byte from 0x40 to 0x7e.
        Some('[') => end(sequence[2..].find(|c| ('@'..='~').contains(&c)).map(|at| at + 3)),
        // An operating system command (a link) ends with BEL or ESC \.
        Some(']') => {
            let bell = sequence.find('\u{7}').map(|at| at + 1);
            let terminator = sequence.find("\u{1b}\\").map(|at| at + 2);
            end([bell, terminator].into_iter().flatten().min())
        }
        Some(c) => 1 + c.len_utf8(),
        None => 1,
    }
}

fn last_lines(text: &str) -> &str {
    match text.rmatch_indices('\n').nth(OUTPUT_LINES_SHOWN_COUNT_MAX - 1) {
        Some((at, _)) => &text[at + 1..],
        None => text,
    }
}

fn clip(text: &str) -> String {
    if text.len() <= OUTPUT_SHOWN_SIZE_MAX {
        return text.to_owned();
    }
    let mut end = OUTPUT_SHOWN_SIZE_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}\n… ({} more bytes are in the terminal)", &text[..end], text.len() - end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    const EVIL: &str = "<script>alert('x')</script>\u{1b}[31m&\"";
    const CONTEXT: PageContext<'_> = PageContext { app: "a<b", session: "s\"", generation: 3, revision: 1 };

    fn diagnostic(level: &str, message: &str) -> Diagnostic {
        Diagnostic {
            level: level.into(),
            message: message.into(),
            code: Some("E0308".into()),
            file: Some(format!("src/{EVIL}.rs")),
            line: Some(3),
            column: Some(9),
            rendered: format!("\u{1b}[1m\u{1b}[38;5;9m{level}\u{1b}[0m: {message}\n"),
        }
    }

    fn all_pages() -> Vec<Page> {
        let report = PanicReport {
            message: EVIL.into(),
            location: EVIL.into(),
            backtrace: format!("   0: {EVIL}\n   at /rustc/x/{EVIL}:1\n   1: app::f\n   at ./src/{EVIL}:2:3"),
        };
        vec![
            Page::failure(&Failure::Build {
                diagnostics: vec![diagnostic("warning", "unused"), diagnostic("error", EVIL)].into(),
                output: EVIL.into(),
            }),
            Page::failure(&Failure::start(EVIL, EVIL).with_output(|_| EVIL.into())),
            Page::failure(
                &Failure::crash(End::Fault { message: EVIL.into() }, 5, 3).with_output(|_| EVIL.into()),
            ),
            Page::starting(EVIL),
            Page::panic(&report, EVIL, 3),
            Page::crash(&End::Signalled { signal: 11 }, EVIL, 3),
            Page::crash(&End::StackOverflow { thread: EVIL.into(), signal: 6 }, EVIL, 3),
            Page::cut_off(StopReason::Replaced, EVIL, 3),
            Page::cut_off(StopReason::Crowded, EVIL, 3),
            Page::cut_off(StopReason::Shutdown, EVIL, 3),
            Page::cut_off(StopReason::HungUp, EVIL, 3),
            Page::bad_response(EVIL, EVIL),
            Page::unanswered(EVIL, 3).output(EVIL),
            Page::unreachable(EVIL, EVIL, 3),
            Page::timed_out(Duration::from_secs(60)),
            Page::full(9),
            Page::busy(SlotKind::Ordinary, 2000),
            Page::busy(SlotKind::LongLived, 64),
            Page::closed(),
            Page::head_too_large(),
            Page::bad_request(EVIL),
            Page::host_forbidden(EVIL),
            Page::origin_forbidden(),
            Page::not_found(),
            Page::method_not_allowed(),
        ]
    }

    #[test]
    fn nothing_gets_into_a_page_unescaped() {
        for page in all_pages() {
            let html = page.to_html(&Method::GET, &CONTEXT);
            assert_eq!(html.matches("<script").count(), 1, "{html}");
            assert!(!html.contains("alert('"), "{html}");
            assert!(!html.contains('\u{1b}'), "{html}");
            assert!(html.contains("data-session=\"s&quot;\" data-generation=\"3\""));
        }
    }

    #[test]
    fn text_has_no_escape_sequences_and_json_is_json() {
        for page in all_pages() {
            let json = page.to_json(&CONTEXT);
            assert!(json["error"]["title"].is_string() && json["error"]["kind"].is_string());
            if !matches!(page.kind, "bad_request" | "start_failed" | "panic" | "bad_response")
                && page.sections.iter().all(|section| !matches!(section, Section::Facts(_)))
            {
                assert!(page.to_text().starts_with(&page.title));
            }
        }
        let build = &all_pages()[0];
        assert!(!build.to_text().contains('\u{1b}'));
        assert_eq!(build.to_json(&CONTEXT)["error"]["diagnostics"][0]["level"], "error");
    }

    #[test]
    fn errors_come_before_warnings_with_their_places_and_colours() {
        let html = all_pages()[0].to_html(&Method::GET, &CONTEXT);
        assert!(html.find(">error[E0308]<").unwrap() < html.find(">warning[E0308]<").unwrap());
        assert!(html.contains(".rs:3:9</span>"));
        assert!(html.contains("var(--bright-red,#f55)'>error"), "{html}");
    }

    #[test]
    fn frames_of_the_app_stand_out() {
        let text = "   0: rust_begin_unwind\n             at /rustc/abc/library/std/src/panicking.rs:697:5\n   \
                    1: example_app::boom\n             at ./src/pages.rs:12:5\n   2: tower::call\n             \
                    at /home/u/.cargo/registry/src/x/tower/src/lib.rs:1:2\n   3: inlined\n      also_inlined\n";
        let frames = parse_backtrace(text);
        assert_eq!(frames.len(), 5);
        assert_eq!(frames[1], BacktraceFrame { name: "example_app::boom", at: Some("./src/pages.rs:12:5") });
        let app: Vec<_> =
            frames.iter().filter(|frame| frame.is_of_the_app()).map(|frame| frame.name).collect();
        assert_eq!(app, ["example_app::boom"]);
        let mut html = String::new();
        write_backtrace(&mut html, "no backtrace <at> all");
        assert!(html.contains("&lt;at&gt;"));
    }

    #[test]
    fn neither_the_adapter_nor_a_dependency_is_the_app() {
        let vendored = tempfile::tempdir().unwrap();
        let package = vendored.path().join("vendor/axum");
        std::fs::create_dir_all(package.join("src")).unwrap();
        std::fs::write(package.join("Cargo.toml"), "").unwrap();
        let at = |directory: &str| format!("{}:7:9", package.join(directory).join("lib.rs").display());
        fn frame<'a>(name: &'a str, at: &'a str) -> BacktraceFrame<'a> {
            BacktraceFrame { name, at: Some(at) }
        }
        assert!(frame("axum::call", &at("src")).is_of_the_app(), "it is a path dependency still");
        std::fs::write(package.join(".cargo-checksum.json"), "{}").unwrap();
        let vendored = at("src");
        for (name, at) in [
            ("axum::call", vendored.as_str()),
            (
                "devhost_plugin::service::adapter::serve",
                "/home/me/devhost/plugin_abi/src/service/adapter.rs:9:1",
            ),
            (
                "<devhost_plugin::service::panics::Catch<F> as Future>::poll",
                "./plugin_abi/src/service/panics.rs:1:1",
            ),
            (
                "{async_block#0}<axum::routing::Router<()>>",
                "/home/me/devhost/plugin_abi/src/service/app.rs:98:50",
            ),
            ("tower::call", "/opt/cargo-home/registry/src/index-0123/tower-0.5/src/lib.rs:1:2"),
            ("git::call", "/opt/cargo-home/git/checkouts/git-0123/abc/src/lib.rs:1:2"),
            ("core::ops::function::FnOnce::call_once", "/rustc/abc/library/core/src/ops/function.rs:250:5"),
        ] {
            assert!(!frame(name, at).is_of_the_app(), "{name}");
        }
        for (name, at) in [
            ("guests::show::<devhost_plugin::Remote>", "./src/pages.rs:12:5"),
            ("util::helper", "/home/me/projects/util/src/lib.rs:3:3"),
        ] {
            assert!(frame(name, at).is_of_the_app(), "{name}");
        }
    }

    #[test]
    fn output_from_before_the_request_is_shown_only_if_there_is_none_since_and_said_to_be_so() {
        let before = || "from before\n".to_owned();
        let page = Page::unanswered("GET /", 3).output_since_request("since\n", before);
        assert!(page.to_text().contains("since") && !page.to_text().contains("from before"));
        let page = Page::unanswered("GET /", 3).output_since_request(" \n", before);
        assert!(page.to_text().contains("nothing since the request; before it:\nfrom before"));
        assert!(
            page.to_html(&Method::GET, &CONTEXT).contains("<details><summary>The app has written nothing")
        );
        assert_eq!(page.to_json(&CONTEXT)["error"]["earlier_output"], "from before");
        assert!(
            !Page::unanswered("GET /", 3)
                .output_since_request("", String::new)
                .to_text()
                .contains("before it")
        );
    }

    #[test]
    fn the_form_follows_accept() {
        let chrome = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8";
        for (accept, form) in [
            (chrome, Form::Html),
            ("*/*", Form::Text),
            ("", Form::Text),
            ("application/json", Form::Json),
            ("application/json, text/plain, */*", Form::Json),
            ("application/problem+json", Form::Json),
            ("text/html;q=0.1, application/json;q=0.9", Form::Json),
            ("text/html;q=0", Form::Text),
            ("text/plain, text/html;q=0.5", Form::Text),
        ] {
            let request = TestRequest::get().insert_header(("accept", accept)).to_http_request();
            assert_eq!(wanted_form(request.headers()), form, "{accept}");
        }
        assert_eq!(wanted_form(&HeaderMap::new()), Form::Text);
    }

    #[test]
    fn responses_are_not_cached_and_tell_when_to_come_back() {
        let request = TestRequest::get().insert_header(("accept", "text/html")).to_http_request();
        let response = Page::starting("x").respond(&request, &CONTEXT);
        let get = |name: &str| response.headers().get(name).unwrap().to_str().unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!((get("cache-control"), get("retry-after")), ("no-store", "2"));
        assert_eq!(get("x-devhost-generation"), "3");
        assert!(get("content-security-policy").contains("default-src 'none'"));
    }

    #[test]
    fn escape_sequences_are_taken_out() {
        for (text, plain) in [
            ("\u{1b}[1;31mred\u{1b}[0m", "red"),
            ("\u{1b}]8;;https://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}]0;title\u{7}x", "x"),
            ("a\u{1b}[2Kb\rc\u{8}", "abc"),
            ("\u{1b}", ""),
            ("\u{1b}[", ""),
            ("\u{1b}é!", "!"),
        ] {
            assert_eq!(strip_ansi(text), plain);
        }
        assert_eq!(ansi_to_html("\u{1b}[2K\u{1b}[1ma<\u{1b}[0m"), "<b>a&lt;</b>");
    }

    #[test]
    fn the_last_lines_of_the_app_are_shown_with_their_colours() {
        let lines: String =
            (0..OUTPUT_LINES_SHOWN_COUNT_MAX + 5).map(|line| format!("line {line};\n")).collect();
        let page = Page::unanswered("GET /", 3).output(&format!("{lines}\u{1b}[31mred\u{1b}[0m\n"));
        let html = page.to_html(&Method::GET, &CONTEXT);
        assert!(
            html.contains("'>red</span>") && html.contains("line 6;") && !html.contains("line 5;"),
            "{html}"
        );
        assert!(page.to_text().contains(";\nred\n"), "{}", page.to_text());
        assert!(!Page::unanswered("GET /", 3).output(" \n").to_text().contains("output"));
    }

    #[test]
    fn long_output_is_clipped() {
        let clipped = clip(&"é".repeat(OUTPUT_SHOWN_SIZE_MAX));
        assert!(clipped.len() < OUTPUT_SHOWN_SIZE_MAX + 100 && clipped.contains("more bytes"));
    }
}
