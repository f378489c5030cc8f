//! Whether a browser may reuse a response without revalidation (RFC 9111). By default it may, for a tenth of
//! the response's age or until `expires`, and would miss an edit. Explicit choices of the app are left alone.
//! No I/O.

use actix_web::http::header::{self, HeaderMap, HeaderValue};

/// Makes browsers revalidate a response unless it states its own lifetime. Validators stay, so the answer can
/// be a 304.
pub(crate) fn require_question(headers: &mut HeaderMap) {
    let expires = headers.contains_key(header::CACHE_CONTROL) && headers.contains_key(header::EXPIRES);
    let has_lifetime = headers
        .get_all(header::CACHE_CONTROL)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|directive| is_lifetime(directive.trim()));
    if !has_lifetime && !expires {
        headers.append(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
}

/// Returns true for a directive that settles how long a browser may reuse a response. `public` does not;
/// `s-maxage` is for shared caches.
fn is_lifetime(directive: &str) -> bool {
    let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
    match name.trim_end().to_ascii_lowercase().as_str() {
        "no-store" => true,
        // With a value it applies to single headers only.
        "no-cache" => value.is_empty(),
        "max-age" => value.trim().trim_matches('"').parse::<u64>().is_ok(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pairs: &[(header::HeaderName, &'static str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        require_question(&mut headers);
        assert!(pairs.iter().all(|(name, _)| headers.contains_key(name)), "nothing was taken off");
        headers.get_all(header::CACHE_CONTROL).map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_response_without_a_lifetime_is_asked_for_again() {
        use header::{CACHE_CONTROL, ETAG, EXPIRES, LAST_MODIFIED, PRAGMA};
        assert_eq!(asked(&[]), ["no-cache"]);
        assert_eq!(asked(&[(LAST_MODIFIED, "Thu, 01 Jan 1970 00:00:00 GMT"), (ETAG, "\"a\"")]), ["no-cache"]);
        assert_eq!(asked(&[(EXPIRES, "Fri, 01 Jan 2100 00:00:00 GMT"), (PRAGMA, "cache")]), ["no-cache"]);
        for open in
            ["", "public", "private, s-maxage=60", "max-age=soon", "no-cache=\"set-cookie\"", "immutable"]
        {
            assert_eq!(asked(&[(CACHE_CONTROL, open)]), [open, "no-cache"], "{open}");
        }
    }

    #[test]
    fn what_an_app_says_itself_is_left_as_it_is() {
        use header::{CACHE_CONTROL, EXPIRES};
        for own in
            ["no-cache", "No-Store", "max-age=3600", "public, Max-Age = 60, immutable", "max-age=\"0\""]
        {
            assert_eq!(asked(&[(CACHE_CONTROL, own)]), [own]);
        }
        assert_eq!(
            asked(&[(CACHE_CONTROL, "public"), (CACHE_CONTROL, "max-age=1")]),
            ["public", "max-age=1"]
        );
        let expires = (EXPIRES, "Fri, 01 Jan 2100 00:00:00 GMT");
        assert_eq!(asked(&[(CACHE_CONTROL, "public"), expires]), ["public"]);
    }
}
