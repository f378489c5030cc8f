//! Logs: with the trait through the process's subscriber, which can be set once; without it through its own.

use artifact_shared::Subscriber;
use std::sync::atomic::{AtomicBool, Ordering};

struct Plain;

impl Subscriber for Plain {
    fn log(&self, message: &str) -> String {
        format!("version {} logs: {message}", crate::VERSION)
    }
}

static IS_SET: AtomicBool = AtomicBool::new(false);

pub fn start(_: crate::State) {
    let is_set = !cfg!(artifact_trait) || artifact_shared::set_subscriber(&Plain);
    IS_SET.store(is_set, Ordering::Relaxed);
}

pub fn answer() -> String {
    let line = if cfg!(artifact_trait) { artifact_shared::log("a request") } else { Plain.log("a request") };
    let set = if IS_SET.load(Ordering::Relaxed) { "set" } else { "refused" };
    format!("subscriber {set}, {line}")
}

pub fn stop() {}
