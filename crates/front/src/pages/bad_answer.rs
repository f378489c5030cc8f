//! The app runs, but its answer is missing or cannot be used.

use actix_web::http::StatusCode;

use super::page::Page;
use super::section::Section;

impl Page {
    /// The app sent something that is not a response.
    pub(crate) fn bad_response(reason: &str, request_line: &str) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "bad_response", "The app sent no valid response", reason)
            .section(Section::Facts(vec![("Request", request_line.to_owned())]))
    }

    /// The app closed its connection instead of sending a response.
    pub(crate) fn unanswered(request_line: &str, generation: u64) -> Self {
        Self::new(
            StatusCode::BAD_GATEWAY,
            "unanswered",
            "The app gave no answer",
            "It closed the connection without an answer, and is still running. Did a handler panic?",
        )
        .about(request_line, generation)
    }

    /// The app runs but accepts no connections.
    pub(crate) fn unreachable(reason: &str, request_line: &str, generation: u64) -> Self {
        Self::new(
            StatusCode::BAD_GATEWAY,
            "unreachable",
            "The app accepts no connections",
            format!("It is running, but nothing answers where it listened: {reason}."),
        )
        .hint("Did it close its listener, or does one request keep it from accepting the next?")
        .about(request_line, generation)
    }
}
