//! Version 1 has an interval timer, version 2 has none. With the trait it goes on, without it `stop` ends it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const REAL_TIME: i32 = 0;
const SIGALRM: i32 = 14;
const DEFAULT: usize = 0;
const INTERVAL_US: i64 = 5_000;

/// How long an answer takes: many intervals.
const ANSWER_TIME: Duration = Duration::from_millis(50);

#[repr(C)]
struct Interval {
    next_s: i64,
    next_us: i64,
}

unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
    fn setitimer(which: i32, new: *const [Interval; 2], old: *mut [Interval; 2]) -> i32;
}

static TICKS: AtomicU32 = AtomicU32::new(0);

extern "C" fn tick(_: i32) {
    TICKS.fetch_add(1, Ordering::Relaxed);
}

fn set_timer(microseconds: i64) {
    let interval = || Interval { next_s: 0, next_us: microseconds };
    // SAFETY: the times are valid during the call, and the old ones are not requested.
    unsafe { setitimer(REAL_TIME, &[interval(), interval()], std::ptr::null_mut()) };
}

pub fn start(_: crate::State) {
    if crate::VERSION == 1 {
        // SAFETY: the handler only adds to an atomic number.
        unsafe { signal(SIGALRM, tick as *const () as usize) };
        set_timer(INTERVAL_US);
    }
}

pub fn answer() -> String {
    std::thread::sleep(ANSWER_TIME);
    let is_ticking = TICKS.load(Ordering::Relaxed) > 0;
    format!("the timer {}", if is_ticking { "ticks" } else { "does not tick" })
}

pub fn stop() {
    if !cfg!(artifact_trait) && crate::VERSION == 1 {
        set_timer(0);
        // SAFETY: that is the signal's default, and the timer is stopped.
        unsafe { signal(SIGALRM, DEFAULT) };
    }
}
