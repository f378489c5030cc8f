//! What all pages have in common: head, header, footer, style and policy.

use actix_web::http::header::HeaderName;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::context::PageContext;
use crate::html::{Foreign, script_tag};

const STYLE: &str = include_str!("../page.css");

/// Allows nothing but the page itself and the live-reload script. Styles are inline, for the compiler's colours.
pub(crate) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Keeps what devhost says about itself out of other origins' pages.
pub(crate) const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// The parts of a page around its sections.
pub(super) struct Frame<'a> {
    pub(super) kind: &'a str,
    /// The request's method: a page that answers a POST must not reload itself.
    pub(super) method: &'a str,
    pub(super) calm: bool,
    pub(super) title: &'a str,
    pub(super) lead: &'a str,
    pub(super) hint: &'a str,
}

impl Frame<'_> {
    /// Renders a whole page around `content`.
    pub(super) fn render(&self, content: &Markup, context: &PageContext<'_>) -> String {
        let (title, app) = (Foreign(self.title), Foreign(context.app));
        let class = format!("{}{}", self.kind, if self.calm { " calm" } else { "" });
        html! {
            (DOCTYPE)
            html lang="en" data-devhost-method=(Foreign(self.method)) {
                head {
                    meta charset="utf-8";
                    title { (title) " · " (app) }
                    meta name="viewport" content="width=device-width";
                    link rel="icon" href="data:,";
                    style { (PreEscaped(STYLE)) }
                    (script_tag(context, self.kind))
                }
                body class=(class) {
                    main {
                        header {
                            p class="tag" { (app) " · devhost" }
                            h1 { (title) }
                            @if !self.lead.is_empty() { p class="lead" { (Foreign(self.lead)) } }
                            @if !self.hint.is_empty() { p class="hint" { (Foreign(self.hint)) } }
                            p class="hint" data-devhost-note hidden {}
                        }
                        (content)
                        footer {
                            "Served by devhost, not by the app · "
                            a href="/__devhost/" { "status" }
                        }
                    }
                }
            }
        }
        .into_string()
    }
}
