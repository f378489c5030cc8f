//! Samples of all of devhost's own pages, with long names and values. Compiled only with the feature
//! `testing`, or for this crate's own tests.

use std::time::Duration;

use actix_web::http::Method;
use maud::{DOCTYPE, html};
use serde_json::{Value, json};

use super::context::PageContext;
use super::endpoints::CLIENT_SCRIPT;
use super::files::{Document, Entry};
use super::html::script_tag;
use super::pages::{POLICY, Page, render_status};
use devhost_link::wire::PanicReport;
use devhost_model::{
    BrowserEvent, BuildReport, BuildStep, Cause, Diagnostic, Diagnostics, End, Failure, LeftOut, Outcome,
    Process, Reload, ServerState, SideEnd, SideState, SideStatus, Status, StatusBoard, Steps, StopReason,
    WorkerStatus,
};

const CRATE: &str =
    "a_crate_whose_author_liked_very_long_names_and_wrote_them_without_a_single_hyphen_anywhere";
const FILE: &str = "crates/storefront_presentation_layer/src/components/navigation/breadcrumbs/\
                    breadcrumb_separator_with_an_unusually_descriptive_file_name.rs";
const TYPE: &str = "axum::handler::Layered<tower::util::BoxCloneSyncService<http::Request<axum::body::Body>, \
                    http::Response<axum::body::Body>, std::convert::Infallible>, storefront::State<Postgres>>";
/// A line without a break opportunity.
const LINE: &str = "GET /search/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
                    ?query=%E2%98%83%E2%98%83%E2%98%83%E2%98%83%E2%98%83%E2%98%83%E2%98%83%E2%98%83%E2%98%83";
const HOST: &str = "a-subdomain-that-somebody-generated-0123456789abcdef0123456789abcdef.tunnel.example.test";

/// The run of devhost in the samples.
pub const SESSION: &str = "sample";
/// The generation in the samples.
pub const GENERATION: u64 = 1_234;
/// The revision in the samples.
pub const REVISION: u64 = 7;

const CONTEXT: PageContext<'static> =
    PageContext { app: CRATE, session: SESSION, generation: GENERATION, revision: REVISION };

/// A page as a client gets it.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its name.
    pub name: &'static str,
    /// The document.
    pub html: String,
    /// The events it receives on connecting, as JSON.
    pub events: Vec<Value>,
}

/// Returns the policy that pages are sent with.
pub const fn policy() -> &'static str {
    POLICY
}

/// Returns the script that runs in the pages.
pub const fn client_script() -> &'static str {
    CLIENT_SCRIPT
}

/// Returns pages that replace a response, each with a name.
pub(super) fn pages() -> Vec<(&'static str, Page)> {
    let output = output();
    vec![
        ("build_failed", Page::failure(&build_failure())),
        ("build_failed_without_diagnostics", Page::failure(&manifest_failure())),
        ("process_failed", Page::failure(&process_failure())),
        ("start_failed", Page::failure(&start_failure())),
        ("crash_loop", Page::failure(&crash_failure())),
        ("starting", Page::starting(CRATE)),
        ("panic", Page::panic(&panic_report(), LINE, GENERATION)),
        (
            "panic_without_backtrace",
            Page::panic(&PanicReport { backtrace: String::new(), ..panic_report() }, LINE, GENERATION),
        ),
        (
            "crash",
            Page::crash(&End::Signalled { signal: 11 }, LINE, GENERATION)
                .output_since_request(&output, String::new),
        ),
        (
            "stack_overflow",
            Page::crash(&End::StackOverflow { thread: CRATE.into(), signal: 6 }, LINE, GENERATION)
                .output_since_request(&output, String::new),
        ),
        ("cut_off_by_new_code", Page::cut_off(StopReason::Replaced, LINE, GENERATION)),
        ("cut_off_by_much_new_code", Page::cut_off(StopReason::Crowded, LINE, GENERATION)),
        ("cut_off_by_the_end", Page::cut_off(StopReason::Shutdown, LINE, GENERATION)),
        ("closed_descriptors", Page::cut_off(StopReason::HungUp, LINE, GENERATION)),
        ("bad_response", Page::bad_response(&format!("A header is not valid: {TYPE}."), LINE)),
        ("unanswered", Page::unanswered(LINE, GENERATION).output_since_request(&output, String::new)),
        (
            "unreachable",
            Page::unreachable("Connection refused (os error 111)", LINE, GENERATION)
                .output_since_request("", || output.clone()),
        ),
        ("timed_out", Page::timed_out(Duration::from_secs(60))),
        ("full", Page::full(1024)),
        ("closed", Page::closed()),
        ("head_too_large", Page::head_too_large()),
        ("bad_request", Page::bad_request("The request has both Content-Length and Transfer-Encoding.")),
        ("host_forbidden", Page::host_forbidden(HOST)),
        ("origin_forbidden", Page::origin_forbidden()),
        ("not_found", Page::not_found()),
        ("method_not_allowed", Page::method_not_allowed()),
    ]
}

