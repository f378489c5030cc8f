//! Requests that are turned away before the app sees them: limits, malformed heads, foreign hosts and origins,
//! and what devhost's own endpoints do not have.

use std::time::Duration;

use actix_web::http::StatusCode;

use super::page::Page;
use crate::host;
use crate::inbound::{HEAD_SIZE_MAX, HEADERS_COUNT_MAX};
use crate::slots::{LONG_LIVED_COUNT_MAX, SlotKind};
use crate::words::capitalize;

impl Page {
    /// The app is at its limit of open requests.
    pub(crate) fn busy(kind: SlotKind, long_lived_count_max: usize) -> Self {
        let hint = if long_lived_count_max < LONG_LIVED_COUNT_MAX {
            "devhost may open only few files here. Raise the limit (ulimit -n) to at least 8192."
        } else {
            "--workers N gives the app more processes, each of which takes as many."
        };
        let open = capitalize(&kind.describe_full(long_lived_count_max));
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "Too many requests are open at once",
            format!("{open}. None of them finished in time to make room for this one."),
        )
        .hint(hint)
        .retry_after(Duration::from_secs(2))
    }

    /// The request's head exceeds a limit.
    pub(crate) fn head_too_large() -> Self {
        Self::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "head_too_large",
            "The request's headers are too large",
            format!(
                "Request line and headers may have {} KiB in total, and there may be at most {HEADERS_COUNT_MAX} headers.",
                HEAD_SIZE_MAX / 1024
            ),
        )
        .hint("Are there many or large cookies? A browser sends those of all apps on this host name.")
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

    /// The request came by the wrong name, or from the wrong page.
    pub(crate) fn refused(refusal: &host::Refusal) -> Self {
        match refusal {
            host::Refusal::Malformed => Self::bad_request("The Host header is not valid."),
            host::Refusal::Host(name) => Self::host_forbidden(name),
            host::Refusal::Origin => Self::origin_forbidden(),
        }
    }

    /// The name that the client used is not one that devhost answers to.
    pub(crate) fn host_forbidden(host: &str) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "host_forbidden",
            "This host name is not allowed",
            format!("devhost does not answer to \"{host}\", so that no other site can reach your app by that name."),
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
            format!("Pages of {origin} may not open a WebSocket here, so that no other site can read from your app."),
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

    /// The endpoint is read-only.
    pub(crate) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Only GET is allowed here", "")
    }
}
