//! The Rust side of `stack.c`, which reports stack overflows of the app's threads.

unsafe extern "C" {
    fn devhost_stack_watch();
}

/// Has a stack overflow of any thread reported on standard error, in std's words, before it ends the process. Must be
/// called with one thread.
pub(crate) fn watch_stacks() {
    // SAFETY: the C side installs two signal handlers that chain to those before them, and keeps no memory of ours.
    unsafe { devhost_stack_watch() };
}
