//! Keeps a value per thread: with the trait it has a destructor, which runs when the thread ends.

use std::cell::Cell;

#[derive(Default)]
struct Requests {
    count: Cell<u32>,
}

#[cfg(artifact_trait)]
impl Drop for Requests {
    fn drop(&mut self) {
        std::hint::black_box(self.count.get());
    }
}

thread_local! {
    static REQUESTS: Requests = Requests::default();
}

pub fn start(_: crate::State) {
    REQUESTS.with(|requests| requests.count.set(0));
}

pub fn answer() -> String {
    let count = REQUESTS.with(|requests| {
        requests.count.set(requests.count.get() + 1);
        requests.count.get()
    });
    format!("request {count} of this thread")
}

pub fn stop() {}
