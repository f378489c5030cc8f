//! Where messages go.

use std::io::{self, Write};

/// A destination of messages.
#[derive(Debug, Clone)]
pub(crate) enum Sink {
    Stdout,
    Stderr,
    #[cfg(test)]
    Memory(std::sync::Arc<std::sync::Mutex<Vec<u8>>>),
}

impl Sink {
    pub(crate) fn write(&self, text: &str) {
        if text.is_empty() {
            return;
        }
        // The reader may be gone, which must not end the server.
        let _ = match self {
            Self::Stdout => write_whole(io::stdout().lock(), text),
            Self::Stderr => write_whole(io::stderr().lock(), text),
            #[cfg(test)]
            Self::Memory(bytes) => write_whole(&mut *bytes.lock().unwrap(), text),
        };
    }
}

fn write_whole(mut out: impl Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}
