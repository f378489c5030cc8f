//! The description of a page, in no form yet.

use std::time::Duration;

use actix_web::http::StatusCode;

use super::section::Section;

/// How many lines of the app's output a page shows: a panic with its backtrace has about a hundred.
pub(super) const OUTPUT_LINES_SHOWN_COUNT_MAX: usize = 200;

/// A page in place of a response of the app.
#[derive(Debug)]
pub(crate) struct Page {
    pub(super) status: StatusCode,
    /// One word for programs, and for the live-reload script.
    pub(super) kind: &'static str,
    pub(super) title: String,
    pub(super) lead: String,
    pub(super) hint: String,
    pub(super) retry_after: Option<Duration>,
    pub(super) sections: Vec<Section>,
}

impl Page {
    pub(super) fn new(
        status: StatusCode,
        kind: &'static str,
        title: impl Into<String>,
        lead: impl Into<String>,
    ) -> Self {
        Self {
            status,
            kind,
            title: title.into(),
            lead: lead.into(),
            hint: String::new(),
            retry_after: None,
            sections: Vec::new(),
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    pub(super) fn section(mut self, section: Section) -> Self {
        self.sections.push(section);
        self
    }

    /// Adds the last lines of the app's output.
    #[must_use]
    pub(crate) fn output(self, output: &str) -> Self {
        self.labelled_output("The app's last output", output)
    }

    /// Adds the last lines of the app's output since the request came in. If there are none, adds its earlier output,
    /// folded.
    #[must_use]
    pub(crate) fn output_since_request(self, output: &str, before: impl FnOnce() -> String) -> Self {
        if !output.trim().is_empty() {
            return self.labelled_output("The app's output since the request", output);
        }
        let before = before();
        match last_lines(before.trim_end()) {
            "" => self,
            text => self.section(Section::Earlier(text.to_owned())),
        }
    }

    pub(super) fn labelled_output(self, label: &'static str, output: &str) -> Self {
        let text = last_lines(output.trim_end());
        if text.trim().is_empty() {
            return self;
        }
        self.section(Section::Output { label, text: text.to_owned() })
    }

    pub(super) fn retry_after(mut self, time: Duration) -> Self {
        self.retry_after = Some(time);
        self
    }

    /// Adds the request and the generation that it went to.
    pub(super) fn about(self, request_line: &str, generation: u64) -> Self {
        self.section(Section::Facts(vec![
            ("Request", request_line.to_owned()),
            ("Generation", generation.to_string()),
        ]))
    }
}

fn last_lines(text: &str) -> &str {
    match text.rmatch_indices('\n').nth(OUTPUT_LINES_SHOWN_COUNT_MAX - 1) {
        Some((at, _)) => &text[at + 1..],
        None => text,
    }
}
