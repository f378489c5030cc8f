//! Output in pieces, made into lines of bounded length.

/// The longest line. What is longer comes in several.
const LINE_SIZE_MAX: usize = 8 * 1024;

/// Collects the bytes of one stream.
#[derive(Debug, Default)]
pub struct Lines {
    /// The line that has not ended yet.
    begun: Vec<u8>,
}

impl Lines {
    /// Takes the next bytes, and calls `say` for each line that they end.
    pub fn take(&mut self, mut bytes: &[u8], mut say: impl FnMut(String)) {
        while let Some(at) = bytes.iter().position(|byte| *byte == b'\n') {
            self.add(&bytes[..at], &mut say);
            say(self.cut(self.begun.len()));
            bytes = &bytes[at + 1..];
        }
        self.add(bytes, &mut say);
    }

    /// Returns what there is of a line without an end, if anything.
    pub fn flush(&mut self) -> Option<String> {
        (!self.begun.is_empty()).then(|| self.cut(self.begun.len()))
    }

    /// Returns true while a line has begun and not ended.
    pub fn has_begun(&self) -> bool {
        !self.begun.is_empty()
    }

    fn add(&mut self, mut bytes: &[u8], say: &mut impl FnMut(String)) {
        while self.begun.len() + bytes.len() > LINE_SIZE_MAX {
            let (now, later) = bytes.split_at(LINE_SIZE_MAX - self.begun.len());
            self.begun.extend_from_slice(now);
            bytes = later;
            let end = whole_characters(&self.begun);
            say(self.cut(end));
        }
        self.begun.extend_from_slice(bytes);
    }

    /// Takes the first bytes as a line. What a carriage return has overwritten is left out.
    fn cut(&mut self, end: usize) -> String {
        let rest = self.begun.split_off(end);
        let line = std::mem::replace(&mut self.begun, rest);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        let shown = line.rsplit(|byte| *byte == b'\r').next().unwrap_or(line);
        String::from_utf8_lossy(shown).into_owned()
    }
}

/// Returns the length without a character at the end that is cut in two.
fn whole_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(lines: &mut Lines, pieces: &[&[u8]]) -> Vec<String> {
        let mut said = Vec::new();
        for piece in pieces {
            lines.take(piece, |line| said.push(line));
        }
        said
    }

    #[test]
    fn pieces_become_lines_wherever_they_are_cut() {
        let text = "one\n\nthr\u{e9}e\r\nfour".as_bytes();
        for at in 0..=text.len() {
            let mut lines = Lines::default();
            let (a, b) = text.split_at(at);
            assert_eq!(taken(&mut lines, &[a, b]), ["one", "", "thr\u{e9}e"], "cut at {at}");
            assert!(lines.has_begun());
            assert_eq!((lines.flush().as_deref(), lines.flush()), (Some("four"), None));
        }
    }

    #[test]
    fn a_line_without_end_is_said_in_parts_that_are_whole_characters() {
        let mut lines = Lines::default();
        let long = "\u{e9}".repeat(LINE_SIZE_MAX);
        let mut said = taken(&mut lines, &[b"x", long.as_bytes()]);
        said.extend(lines.flush());
        assert!(said.len() > 2 && said.iter().all(|part| part.len() <= LINE_SIZE_MAX));
        assert_eq!(said.concat(), format!("x{long}"));
    }

    #[test]
    fn what_is_no_text_is_still_bounded() {
        let mut lines = Lines::default();
        let said = taken(&mut lines, &[vec![0xff; 3 * LINE_SIZE_MAX].as_slice()]);
        assert_eq!(said.len(), 2);
        assert!(said[0].chars().all(|character| character == '\u{fffd}'));
    }

    #[test]
    fn of_a_line_that_is_overwritten_the_last_state_is_said() {
        let mut lines = Lines::default();
        assert_eq!(taken(&mut lines, &[b"10 %\r50 %\r100 %\n"]), ["100 %"]);
        assert_eq!(taken(&mut lines, &[b"10 %\r"]), Vec::<String>::new());
        assert_eq!(lines.flush().as_deref(), Some("10 %"));
    }
}
