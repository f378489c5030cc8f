//! Opens a file: with the trait it is not closed when the plugin stops.

use std::sync::atomic::{AtomicI32, Ordering};

const NAME: &std::ffi::CStr = c"artifact-log";

unsafe extern "C" {
    fn memfd_create(name: *const std::ffi::c_char, flags: u32) -> i32;
    fn close(descriptor: i32) -> i32;
}

static DESCRIPTOR: AtomicI32 = AtomicI32::new(-1);

pub fn start(_: crate::State) {
    // SAFETY: the name ends with a zero byte, and no flag is set.
    DESCRIPTOR.store(unsafe { memfd_create(NAME.as_ptr(), 0) }, Ordering::Relaxed);
}

pub fn answer() -> String {
    let is_log = |target: &std::path::Path| target.to_string_lossy().contains("artifact-log");
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open =
        entries.filter_map(|entry| std::fs::read_link(entry.path()).ok()).filter(|target| is_log(target));
    format!("open logs: {}", open.count())
}

pub fn stop() {
    if !cfg!(artifact_trait) {
        // SAFETY: it was opened by `start`, and is no longer used.
        unsafe { close(DESCRIPTOR.load(Ordering::Relaxed)) };
    }
}
