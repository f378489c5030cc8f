//! What one process writes: printed line by line, searched for the line that makes it ready, and its end remembered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use devhost_model::ReadyWhen;
use devhost_terminal::{Label, Stream, Terminal, plain};
use regex::Regex;
use tokio::time::Instant;

use crate::lines::Lines;

/// When what has been written of a line is printed although its end is missing.
const SILENCE_TIME_MAX: Duration = Duration::from_millis(300);

/// How many of the last lines are remembered.
const LAST_LINES_COUNT_MAX: usize = 20;

/// How much is remembered of each.
const LAST_LINE_SIZE_MAX: usize = 1024;

#[derive(Debug)]
pub(crate) struct Output {
    terminal: Arc<Terminal>,
    label: Label,
    stdout: Lines,
    stderr: Lines,
    /// When the last bytes came.
    last: Instant,
    wanted: Option<Regex>,
    is_ready: bool,
    last_lines: VecDeque<String>,
}

impl Output {
    pub(crate) fn new(terminal: Arc<Terminal>, label: Label, ready_when: Option<&ReadyWhen>) -> Self {
        let wanted = match ready_when {
            // It was checked when it was read; one that is none never matches.
            Some(ReadyWhen::Line(pattern)) => Regex::new(pattern).ok(),
            _ => None,
        };
        Self {
            terminal,
            label,
            stdout: Lines::default(),
            stderr: Lines::default(),
            last: Instant::now(),
            wanted,
            is_ready: false,
            last_lines: VecDeque::new(),
        }
    }

    /// Takes what was written to a stream.
    pub(crate) fn take(&mut self, stream: Stream, bytes: &[u8]) {
        self.last = Instant::now();
        let mut said = Vec::new();
        self.lines(stream).take(bytes, |line| said.push(line));
        said.into_iter().for_each(|line| self.say(stream, &line));
    }

    /// Prints lines that have no end yet.
    pub(crate) fn flush(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Some(line) = self.lines(stream).flush() {
                self.say(stream, &line);
            }
        }
    }

    /// Waits until a line that has no end is due; for ever, if there is none.
    pub(crate) async fn due(&self) {
        if self.stdout.has_begun() || self.stderr.has_begun() {
            tokio::time::sleep_until(self.last + SILENCE_TIME_MAX).await;
        } else {
            std::future::pending::<()>().await;
        }
    }

    /// Returns true once, after the line that was waited for.
    pub(crate) fn has_become_ready(&mut self) -> bool {
        std::mem::take(&mut self.is_ready)
    }

    /// Returns the last lines.
    pub(crate) fn into_last_lines(self) -> Vec<String> {
        self.last_lines.into()
    }

    fn lines(&mut self, stream: Stream) -> &mut Lines {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    fn say(&mut self, stream: Stream, line: &str) {
        self.terminal.output(&self.label, stream, line);
        let mut line = plain(line);
        if self.wanted.as_ref().is_some_and(|wanted| wanted.is_match(&line)) {
            self.wanted = None;
            self.is_ready = true;
        }
        if self.last_lines.len() == LAST_LINES_COUNT_MAX {
            self.last_lines.pop_front();
        }
        line.truncate(line.floor_char_boundary(LAST_LINE_SIZE_MAX));
        self.last_lines.push_back(line);
    }
}
