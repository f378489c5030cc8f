//! A library with its own standard library, the default for a cdylib. With the trait it has a thread-local
//! value with a destructor, and the C library keeps it in memory as long as the thread lives, in spite of
//! dlclose.

use std::cell::Cell;

#[derive(Default)]
struct Session {
    count: Cell<u32>,
}

#[cfg(artifact_trait)]
impl Drop for Session {
    fn drop(&mut self) {
        std::hint::black_box(self.count.get());
    }
}

thread_local! {
    static SESSION: Session = Session::default();
}

pub fn start(_: crate::State) {
    SESSION.with(|session| session.count.set(session.count.get() + 1));
}

pub fn answer() -> String {
    format!("the code of version {} is served", crate::VERSION)
}

pub fn stop() {}
