//! How the devhost executable is told which launcher to be: names, arguments and environment variables.

use std::ffi::{OsStr, OsString};

/// Makes the executable a zygote, which removes the variable at once so that the app gets the user's
/// environment.
pub(crate) const ZYGOTE_VARIABLE: &str = "DEVHOST_ZYGOTE";

/// The value of [`ZYGOTE_VARIABLE`] for a forking zygote.
pub(crate) const ROLE_FORKS: &str = "1";

/// The same, if its workers have devhost's terminal.
pub(crate) const ROLE_FORKS_AT_TERMINAL: &str = "terminal";

/// The value of [`ZYGOTE_VARIABLE`] for a process that loads each generation into itself.
pub(crate) const ROLE_ONE_PROCESS: &str = "one-process";

/// The `argv[0]` that makes the executable a keeper.
pub(crate) const KEEPER_NAME: &str = "devhost-keeper";

/// The keeper's first argument if its programs have devhost's terminal.
pub(crate) const AT_TERMINAL: &str = "at-terminal";

/// The same, if they do not.
pub(crate) const APART: &str = "apart";

/// The C library's settings, read only at process start.
pub(crate) const TUNABLES_VARIABLE: &str = "GLIBC_TUNABLES";

/// Saves the user's own value of [`TUNABLES_VARIABLE`], if any.
pub(crate) const USER_TUNABLES_VARIABLE: &str = "DEVHOST_USER_TUNABLES";

/// Room for thread-local variables of later loaded libraries that use the static TLS model, as allocators do
/// (jemalloc takes some 2,600 bytes). The C library's default is 512.
const STATIC_TLS_BYTES: usize = 65_536;

/// Returns the value of [`TUNABLES_VARIABLE`] for a zygote. The C library takes the last of duplicate
/// settings.
pub(crate) fn tunables(own: Option<&OsStr>) -> OsString {
    let mut value = OsString::new();
    if let Some(own) = own.filter(|own| !own.is_empty()) {
        value.push(own);
        value.push(":");
    }
    value.push(format!("glibc.rtld.optional_static_tls={STATIC_TLS_BYTES}"));
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_tunables_come_first() {
        assert_eq!(tunables(None), "glibc.rtld.optional_static_tls=65536");
        assert_eq!(tunables(Some(OsStr::new(""))), "glibc.rtld.optional_static_tls=65536");
        assert_eq!(
            tunables(Some(OsStr::new("glibc.malloc.check=1"))),
            "glibc.malloc.check=1:glibc.rtld.optional_static_tls=65536"
        );
    }
}
