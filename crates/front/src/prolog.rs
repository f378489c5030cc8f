//! Finds the place for a script that must run before all others: after the byte order mark, white space,
//! comments, the doctype and the tags `html`, `head` and `body`, and before anything else. Before the doctype
//! it would cause quirks mode. After it it changes nothing: browsers also imply the three tags at text or any
//! other tag.
//!
//! This is the necessary part of a tokenizer (HTML Standard §13.2.5). It looks at each byte once, holds back
//! a few, and decodes none, so that any encoding with ASCII markup works. No I/O.

/// How many bytes may wait for more: `<html` without the end of its name.
pub(crate) const HELD_SIZE_MAX: usize = 5;

/// The state of the search through a document.
#[derive(Debug, Default)]
pub(crate) struct Prolog(Position);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// The place is after this many bytes.
    Place(usize),
    /// It is not within this many bytes. The rest, [`HELD_SIZE_MAX`] at most, must be passed again with what
    /// follows.
    NotYet(usize),
    /// There is no such place: the markup is not ASCII.
    Nowhere,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Position {
    #[default]
    Start,
    /// Between two pieces of markup.
    Between,
    Comment(Comment),
    /// A doctype or bogus comment. Ends at the first `>`, even within quotes.
    Declaration,
    Tag {
        attribute: Attribute,
        /// The script goes behind it.
        is_place: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comment {
    Start,
    StartDash,
    Inside,
    EndDash,
    End,
    EndBang,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attribute {
    BeforeName,
    Name,
    AfterName,
    BeforeValue,
    Quoted(u8),
    Unquoted,
}

/// What a `<` begins.
enum Markup {
    Begins {
        size: usize,
        state: Position,
    },
    Unfinished,
    /// Something that implies the head or the body.
    Content,
}

impl Prolog {
    /// Looks at the bytes that follow those used so far. Must not be called again once there is a place, or
    /// none.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> Found {
        let mut used = 0;
        if self.0 == Position::Start {
            match bytes {
                [0xfe, 0xff, ..] | [0xff, 0xfe, ..] => return Found::Nowhere,
                [0xef, 0xbb, 0xbf, ..] => used = 3,
                [] | [0xfe | 0xff | 0xef] | [0xef, 0xbb] => return Found::NotYet(0),
                _ => {}
            }
            self.0 = Position::Between;
        }
        while let Some(&byte) = bytes.get(used) {
            match self.0 {
                Position::Start | Position::Between if is_space(byte) => used += 1,
                Position::Start | Position::Between if byte == b'<' => match begin(&bytes[used..]) {
                    Markup::Begins { size, state } => {
                        used += size;
                        self.0 = state;
                    }
                    Markup::Unfinished => return Found::NotYet(used),
                    Markup::Content => return Found::Place(used),
                },
                Position::Start | Position::Between => return Found::Place(used),
                Position::Comment(comment) => {
                    used += 1;
                    self.0 = comment.next(byte).map_or(Position::Between, Position::Comment);
                }
                Position::Declaration => {
                    used += 1;
                    if byte == b'>' {
                        self.0 = Position::Between;
                    }
                }
                Position::Tag { attribute, is_place } => {
                    used += 1;
                    match attribute.next(byte) {
                        Some(attribute) => self.0 = Position::Tag { attribute, is_place },
                        None if is_place => return Found::Place(used),
                        None => self.0 = Position::Between,
                    }
                }
            }
        }
        Found::NotYet(used)
    }

    /// Returns true if a script may follow here at the document's end: outside comments and tags.
    pub(crate) fn is_between(&self) -> bool {
        matches!(self.0, Position::Start | Position::Between)
    }
}

fn begin(bytes: &[u8]) -> Markup {
    match bytes {
        [] | [_] | [_, b'!'] | [_, b'!', b'-'] => Markup::Unfinished,
        [_, b'!', b'-', b'-', ..] => Markup::Begins { size: 4, state: Position::Comment(Comment::Start) },
        [_, b'!' | b'?', ..] => Markup::Begins { size: 2, state: Position::Declaration },
        [_, name @ ..] => {
            let (known, end) = name.split_at(name.len().min(4));
            let may_be = |wanted: &[u8; 4]| wanted[..known.len()].eq_ignore_ascii_case(known);
            if ![b"html", b"head", b"body"].into_iter().any(may_be) {
                return Markup::Content;
            }
            let Some(&end) = end.first() else { return Markup::Unfinished };
            if !is_space(end) && !matches!(end, b'/' | b'>') {
                return Markup::Content;
            }
            let is_place = !known.eq_ignore_ascii_case(b"html");
            Markup::Begins { size: 5, state: Position::Tag { attribute: Attribute::BeforeName, is_place } }
        }
    }
}

impl Comment {
    /// Returns `None` at its end.
    fn next(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Start | Self::StartDash | Self::End | Self::EndBang, b'>') => None,
            (Self::Start, b'-') => Some(Self::StartDash),
            (Self::StartDash | Self::EndDash | Self::End, b'-') => Some(Self::End),
            (Self::Inside | Self::EndBang, b'-') => Some(Self::EndDash),
            (Self::End, b'!') => Some(Self::EndBang),
            _ => Some(Self::Inside),
        }
    }
}

