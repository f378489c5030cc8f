//! Tidies up at the end: with the trait at exit, through a dependency; without it in `stop`.

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
