//! The generated root file of a plain app: the app's own root file, with an appended entry point for the
//! worker. All original lines stay in place. Only the head of the file is parsed; rustc understands the rest.

use std::ops::Range;

use devhost_model::PLAIN_MAIN_SYMBOL;

/// The exit code of a panicked `main` in Rust's runtime.
const PANIC_EXIT_CODE: i32 = 101;

/// Lints the app may deny and the entry violates; `warnings` covers only those at warning level.
const ALLOWED_LINTS: &[&str] = &[
    "unknown_lints",
    "warnings",
    "future_incompatible",
    "nonstandard_style",
    "rust_2018_compatibility",
    "rust_2018_idioms",
    "rust_2021_compatibility",
    "rust_2024_compatibility",
    "unused",
    "missing_docs",
    "unreachable_pub",
    "unsafe_code",
    "unused_crate_dependencies",
    "unused_qualifications",
    "unused_results",
    "clippy::all",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Root {
    pub text: String,
    pub own_lines: usize,
    pub without_allocator: bool,
}

/// Appends the entry to a root file. If the standard library is shared, so is its allocator: one part of the
/// process frees what another has allocated, and an allocator of the app's own would be given memory it does
/// not know.
pub(crate) fn generate(source: &str, edition: &str, shared: bool) -> Root {
    let mut text = allow_exceptions(source);
    let allocators = if shared { code_words(source, 0..source.len(), ALLOCATOR.0) } else { Vec::new() };
    for &position in &allocators {
        text.replace_range(position..position + ALLOCATOR.0.len(), ALLOCATOR.1);
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let own_lines = text.lines().count();
    text.push_str(&entry(edition));
    Root { text, own_lines, without_allocator: !allocators.is_empty() }
}

/// The allocator attribute, and a no-op attribute of the same length.
const ALLOCATOR: (&str, &str) = ("global_allocator", "allow(dead_code)");

/// Whether a crate has a C `main` of its own.
pub(crate) fn has_no_main(source: &str) -> bool {
    inner_attributes(source).into_iter().any(|range| {
        let attribute: String =
            source[range].chars().filter(|character| !character.is_whitespace()).collect();
        attribute == "#![no_main]"
    })
}

/// The appended text. Wrapped in a constant, so that it adds no name to the crate. All paths are absolute,
/// since the app may define the same names. Comparing is the only stable way to turn an exit code into a
/// number.
fn entry(edition: &str) -> String {
    // Older compilers do not know the new form, the newest edition no longer the old one.
    let no_mangle = match edition {
        "" | "2015" | "2018" | "2021" => "#[no_mangle]",
        _ => "#[unsafe(no_mangle)]",
    };
    let lints = ALLOWED_LINTS.join(", ");
    format!(
        r#"#[allow({lints})]
const _: () = {{
    extern crate devhost_deps as _;
    {no_mangle}
    pub extern "C" fn {PLAIN_MAIN_SYMBOL}() -> i32 {{
        fn run<T: ::std::process::Termination>(main: impl ::std::ops::FnOnce() -> T) -> i32 {{
            let main = ::std::panic::AssertUnwindSafe(move || ::std::process::Termination::report(main()));
            match ::std::panic::catch_unwind(main) {{
                ::std::result::Result::Ok(code) => {{
                    let shown = ::std::format!("{{:?}}", code);
                    let code = |n: u8| <::std::process::ExitCode as ::std::convert::From<u8>>::from(n);
                    let same = |n: &u8| ::std::format!("{{:?}}", code(*n)) == shown;
                    let found = ::std::iter::Iterator::find(&mut (0u8..=255), same);
                    found.map_or(1, <i32 as ::std::convert::From<u8>>::from)
                }}
                ::std::result::Result::Err(_) => {PANIC_EXIT_CODE},
            }}
        }}
        run(crate::main)
    }}
}};
"#
    )
}

/// Turns `#![forbid(…)]` into `deny`, which is as strict for the app's own code but lets the entry be an
/// exception. Keeps columns.
fn allow_exceptions(source: &str) -> String {
    let mut text = source.to_owned();
    for range in inner_attributes(source) {
        for position in code_words(source, range, "forbid") {
            text.replace_range(position..position + "forbid".len(), "deny  ");
        }
    }
    text
}

/// The positions of a word in code, outside of strings and comments.
fn code_words(source: &str, range: Range<usize>, word: &str) -> Vec<usize> {
    let mut found = Vec::new();
    let mut position = range.start;
    while position < range.end {
        let rest = &source[position..range.end];
        if let Some(skipped) =
            skip_comment(rest).or_else(|| skip_string(rest)).or_else(|| skip_character(rest))
        {
            position += skipped;
        } else if rest.starts_with(is_word) {
            let len = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
            if &rest[..len] == word {
                found.push(position);
            }
            position += len;
        } else {
            position += first_len(rest);
        }
    }
    found
}

/// The `#![…]` attributes at the head of a file.
fn inner_attributes(source: &str) -> Vec<Range<usize>> {
    let mut attributes = Vec::new();
    let mut position = shebang_len(source);
    while position < source.len() {
        let rest = &source[position..];
        if rest.starts_with(|character: char| character.is_whitespace() || character == '\u{feff}') {
            position += first_len(rest);
        } else if let Some(skipped) = skip_comment(rest) {
            position += skipped;
        } else if let Some(len) = attribute_len(rest) {
            attributes.push(position..position + len);
            position += len;
        } else {
            break;
        }
    }
    attributes
}

/// The length of a shebang line: a first line starting with `#!`, unless it starts an attribute.
fn shebang_len(source: &str) -> usize {
    let text = source.strip_prefix('\u{feff}').unwrap_or(source);
    match text.strip_prefix("#!") {
        Some(rest) if !rest.trim_start().starts_with('[') => source.find('\n').unwrap_or(source.len()),
        _ => 0,
    }
}

fn attribute_len(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('#')?.trim_start().strip_prefix('!')?.trim_start().strip_prefix('[')?;
    let mut position = text.len() - inner.len();
    let mut depth = 1;
    while position < text.len() {
        let rest = &text[position..];
        if let Some(skipped) = skip_comment(rest).or_else(|| skip_string(rest)) {
            position += skipped;
            continue;
        }
        match rest.as_bytes()[0] {
            b'[' => depth += 1,
            b']' => depth -= 1,
            _ => {}
        }
        position += first_len(rest);
        if depth == 0 {
            return Some(position);
        }
    }
    None
}

/// The length of a leading comment; block comments nest.
fn skip_comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let mut depth = 0;
    let mut position = 0;
    while position < text.len() {
        let rest = &text[position..];
        if rest.starts_with("/*") {
            depth += 1;
            position += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            position += 2;
            if depth == 0 {
                return Some(position);
            }
        } else {
            position += first_len(rest);
        }
    }
    Some(text.len())
}

/// The length of a leading string literal, raw or not.
fn skip_string(text: &str) -> Option<usize> {
    let unprefixed = text.strip_prefix(['b', 'c']).unwrap_or(text);
    if let Some(raw) = unprefixed.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let body = raw[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let start = text.len() - body.len();
        return Some(body.find(&end).map_or(text.len(), |position| start + position + end.len()));
    }
    let body = unprefixed.strip_prefix('"')?;
    let start = text.len() - body.len();
    let mut escaped = false;
    for (position, character) in body.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(start + position + 1),
            _ => {}
        }
    }
    Some(text.len())
}

