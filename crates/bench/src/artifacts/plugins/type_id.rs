//! Keeps its settings in a dependency's map of types. With the trait version 2 has narrowed the fields, but
//! the type keeps its `TypeId`.

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
    limit: u16,
    port: u16,
}

static LIMIT: AtomicU32 = AtomicU32::new(0);
static PORT: AtomicU32 = AtomicU32::new(0);

pub fn start(_: crate::State) {
    artifact_shared::with_value(
        || Settings { limit: 100, port: 80 },
        |settings| {
            LIMIT.store(settings.limit.into(), Ordering::Relaxed);
            PORT.store(settings.port.into(), Ordering::Relaxed);
        },
    );
}

pub fn answer() -> String {
    format!("limit {}, port {}", LIMIT.load(Ordering::Relaxed), PORT.load(Ordering::Relaxed))
}

pub fn stop() {}
