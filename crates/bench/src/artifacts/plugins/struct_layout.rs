//! Hands its state to the next version by pointer. With the trait version 2 has reordered the fields.

use std::sync::atomic::{AtomicU32, Ordering};

#[cfg(not(all(artifact_trait, version_two)))]
#[repr(C)]
struct Settings {
    limit: u32,
    port: u32,
}

#[cfg(all(artifact_trait, version_two))]
#[repr(C)]
struct Settings {
    port: u32,
    limit: u32,
}

static LIMIT: AtomicU32 = AtomicU32::new(0);
static PORT: AtomicU32 = AtomicU32::new(0);

pub fn start(state: crate::State) {
    // SAFETY: the host's place for the state is valid during the call. Its content was put there by a version
    // of this plugin; whether the layout is still the same is what is tried.
    let settings = unsafe {
        if (*state).is_null() {
            *state = Box::into_raw(Box::new(Settings { limit: 100, port: 8080 })).cast();
        }
        &*(*state).cast::<Settings>()
    };
    LIMIT.store(settings.limit, Ordering::Relaxed);
    PORT.store(settings.port, Ordering::Relaxed);
}

pub fn answer() -> String {
    format!("limit {}, port {}", LIMIT.load(Ordering::Relaxed), PORT.load(Ordering::Relaxed))
}

pub fn stop() {}
