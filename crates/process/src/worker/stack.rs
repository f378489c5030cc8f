//! The Rust side of `stack.c`: the app's threads say it where they overflow their stacks.

unsafe extern "C" {
    fn devhost_stack_watch();
}

/// From now on a stack overflow of any thread is told on standard error, in std's words, before it ends the process.
/// To be called in a process with one thread.
pub fn watch() {
    // SAFETY: the C side installs two signal handlers that chain to those before them, and keeps no memory of ours.
    unsafe { devhost_stack_watch() };
}
