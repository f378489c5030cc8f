//! The wording of the answers to keys: what they do, where the app is, and whether devhost is paused.

use std::fmt::Write as _;

use devhost_model::counted;

use crate::qr;
use crate::style::Style;

/// What a terminal shows after the banner if it takes keys.
pub(crate) const HINT: &str = "press ? for keys";

/// How much of the app's output is shown again.
const OUTPUT_SHOWN_LINES_MAX: usize = 40;

/// What each key does. Narrow, so that it fits into half a screen.
const KEYS: [(&str, &str); 10] = [
    ("r", "start the app anew, same code"),
    ("R", "build from scratch: the app and its"),
    ("", "path packages, not other dependencies"),
    ("p", "pause: act on changes at the next p"),
    ("o", "open the app in a browser"),
    ("u", "addresses, with a code for a phone"),
    ("e", "the last error again"),
    ("c", "clear the screen"),
    ("?", "these keys"),
    ("q", "quit"),
];

/// Where the app is.
#[derive(Debug)]
pub struct Addresses<'a> {
    /// Each with its label, the one to open first.
    pub urls: &'a [(&'static str, String)],
    /// The one for a phone: it is shown as a QR code.
    pub phone: Option<&'a str>,
    /// How to let a phone in, if there is no such address.
    pub hint: &'a str,
}

impl Style {
    pub(crate) fn keys(self) -> String {
        let mut text = "\n".to_owned();
        for (key, what) in KEYS {
            let _ = writeln!(text, "  {}  {what}", self.bold(&format!("{key:1}")));
        }
        text.push('\n');
        text
    }

    /// Shows addresses on a terminal of this width, if that is known.
    pub(crate) fn whereabouts(self, addresses: &Addresses<'_>, columns: Option<usize>) -> String {
        let urls: Vec<(&str, &str)> =
            addresses.urls.iter().map(|(label, url)| (*label, url.as_str())).collect();
        let mut text = format!("\n{}\n", self.addresses(&urls));
        if let Some(url) = addresses.phone
            && let Some(code) = qr::draw(url, self.colours)
        {
            if columns.is_none_or(|columns| columns >= code.width) {
                let _ = writeln!(text, "{}\n  {}\n", code.lines.join("\n"), self.dim(url));
            } else {
                self.hint(&mut text, "the terminal is too narrow for a QR code");
            }
        }
        if !addresses.hint.is_empty() {
            self.hint(&mut text, addresses.hint);
        }
        text
    }

    /// Shows trouble again, after the last lines of the app's output.
    pub(crate) fn once_more(self, output: &str, trouble: &str, is_over: bool) -> String {
        let lines: Vec<&str> = output.trim_end().lines().collect();
        let mut text = String::new();
        for line in lines.iter().skip(lines.len().saturating_sub(OUTPUT_SHOWN_LINES_MAX)) {
            let _ = writeln!(text, "{}", self.coloured(line));
        }
        text.push_str(trouble);
        if is_over {
            let _ = writeln!(text, "{}", self.dim("(it is over: the newest code is serving)"));
        }
        text
    }

    pub(crate) fn paused(self) -> String {
        format!("{}: changes are noticed, and acted on when you press p again\n", self.doubtful("paused"))
    }

    pub(crate) fn resumed(self, files: usize) -> String {
        let what = match files {
            0 => "nothing has changed meanwhile".to_owned(),
            files => format!("{} changed meanwhile", counted(files, "file has", "files have")),
        };
        format!("{}: {what}\n", self.good("resumed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style { colours: false };

    #[test]
    fn help_fits_into_half_a_screen() {
        let help = PLAIN.keys();
        assert!(help.lines().all(|line| line.chars().count() <= 44), "{help}");
        for key in ["r", "R", "p", "o", "u", "e", "c", "?", "q"] {
            assert!(help.contains(&format!("\n  {key}  ")), "{key}: {help}");
        }
    }

    #[test]
    fn an_address_for_a_phone_is_a_code_if_that_fits() {
        let urls = [("Local", "http://127.0.0.1:3000/".to_owned())];
        let addresses = Addresses { urls: &urls, phone: Some("http://192.168.1.2:3000/"), hint: "" };
        let wide = PLAIN.whereabouts(&addresses, Some(40));
        assert!(wide.contains('█') && wide.contains("  http://192.168.1.2:3000/\n"), "{wide}");
        assert!(wide.lines().all(|line| line.chars().count() <= 40), "{wide}");
        let narrow = PLAIN.whereabouts(&addresses, Some(20));
        assert!(!narrow.contains('█') && narrow.contains("too narrow"), "{narrow}");
        let closed = Addresses { phone: None, hint: "let it in", ..addresses };
        assert!(PLAIN.whereabouts(&closed, None).ends_with("hint: let it in\n"));
    }

    #[test]
    fn trouble_is_shown_again_with_the_end_of_the_output_before_it() {
        let output: String = (0..100).map(|line| format!("line {line}\n")).collect();
        let shown = PLAIN.once_more(&output, "crashed: x\n", true);
        assert!(shown.starts_with("line 60\n"), "{shown}");
        assert!(
            shown.ends_with("line 99\ncrashed: x\n(it is over: the newest code is serving)\n"),
            "{shown}"
        );
        assert_eq!(PLAIN.once_more("", "crashed: x\n", false), "crashed: x\n");
    }

    #[test]
    fn a_pause_says_what_waits() {
        assert_eq!(PLAIN.resumed(0), "resumed: nothing has changed meanwhile\n");
        assert_eq!(PLAIN.resumed(1), "resumed: 1 file has changed meanwhile\n");
        assert_eq!(PLAIN.resumed(3), "resumed: 3 files have changed meanwhile\n");
    }
}
