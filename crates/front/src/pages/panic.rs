//! A handler panicked.

use actix_web::http::StatusCode;

use super::page::Page;
use super::section::Section;
use devhost_link::wire::PanicReport;

impl Page {
    /// A handler panicked.
    pub(crate) fn panic(report: &PanicReport, request_line: &str, generation: u64) -> Self {
        let mut facts = vec![("Request", request_line.to_owned())];
        if !report.location.is_empty() {
            facts.push(("Location", report.location.clone()));
        }
        facts.push(("Generation", generation.to_string()));
        let page = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "panic",
            "The app panicked",
            if report.message.is_empty() { "(no message)" } else { &report.message },
        )
        .section(Section::Facts(facts));
        if report.backtrace.trim().is_empty() {
            page.hint("There is no backtrace. Set RUST_BACKTRACE=1 to get one.")
        } else {
            page.section(Section::Backtrace(report.backtrace.clone()))
        }
    }
}
