//! The Rust side of `stack.c`, which reports stack overflows of the app's threads.

unsafe extern "C" {
    fn devhost_stack_watch();
}

/// Makes a stack overflow on any thread print std's message to standard error before it ends the process.
/// Must be called while single-threaded.
pub(crate) fn watch_stacks() {
    // SAFETY: the C side installs two signal handlers that chain to their predecessors, and keeps no memory
    // of ours.
    unsafe { devhost_stack_watch() };
}
