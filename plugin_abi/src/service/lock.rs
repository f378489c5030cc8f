//! Locks mutexes whose value is consistent at every step.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, ignoring poison.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
