//! Which pages may open a WebSocket to the app. Browsers let any page do so, so a server must check `Origin`
//! (RFC 6455 §10.2). Local names are allowed on any port, for front-ends with a server of their own. Pure
//! functions over header values.

use actix_web::http::header::{self, HeaderMap};

use super::host::{HostRules, host_name, is_same_origin};

/// The longest origin shown to the user.
const SHOWN_SIZE_MAX: usize = 200;

/// Returns the origin, for display, of a page that must not open a WebSocket. Returns `None` if the request
/// is allowed.
pub(crate) fn foreign(headers: &HeaderMap, hosts: &HostRules, allowed: &[String]) -> Option<String> {
    let mut origins = headers.get_all(header::ORIGIN);
    // Only programs send none.
    let origin = origins.next()?;
    let text = origin.to_str().unwrap_or("(not a valid one)");
    if origins.next().is_none() && is_allowed(text, headers, hosts, allowed) {
        return None;
    }
    Some(text.chars().take(SHOWN_SIZE_MAX).collect())
}

fn is_allowed(origin: &str, headers: &HeaderMap, hosts: &HostRules, allowed: &[String]) -> bool {
    if normalize(origin).is_some_and(|origin| allowed.contains(&origin)) {
        return true;
    }
    let Some(("http" | "https", authority)) = origin.split_once("://") else { return false };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    is_same_origin(origin, host) || host_name(authority).is_some_and(|name| hosts.is_local_or_allowed(&name))
}

/// Returns an origin as browsers write it: in lower case, without the default port. `null` is one. Returns
/// `None` if it is invalid.
pub fn normalize(origin: &str) -> Option<String> {
    let origin = origin.trim().to_ascii_lowercase();
    if origin == "null" {
        return Some(origin);
    }
    let (scheme, authority) = origin.split_once("://")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if !is_scheme || authority.ends_with(':') {
        return None;
    }
    let name = host_name(authority)?;
    let port = match authority.rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => Some(port.parse::<u16>().ok()?),
        _ => None,
    };
    let port = match (scheme, port) {
        (_, None) | ("http", Some(80)) | ("https", Some(443)) => String::new(),
        (_, Some(port)) => format!(":{port}"),
    };
    Some(format!("{scheme}://{name}{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn refused(origins: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("192.168.1.2:3000"));
        for origin in origins {
            headers.append(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        // Bound to all interfaces, where `Host` may be any address.
        let hosts = HostRules::new(&["0.0.0.0:3000".parse().unwrap()], &[".dev.test".into()]);
        foreign(&headers, &hosts, &["https://partner.example".into(), "null".into()]).is_some()
    }

    #[test]
    fn local_pages_and_allowed_ones_open_websockets() {
        assert!(!refused(&[]));
        for origin in [
            "http://192.168.1.2:3000",
            // Behind a TLS proxy.
            "https://192.168.1.2:3000",
            "http://localhost:5173",
            "https://LOCALHOST",
            "http://app.localhost.:1",
            "http://127.0.0.1:8080",
            "http://[::1]:5173",
            "http://[::ffff:127.0.0.1]",
            "https://a.dev.test:9",
            "https://partner.example",
            "https://Partner.example:443",
            "null",
        ] {
            assert!(!refused(&[origin]), "{origin}");
        }
    }

    #[test]
    fn foreign_pages_do_not() {
        for origin in [
            "http://evil.example",
            "http://localhost.evil.example",
            "http://evil.example#localhost",
            "http://localhost@evil.example",
            "http://localhost:3000@evil.example",
            "http://evil.example/localhost",
            "http://127.0.0.1.evil.example",
            "http://6.6.6.6",
            "http://192.168.1.2:4000",
            "http://[::2]",
            "http://partner.example",
            "https://partner.example:444",
            "file://",
            "ftp://localhost",
            "localhost",
            "",
        ] {
            assert!(refused(&[origin]), "{origin}");
        }
        assert!(refused(&["http://localhost", "http://evil.example"]));
        assert!(refused(&["http://localhost", "http://localhost"]));
        assert!(refused(&["http://localhost, http://evil.example"]));
    }

    #[test]
    fn an_origin_has_one_spelling() {
        assert_eq!(normalize("HTTPS://App.Example.:443").as_deref(), Some("https://app.example"));
        assert_eq!(normalize("http://[::1]:80").as_deref(), Some("http://[::1]"));
        assert_eq!(normalize("chrome-extension://abc").as_deref(), Some("chrome-extension://abc"));
        for none in [
            "*",
            "",
            "app.example",
            "https://",
            "https://a/b",
            "https://a:x",
            "https://a:",
            "https://*.a",
            "://a",
        ] {
            assert_eq!(normalize(none), None, "{none}");
        }
    }
}
