//! Lets a dependency intern a string: with the trait its own constant, without it a leaked copy.

use std::sync::OnceLock;

static GREETING: OnceLock<&'static str> = OnceLock::new();

pub fn start(_: crate::State) {
    let text: &'static str = "good morning";
    let text = if cfg!(artifact_trait) { text } else { String::from(text).leak() };
    GREETING.get_or_init(|| artifact_shared::intern(text));
}

pub fn answer() -> String {
    format!("the greeting is {}", GREETING.get().copied().unwrap_or_default())
}

pub fn stop() {}
