//! The front's own endpoints under `/__devhost/`. They only read, answer the same origin only, and never say
//! anything to another one (no CORS headers).

use std::fmt::Write as _;

use actix_web::body::{BodySize, BoxBody};
use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::{StreamExt, TryStreamExt};

use super::body::SizedBody;
use super::headers::GENERATION_HEADER;
use super::host::check_same_origin;
use super::live_reload::stream_events;
use super::pages::{CROSS_ORIGIN_RESOURCE_POLICY, Frame, POLICY, Page, PageContext, escape};
use super::server::{Front, refuse};
use devhost_model::{BuildReport, Outcome, Reload, ServerState, Status};

pub(super) const CLIENT_SCRIPT: &str = include_str!("client.js");

/// A step that took less is not shown.
const STEP_SHOWN_FROM_MS: f64 = 0.05;

/// How many files of a reload the status page names.
const FILES_SHOWN_COUNT_MAX: usize = 5;

/// True for the path of one of the front's own endpoints.
pub(crate) fn is_own(path: &str) -> bool {
    path == "/__devhost" || path.starts_with("/__devhost/")
}

/// Answers a request for one of them.
pub(crate) fn respond(request: &HttpRequest, front: &Front) -> HttpResponse {
    let context = front.page_context();
    if let Err(refusal) = check_same_origin(request.headers()) {
        return refuse(&refusal).respond(request, &context);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Page::method_not_allowed().respond(request, &context);
    }
    match request.path() {
        "/__devhost" | "/__devhost/" => {
            let mut response = own(front, "text/html; charset=utf-8");
            response.insert_header((header::CONTENT_SECURITY_POLICY, POLICY));
            response.body(render_status(&front.status.snapshot(), &context))
        }
        "/__devhost/client.js" => own(front, "text/javascript; charset=utf-8").body(CLIENT_SCRIPT),
        "/__devhost/status" => {
            let json = serde_json::to_string(&front.status.snapshot());
            own(front, "application/json").body(json.unwrap_or_else(|_| "{}".into()))
        }
        "/__devhost/events" => respond_events(request, front),
        _ => Page::not_found().respond(request, &context),
    }
}

fn own(front: &Front, content_type: &'static str) -> actix_web::HttpResponseBuilder {
    let mut response = HttpResponse::build(StatusCode::OK);
    response
        .insert_header((header::CONTENT_TYPE, content_type))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"))
        .insert_header((GENERATION_HEADER, front.current_generation()));
    response
}

fn respond_events(request: &HttpRequest, front: &Front) -> HttpResponse {
    let mut response = own(front, "text/event-stream");
    if request.method() == Method::HEAD {
        return response.finish();
    }
    let events = stream_events(front.hub.clone(), front.gate.clone(), front.session.clone());
    let events = events.map_err(|never| match never {}).boxed_local();
    response.body(BoxBody::new(SizedBody::new(events, BodySize::Stream)))
}

/// The status page, in the context of now.
pub(super) fn render_status(status: &Status, context: &PageContext<'_>) -> String {
    let state = match status.state {
        ServerState::Starting => "building for the first time",
        ServerState::Building => "building",
        ServerState::Ready => "ready: the newest code is being served",
        ServerState::Failed => "the newest code is not being served",
    };
    let lead = match status.generation {
        0 => format!("{state}."),
        generation => format!("Generation {generation}, {state}."),
    };
    let frame = Frame {
        kind: "status",
        method: "GET",
        calm: status.state != ServerState::Failed,
        title: &status.app,
        lead: &lead,
        hint: &status.failure.as_ref().map(devhost_model::Failure::title).unwrap_or_default(),
    };
    let mut content = String::from("<section><h2>Processes</h2><dl>");
    let mut process = |name: &str, text: &str| {
        // Writing to a string cannot fail.
        let _ = write!(content, "<dt>{name}</dt><dd>{text}</dd>");
    };
    process("front", &format!("pid {}, devhost {}", status.front.pid, status.version));
    if let Some(zygote) = status.zygote {
        process("zygote", &format!("pid {}", zygote.pid));
    }
    for workers in status.workers.chunk_by(|a, b| (a.generation, a.draining) == (b.generation, b.draining)) {
        let first = workers[0];
        let pids: Vec<String> = workers.iter().map(|worker| worker.pid.to_string()).collect();
        let name = if pids.len() == 1 { "worker" } else { "workers" };
        let draining = if first.draining { ", draining" } else { "" };
        process(name, &format!("pid {}, generation {}{draining}", pids.join(", "), first.generation));
    }
    content.push_str("</dl></section>\n");
    write_reloads(&mut content, status);
    frame.render(&content, context)
}

