//! A QR code as lines of text: each character is two modules, one above the other.

use qrcode::{Color, EcLevel, QrCode};

/// The light modules around a code. The standard asks for four; cameras do with two, and the code has to fit beside other windows.
const MARGIN: usize = 2;

/// Black on white, whatever the terminal's own colours are.
const COLOURS: &str = "\x1b[38;5;16;48;5;231m";
const RESET: &str = "\x1b[0m";

/// A drawn code.
#[derive(Debug)]
pub(crate) struct Code {
    pub(crate) lines: Vec<String>,
    /// In columns.
    pub(crate) width: usize,
}

/// Draws a text as a code; `None` if it is too long for one. Without colours the terminal is taken to be dark.
pub(crate) fn draw(text: &str, colours: bool) -> Option<Code> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let (size, modules) = (code.width(), code.to_colors());
    let is_dark = |x: usize, y: usize| {
        let inside = (MARGIN..MARGIN + size).contains(&x) && (MARGIN..MARGIN + size).contains(&y);
        inside && modules[(y - MARGIN) * size + x - MARGIN] == Color::Dark
    };
    let width = size + 2 * MARGIN;
    let line = |top: usize| {
        let drawn: String = (0..width)
            // What is drawn is dark with colours, and light without.
            .map(|x| match (is_dark(x, top) == colours, is_dark(x, top + 1) == colours) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            })
            .collect();
        if colours { format!("{COLOURS}{drawn}{RESET}") } else { drawn }
    };
    Some(Code { lines: (0..width).step_by(2).map(line).collect(), width })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_square_and_has_its_finder_in_the_corner() {
        let code = draw("http://192.168.1.2:3000/", false).unwrap();
        assert_eq!((code.width, code.lines.len()), (29, 15));
        assert!(code.lines.iter().all(|line| line.chars().count() == code.width));
        // Light margin, then the dark square of seven modules with the light one of five in it.
        assert_eq!(code.lines[0], "█".repeat(29));
        let corner: Vec<String> =
            code.lines[1..5].iter().map(|line| line.chars().take(10).collect()).collect();
        assert_eq!(corner, ["██ ▄▄▄▄▄ █", "██ █   █ █", "██ █▄▄▄█ █", "██▄▄▄▄▄▄▄█"]);
        let coloured = draw("http://192.168.1.2:3000/", true).unwrap();
        assert!(coloured.lines[1].starts_with(&format!("{COLOURS}  █▀▀▀▀▀█")), "{}", coloured.lines[1]);
        assert!(coloured.lines.iter().all(|line| line.ends_with(RESET)));
        assert!(draw(&"x".repeat(5_000), false).is_none());
    }
}
