//! What a user can set.

use std::time::Duration;

/// The times that a user can set.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Hold requests from a change until the new code serves.
    pub hold: bool,
    /// Let the old generation finish while the new one starts; without, it ends first, and requests wait.
    pub overlap: bool,
    /// How many workers a generation has, from 1.
    pub workers: u32,
    /// How long a start may take, from the fork until ready.
    pub start_time_max: Duration,
    /// How long in-flight requests of an old generation may go on.
    pub drain_time_max: Duration,
    /// How long the app may take to end when devhost ends.
    pub stop_time_max: Duration,
}
