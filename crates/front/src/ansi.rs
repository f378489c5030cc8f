//! Strips escape sequences (ECMA-48) from terminal output, except colours if wanted. No I/O.

/// Strips escape sequences and control characters from terminal output.
pub(crate) fn strip(text: &str) -> String {
    strip_escapes(text, false)
}

/// Like [`strip`], but keeps colours.
pub(crate) fn keep_colours(text: &str) -> String {
    strip_escapes(text, true)
}

fn strip_escapes(text: &str, keep_colours: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        push_printable(&mut out, &rest[..at]);
        let sequence = &rest[at..];
        let len = escape_len(sequence);
        if keep_colours && sequence[..len].ends_with('m') && sequence.starts_with("\u{1b}[") {
            out.push_str(&sequence[..len]);
        }
        rest = &sequence[len..];
    }
    push_printable(&mut out, rest);
    out
}

/// Returns true for a character unfit for a page or a terminal.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
}

fn push_printable(out: &mut String, text: &str) {
    out.extend(text.chars().filter(|c| !is_hidden(*c)));
}

fn escape_len(sequence: &str) -> usize {
    let end = |at: Option<usize>| at.unwrap_or(sequence.len());
    match sequence[1..].chars().next() {
        // A control sequence ends with a byte from 0x40 to 0x7e.
        Some('[') => end(sequence[2..].find(|c| ('@'..='~').contains(&c)).map(|at| at + 3)),
        // An operating system command (a link) ends with BEL or ESC \.
        Some(']') => {
            let bell = sequence.find('\u{7}').map(|at| at + 1);
            let terminator = sequence.find("\u{1b}\\").map(|at| at + 2);
            end([bell, terminator].into_iter().flatten().min())
        }
        Some(c) => 1 + c.len_utf8(),
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_taken_out() {
        for (text, plain) in [
            ("\u{1b}[1;31mred\u{1b}[0m", "red"),
            ("\u{1b}]8;;https://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}]0;title\u{7}x", "x"),
            ("a\u{1b}[2Kb\rc\u{8}", "abc"),
            ("\u{1b}", ""),
            ("\u{1b}[", ""),
            ("\u{1b}é!", "!"),
        ] {
            assert_eq!(strip(text), plain);
        }
        assert_eq!(keep_colours("\u{1b}[2K\u{1b}[1ma<\u{7}\u{1b}[0m"), "\u{1b}[1ma<\u{1b}[0m");
    }
}
