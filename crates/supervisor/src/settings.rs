//! The settings that a user can change.

use std::time::Duration;

/// What a user can set.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Hold requests from a change until the new code serves.
    pub hold: bool,
    /// Start the new generation while the old one still runs; if not, requests wait while one ends and the other starts.
    pub overlap: bool,
    /// How many workers a generation has, at least 1.
    pub workers: u32,
    /// How long a start may take, from the fork until it is ready.
    pub start_time_max: Duration,
    /// How long an old generation may go on with its requests.
    pub drain_time_max: Duration,
    /// How long the app may take to end when devhost ends.
    pub stop_time_max: Duration,
    /// Answer less and less often to changes that may be devhost's own doing.
    pub damp_echoes: bool,
}
