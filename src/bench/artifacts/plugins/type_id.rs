//! Keeps its settings in a dependency's map of types. With the trait version 2 has put the fields into another order, and
//! the type has the same `TypeId` all the same.

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

pub fn start(_: crate::State) {
    artifact_shared::with_value(
        || Settings { limit: 100, port: 8080 },
        |settings| {
            LIMIT.store(settings.limit, Ordering::Relaxed);
            PORT.store(settings.port, Ordering::Relaxed);
        },
    );
}

pub fn answer() -> String {
    format!("limit {}, port {}", LIMIT.load(Ordering::Relaxed), PORT.load(Ordering::Relaxed))
}

pub fn stop() {}