/// Returns all samples: pages that replace a response, the status page, and an app's pages with overlays.
pub fn all() -> Vec<Sample> {
    let hello = |failure: Option<Failure>| {
        json!(BrowserEvent::Hello { session: SESSION.into(), generation: GENERATION, builds: 9, failure })
    };
    let mut samples: Vec<Sample> = pages()
        .into_iter()
        .map(|(name, page)| {
            let mut events = vec![hello(None)];
            if name == "starting" {
                let current = format!("{CRATE} v0.1.0");
                events.push(json!(BrowserEvent::Progress { done: 271, total: 283, current }));
            }
            Sample { name, html: page.to_html(&Method::GET, &CONTEXT), events }
        })
        .collect();
    for (name, status) in [("status", busy_status()), ("status_at_the_start", first_status())] {
        let html = render_status(&status, Some(&used_files(name)), &CONTEXT);
        samples.push(Sample { name, html, events: vec![hello(None)] });
    }
    for (name, failure) in [
        ("overlay_of_a_failed_build", build_failure()),
        ("overlay_of_a_failed_start", start_failure()),
        ("overlay_of_crashes", crash_failure()),
    ] {
        samples.push(Sample { name, html: app_page(), events: vec![hello(Some(failure))] });
    }
    let building = json!(BrowserEvent::Building { files: vec![FILE.into()] });
    samples.push(Sample { name: "indicator", html: app_page(), events: vec![hello(None), building] });
    samples
}

fn app_page() -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "An app" }
                meta name="viewport" content="width=device-width";
                (script_tag(&CONTEXT, "app"))
            }
            body {
                h1 { "A page of the app's" }
                p { "What is shown over it must not depend on it." }
            }
        }
    }
    .into_string()
}

fn diagnostic(level: &str, line: u32, message: &str) -> Diagnostic {
    let colour = if level == "error" { 9 } else { 11 };
    Diagnostic {
        level: level.into(),
        message: message.into(),
        code: Some("E0277".into()),
        file: Some(FILE.into()),
        line: Some(line),
        column: Some(113),
        rendered: format!(
            "\u{1b}[1m\u{1b}[38;5;{colour}m{level}[E0277]\u{1b}[0m\u{1b}[1m: {message}\u{1b}[0m\n    \
             \u{1b}[1m\u{1b}[38;5;12m--> \u{1b}[0m{FILE}:{line}:113\n     \u{1b}[1m\u{1b}[38;5;12m|\n{line} |\u{1b}[0m     \
             let breadcrumbs = self.navigation.breadcrumbs().iter().map(|crumb| crumb.render(&self.separator)).collect::<Vec<String>>();\n     \
             \u{1b}[1m\u{1b}[38;5;12m|                     ^^^^^^^^^^^\u{1b}[0m the trait `IntoResponse` is not implemented for `{TYPE}`\n     \
             \u{1b}[1m\u{1b}[38;5;12m|\u{1b}[0m\n     = \u{1b}[1mnote\u{1b}[0m: required by a bound\n\n"
        ),
    }
}

