//! The safe Rust API: what an app is ([`app`]), its requests and responses ([`body`], [`response`]), and the adapter
//! that puts it behind the C functions ([`adapter`]). All of it is compiled here, once; the app's own crate only
//! instantiates a thin shell around its service. Nothing outside [`host`] and [`adapter`] touches a raw pointer.

pub(crate) mod adapter;
pub(crate) mod app;
pub(crate) mod body;
pub(crate) mod exchange;
pub(crate) mod host;
pub(crate) mod panics;
pub(crate) mod response;
pub(crate) mod stream;
pub(crate) mod upgrade;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after a panic of another holder: what these mutexes guard is consistent at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
