//! The progress of a build: a bar on a terminal, otherwise an occasional line or event.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::echo::Silence;
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

    /// Removes the bar, if any.
    pub(crate) fn finish(&mut self) {
        if let Self::Bar(bar, _silence) = std::mem::replace(self, Self::Idle) {
            bar.finish_and_clear();
        }
    }

    /// Runs `write` with the bar out of the way.
    pub(crate) fn make_way_for(&self, write: impl FnOnce()) {
        match self {
            Self::Bar(bar, _) => bar.suspend(write),
            Self::Idle | Self::Told(..) => write(),
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
