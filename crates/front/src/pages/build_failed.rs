//! The code does not build.

use actix_web::http::StatusCode;

use super::page::Page;
use super::section::{Section, clip};
use devhost_model::Diagnostics;

impl Page {
    /// The compiler's diagnostics, errors first, and what cargo printed besides.
    pub(super) fn build_failed(title: String, diagnostics: &Diagnostics, output: &str) -> Self {
        let mut sorted = diagnostics.clone();
        sorted.sort();
        let mut page = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "build_failed",
            title,
            "This page loads the app as soon as the code builds.",
        );
        if !sorted.is_empty() {
            page = page.section(Section::Diagnostics(sorted));
        }
        if !output.trim().is_empty() {
            page = page.section(Section::Output { label: "cargo", text: clip(output) });
        }
        page
    }
}