fn build_failure() -> Failure {
    let mismatch = format!("the trait bound `{TYPE}: IntoResponse` is not satisfied");
    let mut diagnostics: Diagnostics = vec![
        diagnostic("error", 1_217, &mismatch),
        diagnostic("error", 9, "mismatched types"),
        diagnostic("warning", 40_011, &format!("unused variable: `{CRATE}`")),
    ]
    .into();
    diagnostics.add_left_out(LeftOut { errors: 19_900, warnings: 1 });
    let output = format!(
        "error: could not compile `{CRATE}` (lib) due to 19902 previous errors; 2 warnings emitted\n"
    );
    Failure::Build { diagnostics, output }
}

fn manifest_failure() -> Failure {
    Failure::Build {
        diagnostics: Diagnostics::default(),
        output: format!(
            "\u{1b}[1m\u{1b}[91merror\u{1b}[0m: failed to parse manifest at `/home/somebody/projects/{CRATE}/Cargo.toml`\n\n\
             Caused by:\n  invalid type: integer `1`, expected a version string like [\"0.9.8\"]\n"
        ),
    }
}

fn process_failure() -> Failure {
    Failure::Process {
        name: CRATE.into(),
        message: "it exited with code 1 after 812 ms".into(),
        hint: "it runs again before the next build, when a file has changed".into(),
        output: output(),
    }
}

fn start_failure() -> Failure {
    let failure = Failure::start(
        format!("the app exited with code 101 before it listened; it had been given `--database-url={LINE}`"),
        "its output is in the terminal, too; arguments for it go after `--`, and with --stdin it reads what devhost reads",
    );
    failure.with_output(|_| output())
}

fn crash_failure() -> Failure {
    let message = format!("a frame of an unknown kind at 0x7f{CRATE}");
    Failure::crash(End::Fault { message }, 5, GENERATION).with_output(|_| output())
}

fn output() -> String {
    format!(
        "2026-03-01T12:00:00.000000Z \u{1b}[32m INFO\u{1b}[0m {CRATE}::web: listening on http://127.0.0.1:3000\n\
         2026-03-01T12:00:01.000000Z \u{1b}[33m WARN\u{1b}[0m tower_http: slow request uri={LINE}\n\n\
         thread 'tokio-runtime-worker' panicked at {FILE}:12:5:\n\u{1b}[1mcalled `Option::unwrap()` on a `None` value\u{1b}[0m\n\
         note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n"
    )
}

fn panic_report() -> PanicReport {
    let generic =
        format!("<{TYPE} as tower_service::Service<http::Request<axum::body::Body>>>::call::{{{{closure}}}}");
    PanicReport {
        message: format!(
            "called `Result::unwrap()` on an `Err` value: Database(PgDatabaseError {{ query: \"{LINE}\" }})"
        ),
        location: format!("{FILE}:12:5"),
        backtrace: format!(
            "   0: {CRATE}::navigation::breadcrumbs::render\n             at ./{FILE}:12:5\n   \
             1: {CRATE}::pages::show::{{{{closure}}}}\n             at ./src/pages.rs:20:9\n   2: {generic}\n             \
             at /home/somebody/.cargo/registry/src/index.crates-0123456789abcdef/axum-0.8.9/src/handler/mod.rs:246:52\n"
        ),
    }
}

