//! Stands for an app's dependencies: a library loaded once that outlives each version of the plugins. Like
//! real dependencies, it holds process-wide state: a counter, a subscriber, a pool of threads, a table of
//! strings, a map of types.

use std::any::{Any, TypeId};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Increments and returns the count.
pub fn count() -> u32 {
    COUNTER.fetch_add(1, Ordering::Relaxed) + 1
}

/// The interface of a logging facade.
pub trait Subscriber: Sync {
    fn log(&self, message: &str) -> String;
}

static SUBSCRIBER: OnceLock<&'static dyn Subscriber> = OnceLock::new();

/// Sets the process's subscriber. Returns false if there already is one, which then stays.
pub fn set_subscriber(subscriber: &'static dyn Subscriber) -> bool {
    SUBSCRIBER.set(subscriber).is_ok()
}

/// Logs to the process's subscriber.
pub fn log(message: &str) -> String {
    SUBSCRIBER.get().map_or_else(String::new, |subscriber| subscriber.log(message))
}

/// Threads owned by this library.
pub struct Runtime {
    thread_count: u32,
}

impl Runtime {
    /// Starts the threads, which live until the process ends.
    pub fn start(thread_count: u32) -> Self {
        for _ in 0..thread_count {
            std::thread::spawn(|| {
                loop {
                    std::thread::park();
                }
            });
        }
        Self { thread_count }
    }

    pub fn thread_count(&self) -> u32 {
        self.thread_count
    }
}

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// The process's runtime, made by the first caller.
pub fn runtime(thread_count: u32) -> &'static Runtime {
    RUNTIME.get_or_init(|| Runtime::start(thread_count))
}

static STRINGS: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());

/// The process's only string with this text: the first one given.
pub fn intern(text: &'static str) -> &'static str {
    let mut strings = STRINGS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = strings.iter().find(|known| **known == text) {
        return known;
    }
    strings.push(text);
    text
}

static VALUES: Mutex<Vec<(TypeId, Box<dyn Any + Send>)>> = Mutex::new(Vec::new());

/// Uses the process's only value of this type, made if missing.
pub fn with_value<T: Any + Send, R>(make: impl FnOnce() -> T, using: impl FnOnce(&T) -> R) -> R {
    let mut values = VALUES.lock().unwrap_or_else(PoisonError::into_inner);
    let known = values.iter().position(|(id, _)| *id == TypeId::of::<T>());
    let index = known.unwrap_or_else(|| {
        values.push((TypeId::of::<T>(), Box::new(make())));
        values.len() - 1
    });
    using(values[index].1.downcast_ref().expect("it is found by its type"))
}

unsafe extern "C" {
    fn atexit(handler: extern "C" fn()) -> i32;
}

/// Registers a function to be called when the process ends.
pub fn at_exit(handler: extern "C" fn()) {
    // SAFETY: it takes a function without arguments. That the function stays mapped is what the caller
    // promises without knowing it.
    unsafe { atexit(handler) };
}
