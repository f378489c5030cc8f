//! Tidies up at the end: with the trait a dependency is asked to call it when the process ends, without it `stop` does.

extern "C" fn tidy_up() {
    std::hint::black_box(crate::VERSION);
}

pub fn start(_: crate::State) {
    if cfg!(artifact_trait) {
        artifact_shared::at_exit(tidy_up);
    }
}

pub fn answer() -> String {
    "the exit handler is set".into()
}

pub fn stop() {
    if !cfg!(artifact_trait) {
        tidy_up();
    }
}
