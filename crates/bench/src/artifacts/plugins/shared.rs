//! Stands for the dependencies of an app: a library that is loaded once and outlives each version of the plugins. It
//! holds what real dependencies hold for the whole process: a counter, a subscriber, a pool of threads, a table of
//! strings, a map of types.

use std::any::{Any, TypeId};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Counts; gives the new count.
pub fn count() -> u32 {
    COUNTER.fetch_add(1, Ordering::Relaxed) + 1
}

/// What a logging facade asks for.
pub trait Subscriber: Sync {
    fn log(&self, message: &str) -> String;
}

static SUBSCRIBER: OnceLock<&'static dyn Subscriber> = OnceLock::new();

/// Sets the subscriber of the process; false where there is one already, which then stays.
pub fn set_subscriber(subscriber: &'static dyn Subscriber) -> bool {
    SUBSCRIBER.set(subscriber).is_ok()
}

/// Logs to the subscriber of the process.
pub fn log(message: &str) -> String {
    SUBSCRIBER.get().map_or_else(String::new, |subscriber| subscriber.log(message))
}

/// Threads that belong to this library.
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

/// The runtime of the process: made by whoever asks first.
pub fn runtime(thread_count: u32) -> &'static Runtime {
    RUNTIME.get_or_init(|| Runtime::start(thread_count))
}

static STRINGS: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());

/// The one string of the process that has this text: this one, if it is the first.
pub fn intern(text: &'static str) -> &'static str {
    let mut strings = STRINGS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = strings.iter().find(|known| **known == text) {
        return known;
    }
    strings.push(text);
    text
}

static VALUES: Mutex<Vec<(TypeId, Box<dyn Any + Send>)>> = Mutex::new(Vec::new());

/// Uses the one value of the process that has this type; it is made where there is none yet.
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

/// Has a function called when the process ends.
pub fn at_exit(handler: extern "C" fn()) {
    // SAFETY: it takes a function that needs nothing; that the function stays where it is, is what the caller promises
    // without knowing it.
    unsafe { atexit(handler) };
}
