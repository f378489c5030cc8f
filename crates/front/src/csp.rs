//! Content Security Policy (CSP Level 3): whether a page may run the live-reload script and open its event
//! stream. devhost never loosens a policy; if it forbids the script, the script stays out.

use actix_web::http::header::{self, HeaderMap};

/// The nonce that the script tag must carry, if any.
pub(crate) type Nonce = Option<String>;

/// Judges all policies of a response. `host` is the request's `Host`, `path` that of the script. The error
/// names the blocking directive.
pub(crate) fn judge(headers: &HeaderMap, host: &str, path: &str) -> Result<Nonce, String> {
    let policies: Vec<Policy> = headers
        .get_all(header::CONTENT_SECURITY_POLICY)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(Policy::parse)
        .collect();
    let mut connect = None;
    for policy in &policies {
        policy.check_sandbox()?;
        connect = connect.or(policy.check_connect(host).err());
    }
    // One policy may not know another's nonce. It then has to allow the script by address.
    let nonces = policies.iter().filter_map(|policy| policy.script_sources()).flat_map(|sources| {
        sources.iter().filter_map(|source| nonce_of(source)).map(|nonce| Some(nonce.to_owned()))
    });
    let mut blocked = None;
    for nonce in std::iter::once(None).chain(nonces) {
        match policies.iter().find_map(|policy| policy.check_script(nonce.as_deref(), host, path).err()) {
            None => return connect.map_or(Ok(nonce), Err),
            Some(reason) => blocked = Some(reason),
        }
    }
    // Names every obstacle at once, so that one change suffices.
    match (connect, blocked) {
        (Some(connect), Some(script)) => Err(format!("{connect}; and {script}")),
        (one, other) => one.or(other).map_or(Ok(None), Err),
    }
}

/// Returns the policies of a response without their nonces, to tell them apart.
pub(crate) fn identity(headers: &HeaderMap) -> String {
    let values = headers.get_all(header::CONTENT_SECURITY_POLICY).filter_map(|value| value.to_str().ok());
    let words = values.flat_map(str::split_ascii_whitespace);
    words
        .map(|word| if nonce_prefix(word).is_some() { "'nonce-'" } else { word })
        .collect::<Vec<_>>()
        .join(" ")
}

fn nonce_prefix(source: &str) -> Option<&str> {
    source.get(..7).filter(|prefix| prefix.eq_ignore_ascii_case("'nonce-"))
}

struct Policy<'a>(Vec<(String, Vec<&'a str>)>);

impl<'a> Policy<'a> {
    fn parse(text: &'a str) -> Self {
        let mut directives: Vec<(String, Vec<&str>)> = Vec::new();
        for directive in text.split(';') {
            let mut words = directive.split_ascii_whitespace();
            let Some(name) = words.next().map(str::to_ascii_lowercase) else { continue };
            // Of duplicates, the first counts.
            if !directives.iter().any(|(known, _)| *known == name) {
                directives.push((name, words.collect()));
            }
        }
        Self(directives)
    }

