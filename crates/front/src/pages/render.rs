//! A page as HTML, JSON or plain text, and as a response.

use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse};
use maud::html;
use serde_json::{Value, json};

use super::form::{Form, wanted_form};
use super::frame::{CROSS_ORIGIN_RESOURCE_POLICY, Frame, POLICY};
use super::page::Page;
use crate::context::PageContext;
use crate::headers::GENERATION_HEADER;

impl Page {
    /// Renders the page in the form that its client wants.
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

    /// Renders the page as HTML, in answer to a request with this method.
    pub(crate) fn to_html(&self, method: &Method, context: &PageContext<'_>) -> String {
        let frame = Frame {
            kind: self.kind,
            method: method.as_str(),
            calm: self.status == StatusCode::SERVICE_UNAVAILABLE,
            title: &self.title,
            lead: &self.lead,
            hint: &self.hint,
        };
        frame.render(&html! { @for section in &self.sections { (section.to_html()) } }, context)
    }

    pub(super) fn to_json(&self, context: &PageContext<'_>) -> Value {
        let mut error = json!({
            "kind": self.kind,
            "title": self.title,
            "message": self.lead,
            "generation": context.generation,
        });
        if !self.hint.is_empty() {
            error["hint"] = json!(self.hint);
        }
        self.sections.iter().for_each(|section| section.add_to_json(&mut error));
        json!({ "error": error })
    }

    pub(super) fn to_text(&self) -> String {
        let mut out = String::new();
        for line in [&self.title, &self.lead, &self.hint] {
            if !line.is_empty() {
                out.push_str(line);
                out.push('\n');
            }
        }
        self.sections.iter().for_each(|section| section.add_to_text(&mut out));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn responses_are_not_cached_and_tell_when_to_come_back() {
        let request = TestRequest::get().insert_header(("accept", "text/html")).to_http_request();
        let context = PageContext { app: "x", session: "s", generation: 3, revision: 1 };
        let response = Page::starting("x").respond(&request, &context);
        let get = |name: &str| response.headers().get(name).unwrap().to_str().unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!((get("cache-control"), get("retry-after")), ("no-store", "2"));
        assert_eq!(get("x-devhost-generation"), "3");
        assert!(get("content-security-policy").contains("default-src 'none'"));
    }
}
