//! Opens the user's browser.

use std::process::{Command, Stdio};

use devhost_terminal::Terminal;

/// Opens an address, or warns that this is not possible.
pub(crate) fn open(terminal: &Terminal, url: &str) {
    let opened = Command::new("xdg-open")
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match opened {
        // Reaped on its own thread: a browser started by this may run for hours.
        Ok(mut child) => drop(std::thread::spawn(move || child.wait())),
        Err(error) => terminal.warn(&format!("failed to open a browser with xdg-open: {error}")),
    }
}
