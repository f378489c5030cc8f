//! Has a beating thread: with the trait it is never stopped, without it it is joined.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const BEAT_TIME: Duration = Duration::from_millis(1);

/// How many beats an answer waits for: enough for an earlier thread to run, or to be gone.
const BEATS_COUNT: u32 = 50;

static BEATS: AtomicU32 = AtomicU32::new(0);
static IS_STOPPED: AtomicBool = AtomicBool::new(false);
static THREAD: Mutex<Option<JoinHandle<()>>> = Mutex::new(None);

pub fn start(_: crate::State) {
    let thread = std::thread::spawn(|| {
        while !IS_STOPPED.load(Ordering::Relaxed) {
            std::thread::sleep(BEAT_TIME);
            BEATS.fetch_add(1, Ordering::Relaxed);
        }
    });
    *THREAD.lock().unwrap() = Some(thread);
}

pub fn answer() -> String {
    let until = BEATS.load(Ordering::Relaxed) + BEATS_COUNT;
    while BEATS.load(Ordering::Relaxed) < until {
        std::thread::sleep(BEAT_TIME);
    }
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    format!("the thread beats, one of {}", threads.count())
}

pub fn stop() {
    if !cfg!(artifact_trait) {
        IS_STOPPED.store(true, Ordering::Relaxed);
        if let Some(thread) = THREAD.lock().unwrap().take() {
            thread.join().unwrap();
        }
    }
}
