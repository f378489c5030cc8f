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
use super::pages::{Frame, Page, escape};
use super::server::{Front, refuse};
use crate::model::{BuildReport, Reload, State, Status};

const CLIENT_SCRIPT: &str = include_str!("client.js");

/// The policy of the status page: its own style and the live-reload script.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'";

/// True for the path of one of the front's own endpoints.
pub fn is_own(path: &str) -> bool {
    path == "/__devhost" || path.starts_with("/__devhost/")
}

/// Answers a request for one of them.
pub fn respond(request: &HttpRequest, front: &Front) -> HttpResponse {
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
            response.body(render_status(&front.status.snapshot(), front))
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

fn render_status(status: &Status, front: &Front) -> String {
    let state = match status.state {
        State::Starting => "building for the first time",
        State::Building => "building",
        State::Ready => "ready: the newest code is being served",
        State::Failed => "the newest code is not being served",
    };
    let lead = match status.generation {
        0 => format!("{state}."),
        generation => format!("Generation {generation}, {state}."),
    };
    let frame = Frame {
        kind: "status",
        method: "GET",
        calm: status.state != State::Failed,
        title: &status.app,
        lead: &lead,
        hint: &status.failure.as_ref().map(crate::model::Failure::title).unwrap_or_default(),
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
    for worker in &status.workers {
        let draining = if worker.draining { ", draining" } else { "" };
        process("worker", &format!("pid {}, generation {}{draining}", worker.pid, worker.generation));
    }
    content
        .push_str("</dl></section>\n<section><h2>Reloads</h2><table><thead><tr><th class=\"number\">#</th>");
    for (class, name) in [
        ("", "cause"),
        ("", "outcome"),
        ("number", "total"),
        ("number", "notice"),
        ("number", "build"),
        ("number", "fork"),
        ("number", "load"),
        ("number", "ready"),
        ("number", "other"),
        ("number", "first response"),
        ("", "made by"),
        ("", "files"),
    ] {
        let _ = write!(content, "<th class=\"{class}\">{name}</th>");
    }
    content.push_str("</tr></thead><tbody>");
    status.reloads.iter().rev().for_each(|reload| write_reload(&mut content, reload));
    content.push_str("</tbody></table></section>\n");
    frame.render(&content, &front.page_context())
}

fn write_reload(out: &mut String, reload: &Reload) {
    let files: Vec<String> = reload.files.iter().map(|file| escape(&file.to_string_lossy())).collect();
    let _ = write!(
        out,
        "<tr><td class=\"number\">{}</td><td>{}</td><td>{}</td>",
        reload.generation,
        word(&reload.cause),
        word(&reload.outcome),
    );
    let steps = reload.steps;
    for ms in [
        reload.total_ms,
        steps.notice_ms,
        steps.build_ms,
        steps.fork_ms,
        steps.load_ms,
        steps.ready_ms,
        steps.other_ms,
    ] {
        let _ = write!(out, "<td class=\"number\">{ms:.1} ms</td>");
    }
    let first = steps.first_response_ms.map(|ms| format!("{ms:.1} ms")).unwrap_or_default();
    let made = reload.build.as_ref().and_then(BuildReport::summary).unwrap_or_default();
    let _ = write!(
        out,
        "<td class=\"number\">{first}</td><td>{}</td><td>{}</td></tr>",
        escape(&made),
        files.join("<br>")
    );
}

/// A unit variant as the status document spells it.
fn word(value: &impl serde::Serialize) -> String {
    let json = serde_json::to_value(value).unwrap_or_default();
    escape(&json.as_str().unwrap_or_default().replace('_', " "))
}