    fn first(&self, names: &[&'static str]) -> Option<(&'static str, &[&'a str])> {
        names.iter().find_map(|name| {
            let (_, sources) = self.0.iter().find(|(known, _)| known == name)?;
            Some((*name, sources.as_slice()))
        })
    }

    fn script_sources(&self) -> Option<&[&'a str]> {
        self.first(&["script-src-elem", "script-src", "default-src"]).map(|(_, sources)| sources)
    }

    fn check_script(&self, nonce: Option<&str>, host: &str, path: &str) -> Result<(), String> {
        let Some((name, sources)) = self.first(&["script-src-elem", "script-src", "default-src"]) else {
            return Ok(());
        };
        if nonce.is_some() && sources.iter().any(|source| nonce_of(source) == nonce) {
            return Ok(());
        }
        let strict = sources.iter().any(|source| source.eq_ignore_ascii_case("'strict-dynamic'"));
        if !strict && sources.iter().any(|source| matches_self(source, host, path)) {
            return Ok(());
        }
        Err(format!(
            "its Content-Security-Policy has no nonce and no 'self' in {name}; `script-src 'self'` would let the script in"
        ))
    }

    fn check_connect(&self, host: &str) -> Result<(), String> {
        let Some((name, sources)) = self.first(&["connect-src", "default-src"]) else { return Ok(()) };
        if sources.iter().any(|source| matches_self(source, host, "/__devhost/events")) {
            return Ok(());
        }
        Err(format!(
            "its Content-Security-Policy does not allow 'self' in {name}; `connect-src 'self'` would, and nothing else with it"
        ))
    }

    fn check_sandbox(&self) -> Result<(), String> {
        let Some((_, flags)) = self.first(&["sandbox"]) else { return Ok(()) };
        let has = |flag: &str| flags.iter().any(|have| have.eq_ignore_ascii_case(flag));
        if has("allow-scripts") && has("allow-same-origin") {
            return Ok(());
        }
        Err("its Content-Security-Policy is a sandbox without allow-scripts and allow-same-origin".into())
    }
}

/// Returns the nonce of a source if it needs no escaping in a tag.
fn nonce_of(source: &str) -> Option<&str> {
    nonce_prefix(source)?;
    let nonce = source.get(7..)?.strip_suffix('\'')?;
    let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'-' | b'_');
    (!nonce.is_empty() && nonce.bytes().all(safe)).then_some(nonce)
}

/// Returns true if a source allows `path` on the page's own origin, which is plain HTTP here.
fn matches_self(source: &str, host: &str, path: &str) -> bool {
    let source_lower = source.to_ascii_lowercase();
    match source_lower.as_str() {
        "'self'" | "*" | "http:" => return true,
        _ if source_lower.starts_with('\'') => return false,
        _ => {}
    }
    let rest = match source_lower.split_once("://") {
        Some(("http", rest)) => rest,
        Some(_) => return false,
        None => source_lower.as_str(),
    };
    let (authority, source_path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let path_fits = source_path.is_empty()
        || if source_path.ends_with('/') { path.starts_with(source_path) } else { path == source_path };
    let host = host.to_ascii_lowercase();
    let (name, port) = split_port(&host);
    let (source_name, source_port) = split_port(authority);
    let name_fits = match source_name.strip_prefix('*') {
        Some("") => true,
        Some(domain) => domain.starts_with('.') && name.ends_with(domain),
        None => !source_name.is_empty() && name == source_name,
    };
    let port_fits = source_port == Some("*") || source_port.unwrap_or("80") == port.unwrap_or("80");
    path_fits && name_fits && port_fits
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        // The colons inside an IPv6 address introduce no port.
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn policies(values: &[&str]) -> Result<Nonce, String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::CONTENT_SECURITY_POLICY, HeaderValue::from_str(value).unwrap());
        }
        judge(&headers, "localhost:3000", "/__devhost/client.js")
    }

    #[test]
    fn policies_that_allow_the_own_origin_need_no_nonce() {
        for policy in [
            "img-src 'none'",
            "default-src 'self'",
            "script-src *; connect-src http:",
            "default-src 'none'; script-src localhost:3000; connect-src http://localhost:*",
            "default-src 'none'; script-src-elem 'self'; script-src 'none'; connect-src 'self'",
            "script-src http://localhost:3000/__devhost/",
            "sandbox allow-scripts allow-same-origin",
        ] {
            assert_eq!(policies(&[policy]), Ok(None), "{policy}");
        }
        assert_eq!(policies(&[]), Ok(None));
    }

    #[test]
    fn a_nonce_is_reused() {
        for policy in [
            "script-src 'nonce-Ab+/9='",
            "default-src 'none'; script-src 'strict-dynamic' 'NONCE-Ab+/9='; connect-src 'self'",
        ] {
            assert_eq!(policies(&[policy]), Ok(Some("Ab+/9=".into())), "{policy}");
        }
        assert_eq!(policies(&["script-src 'self', script-src 'nonce-a'"]), Ok(Some("a".into())));
        assert_eq!(
            policies(&["script-src 'nonce-b' 'nonce-a'", "script-src 'nonce-a'"]),
            Ok(Some("a".into()))
        );
    }

    #[test]
    fn a_policy_that_is_in_the_way_is_told_with_the_safe_directive() {
        assert!(
            policies(&["default-src 'self'; connect-src 'none'"])
                .unwrap_err()
                .contains("`connect-src 'self'`")
        );
        let both = policies(&["default-src 'none'"]).unwrap_err();
        assert!(both.contains("`connect-src 'self'`") && both.contains("`script-src 'self'`"), "{both}");
    }

    #[test]
    fn a_policy_is_the_same_with_another_nonce() {
        let identity = |policy: &str| {
            let mut headers = HeaderMap::new();
            headers.append(header::CONTENT_SECURITY_POLICY, HeaderValue::from_str(policy).unwrap());
            super::identity(&headers)
        };
        assert_eq!(identity("script-src 'nonce-a'; img-src *"), identity("script-src  'nonce-b'; img-src *"));
        assert_ne!(identity("script-src 'nonce-a'"), identity("script-src 'none'"));
    }

    #[test]
    fn policies_that_block_the_script_name_the_directive() {
        for (policy, directive) in [
            ("script-src 'none'", "script-src"),
            ("script-src", "script-src"),
            ("script-src 'self' 'strict-dynamic'", "script-src"),
            ("script-src https:", "script-src"),
            ("script-src 'unsafe-inline'", "script-src"),
            ("script-src localhost:4000", "script-src"),
            ("script-src localhost", "script-src"),
            ("script-src 'self'; script-src-elem https://cdn.example", "script-src-elem"),
            ("script-src 'nonce-\"><script>'", "script-src"),
            ("default-src 'none'; script-src 'self'", "default-src"),
            ("connect-src https://api.example", "connect-src"),
            ("sandbox allow-scripts", "sandbox"),
            ("script-src 'nonce-a', script-src 'nonce-b'", "script-src"),
        ] {
            let reason = policies(&[policy]).expect_err(policy);
            assert!(reason.contains(directive), "{policy}: {reason}");
        }
    }
}
