//! No generation serves, and why: the build or what has to run before it failed, the app did not start, or it crashed again and again.

use actix_web::http::StatusCode;

use super::page::Page;
use devhost_model::Failure;

impl Page {
    /// No generation serves.
    pub(crate) fn failure(failure: &Failure) -> Self {
        let (status, title) = (StatusCode::INTERNAL_SERVER_ERROR, failure.title());
        match failure {
            Failure::Build { diagnostics, output } => Self::build_failed(title, diagnostics, output),
            Failure::Process { message, hint, output, .. } => {
                let page = Self::new(status, "process_failed", title, message.trim()).hint(hint);
                page.labelled_output("Its last output", output)
            }
            Failure::Start { message, hint, output, .. } => {
                Self::new(status, "start_failed", title, message.trim()).hint(hint).output(output)
            }
            Failure::Crash { message, output, .. } => Self::new(status, "crash_loop", title, message)
                .hint("devhost starts the app again after the next change to its code.")
                .output(output),
        }
    }
}