impl Attribute {
    /// Returns `None` at the end of the tag.
    fn next(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Quoted(quote), byte) if byte == quote => Some(Self::BeforeName),
            (Self::Quoted(quote), _) => Some(Self::Quoted(quote)),
            (_, b'>') => None,
            (Self::BeforeValue, b'"' | b'\'') => Some(Self::Quoted(byte)),
            (Self::BeforeValue, byte) if is_space(byte) => Some(Self::BeforeValue),
            (Self::Unquoted, byte) if is_space(byte) => Some(Self::BeforeName),
            (Self::BeforeValue | Self::Unquoted, _) => Some(Self::Unquoted),
            (Self::Name | Self::AfterName, b'=') => Some(Self::BeforeValue),
            (_, b'/') => Some(Self::BeforeName),
            (Self::BeforeName, byte) if is_space(byte) => Some(Self::BeforeName),
            (_, byte) if is_space(byte) => Some(Self::AfterName),
            _ => Some(Self::Name),
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\n' | 0x0c | b'\r' | b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the place in a document that arrives in pieces of this size.
    fn place(document: &[u8], piece: usize) -> Option<usize> {
        let mut prolog = Prolog::default();
        let (mut taken, mut held) = (0, Vec::new());
        for chunk in document.chunks(piece) {
            held.extend_from_slice(chunk);
            match prolog.advance(&held) {
                Found::Place(used) => return Some(taken + used),
                Found::NotYet(used) => {
                    taken += used;
                    held.drain(..used);
                    assert!(held.len() <= HELD_SIZE_MAX, "{held:?}");
                }
                Found::Nowhere => panic!("nowhere"),
            }
        }
        None
    }

    #[test]
    fn the_place_is_after_the_doctype_and_before_all_content() {
        for document in [
            "|<h1>Hello</h1>",
            "|Hello",
            " \r\n\t|Hello",
            "|&amp;",
            "|< b",
            "|<3",
            "|</p><h1>x",
            "|<htmls>",
            "|<header>",
            "|<body-part>",
            "|<img src='data:image/png;base64,AAAA",
            "<!-- <h1> --><!---->|<h1>x",
            "<!--><!---><!-- a --!>|x",
            "<!-- a -- b --- c ----->|x",
            "<!--a--!-->|x",
            "<?xml version='1.0'?><!doctype html>|<title>",
            "<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0//EN\" 'http://a'>\n|text",
            "<!doctype a\">|<p b='>'>",
            "<![CDATA[ a ]]>|b",
            "<html>|<title>",
            "<HTML lang=\"a>b\" c='>' d=e>\n|<p>",
            "<html a\"b>|c\">",
            "<html a=b\"c>|d",
            "<html a = '>' =b>|c",
            "<html a= >|b",
            "<html/><html><!-- x --><head a='>'>|<meta>",
            "<html><body class=\"a\">|<p>",
            "<head/>|</head>",
            "<Body>|x",
        ] {
            let wanted = document.find('|');
            let document = document.replacen('|', "", 1);
            for piece in [1, 2, 3, 5, document.len()] {
                assert_eq!(place(document.as_bytes(), piece), wanted, "{document} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_byte_order_mark_stays_first() {
        let document = b"\xef\xbb\xbf<!doctype html>x";
        for piece in [1, 2, document.len()] {
            assert_eq!(place(document, piece), Some(18));
        }
        assert_eq!(place(b"\xef\xbbx", 3), Some(0));
        for utf16 in [b"\xff\xfe<\0", b"\xfe\xff\0<"] {
            assert_eq!(Prolog::default().advance(utf16), Found::Nowhere);
        }
    }

    #[test]
    fn a_document_can_end_before_any_content() {
        for (document, is_between) in
            [("", true), (" \n", true), ("<!doctype html>", true), ("<!-- a", false), ("<html a='", false)]
        {
            let mut prolog = Prolog::default();
            assert!(matches!(prolog.advance(document.as_bytes()), Found::NotYet(_)), "{document}");
            assert_eq!(prolog.is_between(), is_between, "{document}");
        }
    }
}
