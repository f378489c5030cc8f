//! Which host names the front answers to, and who may use its own endpoints. Guards against DNS rebinding and
//! cross-origin reads. Pure functions over header values.

use std::net::{IpAddr, SocketAddr};

use actix_web::http::header::{self, HeaderMap};

/// The host names that the front answers to.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostRules {
    bound: Vec<IpAddr>,
    any_address: bool,
    allowed: Vec<String>,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// `Host` is invalid, or contradicts the request line.
    Malformed,
    /// The name is not allowed.
    Host(String),
    /// Another origin asked for one of the front's own endpoints.
    Origin,
}

impl HostRules {
    /// Creates the rules for a server bound to these addresses. A leading dot in `allowed` includes all
    /// subdomains.
    pub(crate) fn new(bound: &[SocketAddr], allowed: &[String]) -> Self {
        Self {
            bound: bound.iter().map(SocketAddr::ip).collect(),
            // Bound to all interfaces, the machine's own addresses are unknown here. Any address is safe as a
            // host: rebinding needs a name.
            any_address: bound.iter().any(|address| address.ip().is_unspecified()),
            allowed: allowed.iter().map(|name| normalize(name)).collect(),
        }
    }

    /// Checks `Host` and the authority of the request line, if any.
    pub(crate) fn check(&self, headers: &HeaderMap, authority: Option<&str>) -> Result<(), Refusal> {
        let host = match headers.get(header::HOST) {
            Some(value) => Some(value.to_str().map_err(|_| Refusal::Malformed)?),
            // Only HTTP/1.0 gets here without one, and no browser speaks it.
            None => None,
        };
        if let (Some(host), Some(authority)) = (host, authority)
            && !host.eq_ignore_ascii_case(authority)
        {
            return Err(Refusal::Malformed);
        }
        match host.or(authority) {
            None => Ok(()),
            Some(host) => {
                let name = host_name(host).ok_or(Refusal::Malformed)?;
                if self.allows(&name) { Ok(()) } else { Err(Refusal::Host(name)) }
            }
        }
    }

    fn allows(&self, name: &str) -> bool {
        (self.any_address && parse_address(name).is_some()) || self.is_local_or_allowed(name)
    }

    /// Returns true for a name of this machine or an allowed one. `name` must come from [`host_name`].
    pub(crate) fn is_local_or_allowed(&self, name: &str) -> bool {
        if let Some(address) = parse_address(name) {
            let is_bound = self.bound.contains(&address) && !address.is_unspecified();
            return is_bound
                || address.to_canonical().is_loopback()
                || self.allowed.iter().any(|allowed| name == allowed);
        }
        name == "localhost"
            || name.ends_with(".localhost")
            || self.allowed.iter().any(|allowed| match allowed.strip_prefix('.') {
                Some(domain) => name == domain || name.ends_with(allowed.as_str()),
                None => name == allowed,
            })
    }
}

