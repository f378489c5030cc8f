//! The progress of a build: a bar on a terminal, otherwise an occasional line or event.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::echo::Silence;
use crate::live::{LiveLine, Size};
use devhost_model::WAITING_FOR;

/// How often the bar is redrawn between reports, for the elapsed time.
const BAR_TICK_MS: u64 = 250;

/// How progress is shown.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Nothing is being built, or nothing was said about it yet.
    Idle,
    /// A bar on a terminal, with its echo off.
    Bar(ProgressBar, Option<Silence>),
    /// A live line on a terminal.
    Live(LiveLine),
    /// Lines or events: when the last one was written, and what it named.
    Told(Instant, String),
}

impl Progress {
    /// Moves the bar, drawing one if there is none.
    pub(crate) fn move_bar(&mut self, colours: bool, done: u32, total: u32, current: &str) {
        if !matches!(self, Self::Bar(..)) {
            *self = Self::Bar(new_bar(colours), Silence::start());
        }
        if let Self::Bar(bar, _) = self {
            bar.set_length(total.into());
            bar.set_position(done.into());
            bar.set_message(current.to_owned());
        }
    }

    /// Returns true if a line or event is due: not too often, but at once if the build has to wait.
    pub(crate) fn is_due(&mut self, interval: Duration, current: &str) -> bool {
        let now = Instant::now();
        if let Self::Told(last, of) = self
            && now.duration_since(*last) < interval
            && (of == current || !current.starts_with(WAITING_FOR))
        {
            return false;
        }
        *self = Self::Told(now, current.to_owned());
        true
    }

    /// Returns the live line, beginning one if there is none.
    pub(crate) fn live(&mut self) -> &mut LiveLine {
        if !matches!(self, Self::Live(_)) {
            self.finish();
            *self = Self::Live(LiveLine::default());
        }
        match self {
            Self::Live(line) => line,
            Self::Idle | Self::Bar(..) | Self::Told(..) => unreachable!("it was just made"),
        }
    }

    /// Ends the live line, if any. Returns what to write for that.
    pub(crate) fn end_live(&mut self, size: Size, printed: Option<&str>) -> String {
        match self {
            Self::Live(line) => {
                let text = line.end(size, printed);
                *self = Self::Idle;
                text
            }
            Self::Idle | Self::Bar(..) | Self::Told(..) => String::new(),
        }
    }

    /// Removes the bar, if any.
    pub(crate) fn finish(&mut self) {
        if let Self::Bar(bar, _silence) = std::mem::replace(self, Self::Idle) {
            bar.finish_and_clear();
        }
    }

    /// Runs `write` with the bar or the live line out of the way. It is given what to write first.
    pub(crate) fn make_way_for(&mut self, write: impl FnOnce(&str)) {
        match self {
            Self::Bar(bar, _) => bar.suspend(|| write("")),
            Self::Live(line) => write(line.erase()),
            Self::Idle | Self::Told(..) => write(""),
        }
    }
}

fn new_bar(colours: bool) -> ProgressBar {
    let template = if colours {
        "  {prefix:.green.bold} [{bar:30.cyan}] {pos}/{len} {elapsed:.dim} {wide_msg:.dim}"
    } else {
        "  {prefix} [{bar:30}] {pos}/{len} {elapsed} {wide_msg}"
    };
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        .with_style(style)
        .with_prefix("building");
    bar.enable_steady_tick(Duration::from_millis(BAR_TICK_MS));
    bar
}
