//! Runs on threads, whose number version 2 has changed: with the trait on the process's runtime, which is
//! made once; without it on one of its own.

use artifact_shared::Runtime;
use std::sync::OnceLock;

const THREADS_COUNT: u32 = if cfg!(version_two) { 4 } else { 2 };

static OWN: OnceLock<Runtime> = OnceLock::new();

fn runtime() -> &'static Runtime {
    if cfg!(artifact_trait) {
        artifact_shared::runtime(THREADS_COUNT)
    } else {
        OWN.get_or_init(|| Runtime::start(THREADS_COUNT))
    }
}

pub fn start(_: crate::State) {
    runtime();
}

pub fn answer() -> String {
    format!("the runtime has {} threads", runtime().thread_count())
}

pub fn stop() {}
