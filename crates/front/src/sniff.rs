//! Tells whether a browser takes a response without `content-type` for HTML (MIME Sniffing Standard §7.1). No
//! I/O.

/// How much white space is skipped. Browsers look at 1445 bytes in all.
const SPACE_SIZE_MAX: usize = 1024;

/// What HTML begins with, besides `<!--`. A space or `>` must follow.
const TAGS: [&str; 16] = [
    "<!doctype html",
    "<html",
    "<head",
    "<script",
    "<iframe",
    "<h1",
    "<div",
    "<font",
    "<table",
    "<a",
    "<style",
    "<title",
    "<b",
    "<body",
    "<br",
    "<p",
];

/// Judges the first bytes of a response. Returns `None` if it needs more.
pub(crate) fn is_html(bytes: &[u8]) -> Option<bool> {
    let space = bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    if space > SPACE_SIZE_MAX {
        return Some(false);
    }
    let text = &bytes[space..];
    if text.starts_with(b"<!--") || TAGS.iter().any(|tag| begins_with_tag(text, tag)) {
        return Some(true);
    }
    let may_become = |start: &str| text.len() <= start.len() && starts(start.as_bytes(), text);
    if may_become("<!--") || TAGS.iter().any(|tag| may_become(tag)) { None } else { Some(false) }
}

fn begins_with_tag(text: &[u8], tag: &str) -> bool {
    starts(text, tag.as_bytes()) && matches!(text.get(tag.len()), Some(b' ' | b'>'))
}

fn starts(text: &[u8], start: &[u8]) -> bool {
    text.get(..start.len()).is_some_and(|text| text.eq_ignore_ascii_case(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_is_known_by_its_first_tag() {
        for (bytes, verdict) in [
            ("", None),
            (" \n", None),
            ("<", None),
            ("<h1", None),
            ("<!DOCTYPE htm", None),
            ("<!-", None),
            ("\n <H1>Hello", Some(true)),
            ("<!DocType HTML>", Some(true)),
            ("<!--", Some(true)),
            ("<p class=a>", Some(true)),
            ("<article>", Some(false)),
            ("<?xml version='1.0'?>", Some(false)),
            ("Hello <b>", Some(false)),
            ("{\"a\": 1}", Some(false)),
            ("\u{feff}<html>", Some(false)),
        ] {
            assert_eq!(is_html(bytes.as_bytes()), verdict, "{bytes:?}");
        }
        assert_eq!(is_html(&vec![b' '; SPACE_SIZE_MAX + 1]), Some(false));
    }
}
