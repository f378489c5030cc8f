//! The bench's progress on standard error: on a terminal a bar with an estimate of the time left, otherwise a
//! line for each step.
#![expect(
    clippy::print_stderr,
    reason = "the progress is for people, and standard output may be the report's"
)]

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often the bar is redrawn.
const TICK_TIME: Duration = Duration::from_millis(120);

#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Starts a bar of that many steps, if there is a terminal.
    pub(crate) fn new(step_count: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(step_count);
            let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {wide_msg} {elapsed} {prefix}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(TICK_TIME);
            bar
        });
        Self { bar }
    }

    pub(crate) fn begin(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(what.to_owned()),
            None => eprintln!("{what}"),
        }
    }

    /// Shows a detail of the current step, on the bar only.
    pub(crate) fn detail(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        }
    }

    pub(crate) fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    pub(crate) fn left(&self, left: Duration) {
        if let Some(bar) = &self.bar {
            bar.set_prefix(format!("about {} left", text(left)));
        }
    }

    /// Prints a permanent line.
    pub(crate) fn note(&self, note: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{note}")),
            None => eprintln!("{note}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn text(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 90 { format!("{} s", seconds.max(1)) } else { format!("{} min", (seconds + 30) / 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rough() {
        let texts = [0, 1, 89, 90, 149, 3_600].map(|seconds| text(Duration::from_secs(seconds)));
        assert_eq!(texts, ["1 s", "1 s", "89 s", "2 min", "2 min", "60 min"]);
    }
}
