//! Version 1 handles a signal, and version 2, where the handler was edited away, receives it. With the trait
//! the handler stays; without it the signal's default is restored.

const SIGURG: i32 = 23;
const DEFAULT: usize = 0;

unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
    fn raise(number: i32) -> i32;
}

extern "C" fn handle(_: i32) {
    std::hint::black_box(crate::VERSION);
}

pub fn start(_: crate::State) {
    if crate::VERSION == 1 {
        // SAFETY: the handler is async-signal-safe.
        unsafe { signal(SIGURG, handle as *const () as usize) };
    }
}

pub fn answer() -> String {
    // SAFETY: this signal is ignored by default.
    unsafe { raise(SIGURG) };
    "the signal was taken".into()
}

pub fn stop() {
    if !cfg!(artifact_trait) && crate::VERSION == 1 {
        // SAFETY: that is the signal's default.
        unsafe { signal(SIGURG, DEFAULT) };
    }
}
