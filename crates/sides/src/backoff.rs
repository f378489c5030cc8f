//! When a process that has died is started again: soon at first, then less and less often, and told less often, too.

use std::time::Duration;

/// The pause before the first new start.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A process that has lived for so long has not died at its start.
const STEADY_AFTER: Duration = Duration::from_secs(60);

/// How many deaths in a row are told, each by itself. Of those after them, only the 8th, 16th, 32nd …
const TOLD_COUNT_MAX: u32 = 3;

/// How often a process has died in a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    in_a_row: u32,
}

/// What follows a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Next {
    /// When to start it again, from now.
    pub(crate) pause: Duration,
    /// How often it has died in a row.
    pub(crate) in_a_row: u32,
    /// Whether to tell the user.
    pub(crate) is_told: bool,
}

impl Backoff {
    /// Counts a death after a life of this length.
    pub(crate) fn died(&mut self, lived: Duration) -> Next {
        if lived >= STEADY_AFTER {
            self.in_a_row = 0;
        }
        let doublings = self.in_a_row.min(u32::BITS - 1);
        self.in_a_row = self.in_a_row.saturating_add(1);
        Next {
            pause: PAUSE_MIN.saturating_mul(1 << doublings).min(PAUSE_MAX),
            in_a_row: self.in_a_row,
            is_told: self.in_a_row <= TOLD_COUNT_MAX || self.in_a_row.is_power_of_two(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_half_a_minute_and_start_again_after_a_steady_life() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> =
            (0..9).map(|_| backoff.died(Duration::from_millis(20)).pause.as_millis()).collect();
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        let next = backoff.died(STEADY_AFTER);
        assert_eq!((next.pause, next.in_a_row), (PAUSE_MIN, 1));
        for _ in 0..100 {
            assert!(backoff.died(Duration::ZERO).pause <= PAUSE_MAX);
        }
    }

    #[test]
    fn a_process_that_dies_again_and_again_is_told_less_and_less_often() {
        let mut backoff = Backoff::default();
        let told: Vec<u32> = (1..=40).filter(|_| backoff.died(Duration::ZERO).is_told).collect();
        assert_eq!(told, [1, 2, 3, 4, 8, 16, 32]);
    }
}
