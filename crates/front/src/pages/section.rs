//! The sections that a page is made of, each in every form.

use std::fmt::Write as _;

use maud::{Markup, html};
use serde_json::{Value, json};

use super::backtrace;
use crate::ansi;
use crate::html::{Foreign, terminal_output};
use devhost_model::{Diagnostic, Diagnostics};

/// How much of a compiler's output a page shows.
pub(super) const OUTPUT_SHOWN_SIZE_MAX: usize = 256 * 1024;

const NOTHING_SINCE: &str = "The app has written nothing since the request. Its output before that";

/// A section of a page.
#[derive(Debug)]
pub(super) enum Section {
    Diagnostics(Diagnostics),
    /// Terminal output.
    Output {
        label: &'static str,
        text: String,
    },
    /// Terminal output from before the request, shown on demand.
    Earlier(String),
    Facts(Vec<(&'static str, String)>),
    Backtrace(String),
    Progress,
}

impl Section {
    pub(super) fn to_html(&self) -> Markup {
        match self {
            Self::Diagnostics(diagnostics) => html! {
                @for diagnostic in diagnostics { (diagnostic_to_html(diagnostic)) }
                @if let Some(left_out) = diagnostics.left_out().describe() {
                    section { p class="empty" { "… " (left_out) } }
                }
            },
            Self::Output { label, text } => html! {
                section { h2 { (label) } pre { (terminal_output(text)) } }
            },
            Self::Earlier(text) => html! {
                section { details { summary { (NOTHING_SINCE) } pre { (terminal_output(text)) } } }
            },
            Self::Facts(facts) => html! {
                section { dl { @for (name, value) in facts { dt { (name) } dd { (Foreign(value)) } } } }
            },
            Self::Backtrace(text) => backtrace::to_html(text),
            Self::Progress => html! {
                section class="progress" {
                    progress data-devhost-progress {}
                    p data-devhost-progress-text { "Starting cargo …" }
                }
            },
        }
    }

    /// Adds what there is to know to the `error` object.
    pub(super) fn add_to_json(&self, error: &mut Value) {
        match self {
            Self::Diagnostics(diagnostics) => {
                error["diagnostics"] = json!(&diagnostics[..]);
                error["left_out"] = json!(diagnostics.left_out());
            }
            Self::Output { text, .. } => error["output"] = json!(ansi::strip(text)),
            Self::Earlier(text) => error["earlier_output"] = json!(ansi::strip(text)),
            Self::Facts(facts) => {
                for (name, value) in facts {
                    error[name.to_ascii_lowercase()] = json!(value);
                }
            }
            Self::Backtrace(text) => error["backtrace"] = json!(text),
            Self::Progress => {}
        }
    }

    pub(super) fn add_to_text(&self, out: &mut String) {
        // Writing to a string cannot fail.
        let _ = match self {
            Self::Diagnostics(diagnostics) => {
                for diagnostic in diagnostics {
                    let _ = write!(out, "\n{}\n", ansi::strip(rendered(diagnostic)).trim_end());
                }
                match diagnostics.left_out().describe() {
                    Some(left_out) => writeln!(out, "\n… {left_out}"),
                    None => Ok(()),
                }
            }
            Self::Output { text, .. } => write!(out, "\n{}\n", ansi::strip(text).trim_end()),
            Self::Earlier(text) => write!(out, "\n{NOTHING_SINCE}:\n{}\n", ansi::strip(text).trim_end()),
            Self::Facts(facts) => {
                out.push('\n');
                facts.iter().try_for_each(|(name, value)| writeln!(out, "{name}: {value}"))
            }
            Self::Backtrace(text) => write!(out, "\n{}\n", text.trim_end()),
            Self::Progress => Ok(()),
        };
    }
}

fn diagnostic_to_html(diagnostic: &Diagnostic) -> Markup {
    let class = if diagnostic.is_error() { "level-error" } else { "level-warning" };
    html! {
        section {
            h2 {
                span class=(class) {
                    (Foreign(&diagnostic.level))
                    @if let Some(code) = &diagnostic.code { "[" (Foreign(code)) "]" }
                }
                " "
                span { (Foreign(&diagnostic.message)) }
                @if let Some(place) = place(diagnostic) { span class="place" { (Foreign(&place)) } }
            }
            pre { (terminal_output(&clip(rendered(diagnostic).trim_end()))) }
        }
    }
}

fn rendered(diagnostic: &Diagnostic) -> &str {
    if diagnostic.rendered.is_empty() { &diagnostic.message } else { &diagnostic.rendered }
}

/// Returns the place of a diagnostic, as in `src/pages.rs:12:5`.
fn place(diagnostic: &Diagnostic) -> Option<String> {
    let mut place = diagnostic.file.clone()?;
    for number in [diagnostic.line, diagnostic.column] {
        let Some(number) = number else { break };
        let _ = write!(place, ":{number}");
    }
    Some(place)
}

/// Returns as much of a compiler's output as a page shows.
pub(super) fn clip(text: &str) -> String {
    if text.len() <= OUTPUT_SHOWN_SIZE_MAX {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(OUTPUT_SHOWN_SIZE_MAX);
    format!("{}\n… ({} more bytes are in the terminal)", &text[..end], text.len() - end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_output_is_clipped() {
        let clipped = clip(&"é".repeat(OUTPUT_SHOWN_SIZE_MAX));
        assert!(clipped.len() < OUTPUT_SHOWN_SIZE_MAX + 100 && clipped.contains("more bytes"));
    }
}
