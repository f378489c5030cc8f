//! Decides when the front polls for an answer instead of sleeping: waking a thread takes longer than most
//! answers. Between two polls everything else on the thread gets its turn.
//!
//! This halves the added time of one connection and doubles the throughput of two (`docs/speed.md`). The
//! front spins for at most 100 µs, and only while few requests are in flight and answers are quick; a worker
//! cannot make it spin. The worker never spins: the very task it would wait for may be next on its thread.

use std::time::{Duration, Instant};

use crate::protocol::STREAMS_COUNT_MAX;

/// How long the driver polls after a request at most. Enough for a handler that does not wait and for the
/// client's next request; short enough to spare a battery.
const SPIN_TIME_MAX: Duration = Duration::from_micros(100);

/// With more requests in flight, frames come so often that nobody sleeps long, and the app needs the
/// processor.
const IN_FLIGHT_COUNT_MAX: usize = 4;

/// How many misses in a row show that the app answers slowly.
const MISSES_COUNT_MAX: u32 = 8;

/// Then one request in this many finds out whether that has changed.
const RETRY_INTERVAL_REQUESTS: u32 = 32;

/// Polls while that is worthwhile.
#[derive(Debug)]
pub(crate) struct Spin {
    /// On a single processor, polling would keep the worker from answering.
    is_worth_while: bool,
    until: Option<Instant>,
    has_frames: bool,
    misses: u32,
    passed_over: u32,
}

impl Spin {
    pub(crate) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self { is_worth_while: processors > 1, until: None, has_frames: false, misses: 0, passed_over: 0 }
    }

    /// Returns whether to poll, given how many more streams could be opened.
    pub(crate) fn is_for(places_left_count: usize) -> bool {
        places_left_count >= STREAMS_COUNT_MAX - IN_FLIGHT_COUNT_MAX
    }

    /// Notes that a request or a message was sent at this time.
    pub(crate) fn begin(&mut self, now: Instant) {
        if !self.is_worth_while {
            return;
        }
        if self.misses >= MISSES_COUNT_MAX {
            self.passed_over += 1;
            if self.passed_over < RETRY_INTERVAL_REQUESTS {
                return;
            }
            self.passed_over = 0;
        }
        self.until = Some(now + SPIN_TIME_MAX);
    }

    pub(crate) fn end(&mut self) {
        self.until = None;
        self.has_frames = false;
    }

    /// Notes that a frame has arrived. Is a no-op once polling has stopped.
    pub(crate) fn note_frame(&mut self) {
        self.has_frames |= self.until.is_some();
    }

    /// Returns whether to poll again at once. Reads the clock only while polling.
    pub(crate) fn goes_on(&mut self) -> bool {
        let Some(until) = self.until else { return false };
        if Instant::now() < until {
            return true;
        }
        self.until = None;
        self.misses = if std::mem::take(&mut self.has_frames) { 0 } else { self.misses.saturating_add(1) };
        false
    }
}

#[cfg(all(test, not(devhost_loom)))]
mod tests {
    use super::*;

    fn spin() -> Spin {
        Spin { is_worth_while: true, ..Spin::new() }
    }

    /// Spins through a request sent long ago. Returns true if it would have polled.
    fn spins(spin: &mut Spin, has_frame: bool) -> bool {
        spin.begin(Instant::now().checked_sub(SPIN_TIME_MAX).unwrap());
        let begun = spin.until.is_some();
        if has_frame {
            spin.note_frame();
        }
        assert!(!spin.goes_on(), "its time is over");
        // The answer comes in any case.
        spin.note_frame();
        begun
    }

    #[test]
    fn it_looks_after_a_request_and_not_for_ever() {
        let mut spin = spin();
        assert!(!spin.goes_on(), "nobody waits for anything");
        spin.begin(Instant::now() + Duration::from_secs(3_600));
        assert!(spin.goes_on());
        spin.end();
        assert!(!spin.goes_on());
        assert!(spins(&mut spin, true));
        spin.is_worth_while = false;
        assert!(!spins(&mut spin, true));
    }

    #[test]
    fn it_is_for_a_few_requests_at_once() {
        assert!(Spin::is_for(STREAMS_COUNT_MAX - 1) && Spin::is_for(STREAMS_COUNT_MAX - 4));
        assert!(!Spin::is_for(STREAMS_COUNT_MAX - 5) && !Spin::is_for(0));
    }

    #[test]
    fn slow_answers_are_not_looked_for_until_they_are_fast_again() {
        let mut spin = spin();
        let count = |spin: &mut Spin, requests: u32, has_frame| {
            (0..requests).filter(|_| spins(spin, has_frame)).count()
        };
        assert_eq!(count(&mut spin, MISSES_COUNT_MAX, false), MISSES_COUNT_MAX as usize);
        assert_eq!(count(&mut spin, 3 * RETRY_INTERVAL_REQUESTS, false), 3);
        assert_eq!(count(&mut spin, RETRY_INTERVAL_REQUESTS, true), 1);
        assert_eq!(count(&mut spin, RETRY_INTERVAL_REQUESTS, true), RETRY_INTERVAL_REQUESTS as usize);
    }
}
