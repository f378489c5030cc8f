//! HTML shared by devhost's own pages and injected ones: the live-reload tag, and foreign text. maud escapes
//! it; this drops control characters.

use maud::{Markup, PreEscaped, Render, html};

use super::ansi;
use super::context::PageContext;

pub(crate) const CLIENT_SCRIPT_PATH: &str = "/__devhost/client.js";

/// Text from a compiler, an app or a client. Renders without control characters.
pub(crate) struct Foreign<'a>(pub(crate) &'a str);

impl Render for Foreign<'_> {
    fn render_to(&self, out: &mut String) {
        self.0.split(ansi::is_hidden).for_each(|part| part.render_to(out));
    }
}

/// Renders terminal output, with its colours as spans.
pub(crate) fn terminal_output(text: &str) -> Markup {
    let text = ansi::keep_colours(text);
    ansi_to_html::convert(&text).map_or_else(|_| html! { (ansi::strip(&text)) }, PreEscaped)
}

/// Renders the script's tag. `kind` tells the script what page it is in.
pub(crate) fn script_tag(page: &PageContext<'_>, kind: &str) -> Markup {
    script_tag_with(page, kind, None, None)
}

/// Like [`script_tag`], with a nonce for the page's policy and the request's method if not GET.
pub(crate) fn script_tag_with(
    page: &PageContext<'_>,
    kind: &str,
    nonce: Option<&str>,
    method: Option<&str>,
) -> Markup {
    html! {
        script src=(CLIENT_SCRIPT_PATH) async
            data-session=(Foreign(page.session))
            data-generation=(page.generation)
            data-revision=(page.revision)
            data-page=(kind)
            nonce=[nonce]
            data-method=[method] {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_output_keeps_its_colours_and_nothing_else() {
        let html = terminal_output("\u{1b}[2K\u{1b}[1ma<\u{1b}[0m").into_string();
        assert_eq!(html, "<b>a&lt;</b>");
    }

    #[test]
    fn text_from_elsewhere_is_escaped_in_elements_and_attributes() {
        let evil = Foreign("\u{1b}<b>\"&\u{7}");
        let html = html! { p title=(evil) { (evil) } }.into_string();
        assert_eq!(html, "<p title=\"&lt;b&gt;&quot;&amp;\">&lt;b&gt;&quot;&amp;</p>");
    }
}