fn reload(generation: u64, cause: Cause, outcome: Outcome, files: usize) -> Reload {
    Reload {
        generation,
        cause,
        files: (0..files).map(|_| FILE.into()).collect(),
        why: String::new(),
        files_left_out: if files > 7 { 1_234 } else { 0 },
        outcome,
        total_ms: 123_456.7,
        steps: Steps {
            notice_ms: 2.1,
            build_ms: 123_400.2,
            fork_ms: 0.61,
            load_ms: 12.4,
            ready_ms: 1_503.9,
            other_ms: 3.3,
            first_response_ms: Some(8.25),
        },
        build: Some(BuildReport {
            replayed: true,
            reason: String::new(),
            crates: vec![
                BuildStep { name: CRATE.into(), begun_ms: 0.0, took_ms: 210.0 },
                BuildStep { name: "app".into(), begun_ms: 210.0, took_ms: 480.0 },
            ],
        }),
    }
}

fn first_status() -> Status {
    StatusBoard::new(CRATE.into(), "plain").snapshot()
}

/// Processes beside the app in all states.
fn sides() -> Vec<SideStatus> {
    let side = |name: &str, state: SideState| SideStatus {
        name: name.into(),
        state,
        before_build: false,
        pid: None,
        since_unix_ms: 1_700_000_000_000,
        next_start_unix_ms: None,
        restarts: 0,
        last_end: None,
        last_lines: Vec::new(),
    };
    let last_lines: Vec<String> = output().lines().map(str::to_owned).collect();
    vec![
        SideStatus { pid: Some(4_194_303), ..side("database", SideState::Ready) },
        SideStatus {
            before_build: true,
            last_end: Some(SideEnd::Exited { code: 0 }),
            ..side("migrate", SideState::Ended)
        },
        SideStatus {
            before_build: true,
            last_end: Some(SideEnd::TimedOut),
            last_lines: last_lines.clone(),
            ..side(CRATE, SideState::Failed)
        },
        SideStatus {
            next_start_unix_ms: Some(4_000_000_000_000),
            restarts: 1_234,
            last_end: Some(SideEnd::NotStarted { message: format!("the command `{LINE}` was not found") }),
            last_lines,
            ..side("tailwind", SideState::BackingOff)
        },
        side("worker", SideState::Waiting),
    ]
}

/// Many reloads and workers, with long values.
fn busy_status() -> Status {
    let worker = |at: u64| WorkerStatus {
        pid: 4_194_000 + i32::try_from(at).unwrap_or(0),
        generation: GENERATION - at / 16,
        draining: at >= 16,
    };
    let reloads = (0..40).map(|at| {
        let (cause, outcome) = match at % 5 {
            0 => (Cause::Start, Outcome::Ok),
            1 => (Cause::Change, Outcome::BuildFailed),
            2 => (Cause::Change, Outcome::StartFailed),
            3 => (Cause::Change, Outcome::Unchanged),
            _ => (Cause::Crash, Outcome::Ok),
        };
        let mut reload = reload(GENERATION - 40 + at, cause, outcome, usize::try_from(at).unwrap_or(0) % 9);
        if at % 2 == 0 {
            reload.total_ms = 7.0;
            reload.steps = Steps { fork_ms: 0.6, load_ms: 2.0, ready_ms: 4.4, ..Steps::default() };
            reload.build = None;
        }
        reload
    });
    Status {
        state: ServerState::Failed,
        generation: GENERATION,
        build_id: "0123456789abcdef0123456789abcdef01234567".into(),
        zygote: Some(Process { pid: 4_194_303 }),
        workers: (0..32).map(worker).collect(),
        processes: sides(),
        failure: Some(build_failure()),
        reloads: reloads.collect(),
        ..first_status()
    }
}

/// What an app that serves uses; nothing at its start.
fn used_files(sample: &str) -> Document {
    let entry =
        |path: &str, does, why: &str| Entry { path: path.into(), does, why: why.into(), ..Entry::default() };
    let files = match sample {
        "status" => vec![
            entry("config/app.toml", "restart", "read at start"),
            entry(
                "static/a-stylesheet-with-quite-a-long-name/and-a-directory/site.css",
                "swap",
                "served as it is",
            ),
        ],
        _ => Vec::new(),
    };
    Document { trusted: true, files, ..Document::default() }
}
