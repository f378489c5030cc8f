//! Text that more than one crate writes or looks for.

/// How the text of a build's progress starts while the build waits for another process. It is shown at once.
pub const WAITING_FOR: &str = "waiting for ";

/// How the message about the death of a zygote starts. `devhost bench` looks for it.
pub const ZYGOTE_DEATH: &str = "the zygote has died";

/// Formats a number with its noun: `1 crate`, `12 crates`.
pub fn counted(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}
