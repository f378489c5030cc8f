//! Content negotiation for devhost's own pages.

use actix_web::http::header::{self, HeaderMap};

/// Which representation a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A page.
    Html,
    /// For a program.
    Json,
    /// For a terminal.
    Text,
}

/// Returns the form that a client prefers: the one with the highest quality; among equals HTML before JSON before
/// text; text for clients that accept anything (curl, fetch).
pub(crate) fn wanted_form(headers: &HeaderMap) -> Form {
    let accept = headers.get_all(header::ACCEPT).filter_map(|value| value.to_str().ok());
    accept
        .flat_map(|value| value.split(','))
        .filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let (rank, form) = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
                "text/html" | "application/xhtml+xml" => (3, Form::Html),
                "application/json" => (2, Form::Json),
                json if json.ends_with("+json") => (2, Form::Json),
                "text/plain" | "text/*" => (1, Form::Text),
                _ => return None,
            };
            let quality = parts.find_map(|parameter| parameter.strip_prefix("q="));
            Some((quality.map_or(1.0, |quality| quality.parse::<f32>().unwrap_or(0.0)), rank, form))
        })
        .filter(|(quality, ..)| *quality > 0.0)
        .max_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))
        .map_or(Form::Text, |(_, _, form)| form)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn the_form_follows_accept() {
        let chrome = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8";
        for (accept, form) in [
            (chrome, Form::Html),
            ("*/*", Form::Text),
            ("", Form::Text),
            ("application/json", Form::Json),
            ("application/json, text/plain, */*", Form::Json),
            ("application/problem+json", Form::Json),
            ("text/html;q=0.1, application/json;q=0.9", Form::Json),
            ("text/html;q=0", Form::Text),
            ("text/plain, text/html;q=0.5", Form::Text),
        ] {
            let request = TestRequest::get().insert_header(("accept", accept)).to_http_request();
            assert_eq!(wanted_form(request.headers()), form, "{accept}");
        }
        assert_eq!(wanted_form(&HeaderMap::new()), Form::Text);
    }
}
