//! The front's own endpoints under `/__devhost/`. They are read-only, same-origin, and send no CORS headers.

use actix_web::body::{BodySize, BoxBody};
use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse};
use devhost_watch::About;
use futures_util::{StreamExt, TryStreamExt};
use serde_json::json;

use super::body::SizedBody;
use super::context::Front;
use super::files;
use super::headers::GENERATION_HEADER;
use super::host::check_same_origin;
use super::live_reload::stream_events;
use super::pages::{CROSS_ORIGIN_RESOURCE_POLICY, POLICY, Page, render_status};

pub(crate) const CLIENT_SCRIPT: &str = include_str!("client.js");

pub(crate) fn is_own(path: &str) -> bool {
    path == "/__devhost" || path.starts_with("/__devhost/")
}

pub(crate) async fn respond(request: &HttpRequest, front: &Front) -> HttpResponse {
    let context = front.page_context();
    if let Err(refusal) = check_same_origin(request.headers()) {
        return Page::refused(&refusal).respond(request, &context);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Page::method_not_allowed().respond(request, &context);
    }
    match request.path() {
        "/__devhost" | "/__devhost/" => {
            let used = front.files.document(About::Uses, &front.session).await.ok();
            let mut response = own(front, "text/html; charset=utf-8");
            response.insert_header((header::CONTENT_SECURITY_POLICY, POLICY));
            response.body(render_status(&front.status.snapshot(), used.as_ref(), &context))
        }
        "/__devhost/client.js" => own(front, "text/javascript; charset=utf-8").body(CLIENT_SCRIPT),
        "/__devhost/status" => {
            let json = serde_json::to_string(&front.status.snapshot());
            own(front, "application/json").body(json.unwrap_or_else(|_| "{}".into()))
        }
        "/__devhost/files" => {
            let Some(about) = files::wanted(request.query_string()) else {
                return Page::bad_request("The query cannot be read.").respond(request, &context);
            };
            match front.files.document(about, &front.session).await {
                Ok(document) => own(front, "application/json").json(document),
                Err(error) => {
                    let mut response = own(front, "application/json");
                    response
                        .status(StatusCode::SERVICE_UNAVAILABLE)
                        .json(json!({ "error": error.to_string() }))
                }
            }
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
