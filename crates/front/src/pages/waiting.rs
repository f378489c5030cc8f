//! Requests that wait for code to be ready, and do not get that far.

use std::time::Duration;

use actix_web::http::StatusCode;

use super::page::Page;
use super::section::Section;

impl Page {
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

    /// The build takes longer than a request may wait.
    pub(crate) fn timed_out(limit: Duration) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "timed_out",
            "The build is taking longer than this request could wait",
            format!("The request waited {} s for the new code, which is not ready yet.", limit.as_secs()),
        )
        .retry_after(Duration::from_secs(5))
    }

    /// Too many requests wait.
    pub(crate) fn full(limit: usize) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "full",
            "Too many requests are waiting for the build",
            format!("{limit} requests are already waiting for the new code."),
        )
        .retry_after(Duration::from_secs(2))
    }

    /// devhost is ending.
    pub(crate) fn closed() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "closed", "devhost is shutting down", "")
    }
}
