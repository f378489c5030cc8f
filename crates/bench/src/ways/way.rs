//! A way from a save to the new code.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::edit::Edit;
use crate::model::{Memory, Step, Strategy};

/// A reload whose new code has been seen.
#[derive(Debug)]
pub(crate) struct Seen {
    pub saved: Instant,
    /// When the head of the new code's first response arrived or, if nothing serves, when the new code was
    /// built.
    pub shown: Instant,
    /// The generation that answered, as counted by devhost.
    pub generation: Option<u64>,
    /// The steps known by then.
    pub steps: Vec<Step>,
}

/// A reload once nothing of the old code is left.
#[derive(Debug)]
pub(crate) struct Settled {
    /// The steps from the save to the first response.
    pub steps: Vec<Step>,
    /// Memory of the serving process, if there is one.
    pub memory: Option<Memory>,
}

pub(crate) trait Way {
    fn strategy(&self) -> Strategy;

    /// Its URL. `None` if it serves nothing.
    fn url(&self) -> Option<String>;

    /// The processes that belong to it, with their descendants.
    fn roots(&self) -> Vec<i32>;

    /// Saves the edit and waits for the new code.
    fn reload(&mut self, edit: &Edit, token: &str) -> Result<Seen>;

    /// Waits until the old code is gone, and takes the measurements.
    fn settle(&mut self, seen: &Seen) -> Result<Settled>;

    /// Reverts an edit that did not show, and waits until the app serves again.
    fn undo(&mut self, edit: &Edit) -> Result<()>;

    /// Its notes so far about the app and its reloads.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// The last output of its processes.
    fn printed(&self) -> String;

    fn end(self: Box<Self>);
}

/// A duration in milliseconds.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

pub(super) fn step(name: &str, duration_ms: f64) -> Step {
    Step::new(name, duration_ms)
}

/// The error for an edit that does not show.
pub(super) const NOT_SHOWN: &str = "the new code answers, but without the edit";
