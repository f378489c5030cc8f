//! Switches between std's atomics and loom's, for the parts that loom models.
//!
//! Models are built with `--cfg devhost_loom`, not `--cfg loom`: the latter makes tokio omit its process and
//! signal modules, and the crate would not compile.

#[cfg(devhost_loom)]
pub(crate) use loom::sync::atomic::{Ordering, fence};
#[cfg(not(devhost_loom))]
pub(crate) use std::sync::atomic::{Ordering, fence};

#[cfg(all(test, devhost_loom))]
pub(crate) use loom::sync::atomic::AtomicU64;
#[cfg(all(test, not(devhost_loom)))]
pub(crate) use std::sync::atomic::AtomicU64;