/// Checks that a request for one of the front's own endpoints is same-origin, or comes from no page.
pub(crate) fn check_same_origin(headers: &HeaderMap) -> Result<(), Refusal> {
    if let Some(site) = headers.get("sec-fetch-site")
        && !matches!(site.as_bytes(), b"same-origin" | b"none")
    {
        return Err(Refusal::Origin);
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let same = origin.to_str().is_ok_and(|origin| is_same_origin(origin, host));
    if same { Ok(()) } else { Err(Refusal::Origin) }
}

/// Returns true if a page of this origin was loaded from this `Host`.
pub(crate) fn is_same_origin(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let bare = |text: &str| text.strip_suffix(port).unwrap_or(text).to_ascii_lowercase();
    !host.is_empty() && bare(authority) == bare(host)
}

fn normalize(name: &str) -> String {
    name.trim().trim_end_matches('.').to_ascii_lowercase()
}

/// Returns the name in a `Host` header in lower case, without its port, or `None` if it is invalid.
pub fn host_name(host: &str) -> Option<String> {
    let (name, rest) = match host.strip_prefix('[') {
        Some(inside) => {
            let end = inside.find(']')?;
            (&host[..end + 2], &inside[end + 1..])
        }
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port = rest.strip_prefix(':').unwrap_or(rest);
    let rest_is_port = rest.is_empty() || (rest.starts_with(':') && port.bytes().all(|b| b.is_ascii_digit()));
    let name = normalize(name);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'[' | b']' | b':');
    (rest_is_port && !name.is_empty() && name.bytes().all(allowed)).then_some(name)
}

fn parse_address(name: &str) -> Option<IpAddr> {
    match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(inside) => inside.parse().ok().map(IpAddr::V6),
        None => name.parse().ok().map(IpAddr::V4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    fn check(host: &str, bound: &str, allowed: &[&str]) -> Result<(), Refusal> {
        let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        HostRules::new(&[bound.parse().unwrap()], &allowed).check(&headers(&[("host", host)]), None)
    }

    #[test]
    fn loopback_names_are_answered() {
        for host in [
            "localhost",
            "LOCALHOST:3000",
            "app.localhost:1",
            "127.0.0.1:8",
            "127.9.9.9",
            "[::1]:3",
            "localhost.",
        ] {
            assert_eq!(check(host, "127.0.0.1:3000", &[]), Ok(()), "{host}");
        }
    }

    #[test]
    fn foreign_names_are_refused() {
        for host in
            ["evil.com", "localhost.evil.com", "127.0.0.1.evil.com", "192.168.1.2", "0.0.0.0", "[::2]"]
        {
            assert!(matches!(check(host, "127.0.0.1:3000", &[]), Err(Refusal::Host(_))), "{host}");
        }
        for host in ["", "a b", "a/b", "localhost:x", "[::1", "localhost@evil.com", "[::1]x"] {
            assert_eq!(check(host, "127.0.0.1:3000", &[]), Err(Refusal::Malformed), "{host}");
        }
    }

    #[test]
    fn the_bound_address_is_answered() {
        assert_eq!(check("192.168.1.2:80", "192.168.1.2:80", &[]), Ok(()));
        assert!(check("192.168.1.3:80", "192.168.1.2:80", &[]).is_err());
        assert_eq!(check("192.168.1.3:80", "0.0.0.0:80", &[]), Ok(()));
        assert!(check("evil.com", "0.0.0.0:80", &[]).is_err());
    }

    #[test]
    fn allowed_names_are_answered() {
        assert_eq!(check("dev.example.com", "127.0.0.1:1", &["dev.example.com"]), Ok(()));
        assert!(check("a.dev.example.com", "127.0.0.1:1", &["dev.example.com"]).is_err());
        assert_eq!(check("a.Example.com:2", "127.0.0.1:1", &[".example.com"]), Ok(()));
        assert_eq!(check("example.com", "127.0.0.1:1", &[".example.com"]), Ok(()));
        assert!(check("badexample.com", "127.0.0.1:1", &[".example.com"]).is_err());
    }

    #[test]
    fn a_request_line_that_names_another_host_is_refused() {
        let rules = HostRules::default();
        let localhost = headers(&[("host", "localhost")]);
        assert_eq!(rules.check(&localhost, Some("evil.com")), Err(Refusal::Malformed));
        assert_eq!(rules.check(&localhost, Some("localhost")), Ok(()));
    }

    #[test]
    fn own_endpoints_need_the_same_origin() {
        let host = ("host", "localhost:3000");
        let check = |pairs: &[(&'static str, &str)]| check_same_origin(&headers(pairs));
        assert_eq!(check(&[host]), Ok(()));
        assert_eq!(check(&[host, ("origin", "http://localhost:3000")]), Ok(()));
        assert_eq!(check(&[("host", "a.dev"), ("origin", "https://a.dev:443")]), Ok(()));
        for origin in ["http://localhost:3001", "http://evil.com", "null", "file://localhost:3000", ""] {
            assert_eq!(check(&[host, ("origin", origin)]), Err(Refusal::Origin), "{origin}");
        }
        assert_eq!(check(&[host, ("sec-fetch-site", "same-origin")]), Ok(()));
        assert_eq!(check(&[host, ("sec-fetch-site", "none")]), Ok(()));
        for site in ["cross-site", "same-site"] {
            assert_eq!(check(&[host, ("sec-fetch-site", site)]), Err(Refusal::Origin), "{site}");
        }
    }
}
