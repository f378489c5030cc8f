//! Environment variables cargo must not inherit. A devhost started by `cargo run`, `make` or another devhost
//! has variables about that build, not the app's.

use std::ffi::{OsStr, OsString};

/// Variables cargo sets for what it runs, and those of the jobserver, whose pipes are not ours.
const FOREIGN: &[&str] = &[
    "CARGO",
    "CARGO_BIN_NAME",
    "CARGO_CRATE_NAME",
    "CARGO_MAKEFLAGS",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_LINKS",
    "CARGO_MANIFEST_PATH",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_TARGET_TMPDIR",
    "MAKEFLAGS",
    "MFLAGS",
    "MAKELEVEL",
    "OUT_DIR",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
];

/// Prefixes of families of such variables.
const FOREIGN_PREFIXES: &[&str] = &["CARGO_PKG_", "CARGO_BIN_EXE_", "DEVHOST_"];

/// The variables of this process that cargo inherits.
pub(crate) fn inherited() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| !is_foreign(name))
}

/// Calls `remove` for each variable of this process a child must not inherit.
pub(crate) fn clean(mut remove: impl FnMut(&OsStr)) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_foreign(name)) {
        remove(&name);
    }
}

fn is_foreign(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        FOREIGN.contains(&name) || FOREIGN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    })
}

/// cargo's value for colours: its output is always a pipe, but ends up in a terminal or on a page.
pub(crate) fn colour() -> &'static str {
    if coloured() { "always" } else { "never" }
}

/// Whether to use colours, which `NO_COLOR` forbids.
pub(crate) fn coloured() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_another_build_are_foreign() {
        for name in ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR", "MAKEFLAGS", "DEVHOST_JOB_SHEET"] {
            assert!(is_foreign(name.as_ref()), "{name} would reach cargo");
        }
        for name in ["CARGO_HOME", "RUSTFLAGS", "RUSTC_WRAPPER", "PATH", "CARGO_TARGET_DIR"] {
            assert!(!is_foreign(name.as_ref()), "{name} is the user's");
        }
    }
}
