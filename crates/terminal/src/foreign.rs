//! Lines that other programs have written: made safe to print among devhost's own. Colours may stay; what moves the cursor,
//! clears the screen or sets a title goes.

/// Returns the line as plain text.
pub fn plain(line: &str) -> String {
    tame(line, false)
}

/// Returns the line without control characters; with its colours, if wanted, which end with it.
pub(crate) fn tame(line: &str, keep_colours: bool) -> String {
    let mut tamed = String::with_capacity(line.len());
    let mut characters = line.chars().peekable();
    let mut is_coloured = false;
    while let Some(character) = characters.next() {
        match character {
            '\x1b' => match characters.next() {
                Some('[') => {
                    let mut sequence = String::from("\x1b[");
                    for character in characters.by_ref() {
                        sequence.push(character);
                        if ('\x40'..='\x7e').contains(&character) {
                            break;
                        }
                    }
                    if keep_colours && is_colour(&sequence) {
                        tamed.push_str(&sequence);
                        is_coloured = true;
                    }
                }
                // A title, a link or the like, up to its end mark.
                Some(']' | 'P' | 'X' | '^' | '_') => {
                    while let Some(character) = characters.next() {
                        if character == '\x07'
                            || (character == '\x1b' && characters.next_if_eq(&'\\').is_some())
                        {
                            break;
                        }
                    }
                }
                // Such as a choice of a character set: further characters, then the last.
                Some('\x20'..='\x2f') => {
                    characters.by_ref().find(|character| !('\x20'..='\x2f').contains(character));
                }
                _ => {}
            },
            '\t' => tamed.push('\t'),
            character if character.is_control() => {}
            character => tamed.push(character),
        }
    }
    if is_coloured {
        tamed.push_str("\x1b[0m");
    }
    tamed
}

/// Returns true for a sequence that sets colours and nothing else.
fn is_colour(sequence: &str) -> bool {
    let inner = sequence.strip_prefix("\x1b[").and_then(|rest| rest.strip_suffix('m'));
    inner.is_some_and(|inner| {
        inner.chars().all(|character| character.is_ascii_digit() || matches!(character, ';' | ':'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_stay_and_end_with_the_line_if_they_are_wanted() {
        let line = "\x1b[1;31merror\x1b[39m in\ta.css";
        assert_eq!(tame(line, true), "\x1b[1;31merror\x1b[39m in\ta.css\x1b[0m");
        assert_eq!(tame(line, false), "error in\ta.css");
    }

    #[test]
    fn nothing_else_reaches_the_terminal() {
        for (line, tamed) in [
            ("\x1bcfull reset", "full reset"),
            ("\x1b[2J\x1b[3J\x1b[Hcleared", "cleared"),
            ("\x1b[2K\x1b[1Gspinner", "spinner"),
            ("\x1b[?25lhidden cursor", "hidden cursor"),
            ("\x1b[>4;2mkeyboard", "keyboard"),
            ("\x1b]0;title\x07text", "text"),
            ("\x1b]8;;http://a/\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1b(Bcharset", "charset"),
            ("bell\x07 back\x08 del\x7f c1\u{9b}31m", "bell back del c131m"),
            ("unfinished \x1b[31", "unfinished "),
            ("unfinished \x1b]0;t", "unfinished "),
            ("unfinished \x1b", "unfinished "),
        ] {
            assert_eq!(tame(line, true), tamed, "{line:?}");
            assert_eq!(tame(line, false), tamed, "{line:?}");
        }
    }
}
