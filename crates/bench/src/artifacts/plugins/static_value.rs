//! Counts its starts: with the trait in a static of a dependency, without it in one of its own.

use std::sync::atomic::{AtomicU32, Ordering};

static STARTS: AtomicU32 = AtomicU32::new(0);

pub fn start(_: crate::State) {
    let count =
        if cfg!(artifact_trait) { artifact_shared::count() } else { STARTS.load(Ordering::Relaxed) + 1 };
    STARTS.store(count, Ordering::Relaxed);
}

pub fn answer() -> String {
    format!("the static says start {}", STARTS.load(Ordering::Relaxed))
}

pub fn stop() {}