/// The length of a leading character literal, as opposed to a lifetime.
fn skip_character(text: &str) -> Option<usize> {
    let body = text.strip_prefix('\'')?;
    if let Some(escape) = body.strip_prefix('\\') {
        let first = first_len(escape);
        return escape[first..].find('\'').map(|end| "'\\".len() + first + end + 1);
    }
    let first = first_len(body);
    body[first..].starts_with('\'').then_some(first + 2)
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn first_len(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_original_stays() {
        for (source, lines) in
            [("fn main() {}", 1), ("a\r\nb\r\n", 2), ("a\n\n\nb\n", 4), ("", 0), ("// end", 1)]
        {
            let root = generate(source, "2021", true);
            assert!(root.text.starts_with(source), "{source:?}");
            assert_eq!(root.own_lines, lines, "{source:?}");
            assert!(root.text.lines().nth(lines).unwrap().starts_with("#[allow"), "{source:?}");
        }
        assert!(generate("", "2024", true).text.contains("#[unsafe(no_mangle)]"));
        assert!(!generate("", "2018", true).text.contains("unsafe(no_mangle)"));
    }

    #[test]
    fn forbid_gives_way_only_where_it_is_an_attribute_of_the_crate() {
        let head = "#!/usr/bin/env run\n//! forbid (a)\n/* forbid /* b */ */\n#![doc = \"forbid ] \\\" forbid\"]\n\
                    #![cfg_attr(all(), forbid(unsafe_code), doc = r#\"forbid \" ]\"#)]\n# ! [forbid (warnings)]\n";
        let source = format!("{head}#[forbid(x)]\nfn main() {{}}\n#![forbid(y)]\n");
        let text = allow_exceptions(&source);
        assert_eq!(text.len(), source.len());
        assert_eq!(text.matches("deny  ").count(), 2, "{text}");
        assert!(text.contains("deny  (unsafe_code)") && text.contains("# ! [deny   (warnings)]"), "{text}");
        assert!(text.contains("forbid ] \\\" forbid") && text.contains("r#\"forbid \" ]\"#"), "{text}");
    }

    #[test]
    fn an_allocator_gives_way_to_the_shared_one() {
        let source = "fn quotes() -> [char; 2] { ['\"', '\\''] }\n#[global_allocator]\nstatic A: X<'static> = X;\n\
                      // #[global_allocator]\nconst S: &str = \"#[global_allocator]\";\nconst B: &[u8] = br#\"\\\"#;\n\
                      #[cfg_attr(unix, global_allocator)]\nstatic B: X = X;\n";
        let root = generate(source, "2021", true);
        assert!(root.without_allocator);
        assert_eq!(root.text.matches("allow(dead_code)").count(), 2, "{}", root.text);
        assert!(
            root.text.contains("#[allow(dead_code)]\nstatic A")
                && root.text.contains("\"#[global_allocator]\"")
        );
        let root = generate(source, "2021", false);
        assert!(!root.without_allocator && root.text.starts_with(source));
    }

    #[test]
    fn a_crate_without_main_is_known() {
        assert!(has_no_main("// c\n#![allow(x)]\n#! [ no_main ]\n"));
        assert!(!has_no_main("#![cfg_attr(windows, no_main)]\nfn main() {}"));
        assert!(!has_no_main("fn main() {}\n//#![no_main]"));
        assert!(!has_no_main("#![doc = \"no_main"));
    }
}