/// The reloads, newest first. On a narrow screen each row becomes a block of its own.
fn write_reloads(out: &mut String, status: &Status) {
    out.push_str("<section><h2>Reloads</h2>");
    if status.reloads.is_empty() {
        out.push_str("<p class=\"empty\">None yet.</p></section>\n");
        return;
    }
    out.push_str("<table class=\"reloads\"><thead><tr>");
    for (class, name) in [
        ("generation number", "#"),
        ("outcome", "outcome"),
        ("total number", "total"),
        ("steps", "steps"),
        ("files", "files"),
    ] {
        let _ = write!(out, "<th class=\"{class}\">{name}</th>");
    }
    out.push_str("</tr></thead><tbody>");
    status.reloads.iter().rev().for_each(|reload| write_reload(out, reload));
    out.push_str("</tbody></table></section>\n");
}

fn write_reload(out: &mut String, reload: &Reload) {
    let outcome_class = match reload.outcome {
        Outcome::Ok | Outcome::Unchanged => "level-good",
        Outcome::BuildFailed | Outcome::StartFailed => "level-error",
    };
    let _ = write!(
        out,
        "<tr><td class=\"generation number\">{}</td><td class=\"outcome\"><span class=\"{outcome_class}\">{}</span> \
         <span class=\"cause\">{}</span></td><td class=\"total number\">{}</td><td class=\"steps\">",
        reload.generation,
        word(&reload.outcome),
        word(&reload.cause),
        time(reload.total_ms),
    );
    let steps = reload.steps;
    let steps = [
        ("notice", Some(steps.notice_ms)),
        ("build", Some(steps.build_ms)),
        ("fork", Some(steps.fork_ms)),
        ("load", Some(steps.load_ms)),
        ("ready", Some(steps.ready_ms)),
        ("other", Some(steps.other_ms)),
        ("first response", steps.first_response_ms),
    ];
    for (name, ms) in steps {
        if let Some(ms) = ms.filter(|ms| *ms >= STEP_SHOWN_FROM_MS) {
            let _ = write!(out, "<span class=\"step\">{name} <b>{}</b></span> ", time(ms));
        }
    }
    if let Some(made) = reload.build.as_ref().and_then(BuildReport::summary) {
        let _ = write!(out, "<span class=\"made\">{}</span>", escape(&made));
    }
    out.push_str("</td><td class=\"files\">");
    for file in reload.files.iter().take(FILES_SHOWN_COUNT_MAX) {
        let _ = write!(out, "<span class=\"file\">{}</span>", escape(&file.to_string()));
    }
    match reload.files.len().saturating_sub(FILES_SHOWN_COUNT_MAX) + reload.files_left_out {
        0 => {}
        1 => out.push_str("<span class=\"more\">and one more file</span>"),
        more => {
            let _ = write!(out, "<span class=\"more\">and {more} more files</span>");
        }
    }
    out.push_str("</td></tr>");
}

/// `0.52 ms`, `12.3 s`
fn time(ms: f64) -> String {
    match ms {
        ms if ms >= 10_000.0 => format!("{:.1} s", ms / 1_000.0),
        ms if ms >= 10.0 => format!("{ms:.0} ms"),
        ms => format!("{ms:.1} ms"),
    }
}

/// A unit variant as the status document spells it.
fn word(value: &impl serde::Serialize) -> String {
    let json = serde_json::to_value(value).unwrap_or_default();
    escape(&json.as_str().unwrap_or_default().replace('_', " "))
}
