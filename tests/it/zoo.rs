//! Dependencies that are hard to share: the apps of `tests/fixtures/plain/zoo`, each with a kind of crate
//! used by many real apps. devhost must say what cannot be in the shared library, and everything must work.
//!
//! They take minutes to compile, so most are ignored by default: `cargo test --workspace --test it zoo --
//! --include-ignored`.

use crate::plain::{PlainApp, is_served_and_served_anew_with};
use crate::support::{Devhost, cargo_turn};

/// Starts, requests, edits, requests again and ends. The page says `shown` after the edit, and devhost prints
/// nothing about linking.
fn is_shared(package: &str, args: &[&str], shown: &str) {
    let devhost_said_nothing = |devhost: &Devhost| {
        assert!(!devhost.printed().contains("linked into the app"), "{}", devhost.printed());
    };
    is_served(package, args, shown, devhost_said_nothing);
}

fn is_served(package: &str, args: &[&str], shown: &str, more: impl FnOnce(&Devhost)) {
    let app = PlainApp::new(&format!("zoo/{package}")).with(args);
    is_served_and_served_anew_with(&app, &[], &format!("zoo/{package}/src/text.rs"), |devhost| {
        let page = devhost.get_page("/").body;
        assert!(page.contains(shown), "{shown:?} is not in {page}");
        more(devhost);
    });
}

#[test]
#[ignore = "compiles SQLite and sqlx"]
fn sqlx_with_its_own_sqlite() {
    is_shared("with_sqlx", &[], "After the edit by SQLite 3.");
}

#[test]
#[ignore = "compiles rustls"]
fn rustls_over_ring() {
    is_shared("with_rustls", &["--features", "ring"], "After the edit by TLS13_");
}

#[test]
#[ignore = "compiles AWS's cryptography"]
fn rustls_over_aws_lc() {
    is_shared("with_rustls", &["--features", "aws_lc"], "After the edit by TLS13_");
}

#[test]
#[ignore = "compiles the openssl crate"]
fn openssl_of_the_system() {
    let present = std::process::Command::new("pkg-config").args(["--exists", "openssl"]).status();
    if !present.is_ok_and(|status| status.success()) {
        eprintln!("skipped: pkg-config does not find openssl; install its development files (libssl-dev)");
        return;
    }
    is_shared("with_openssl", &[], "256 by OpenSSL ");
}

#[test]
#[ignore = "compiles jemalloc"]
fn jemalloc_is_loaded_but_does_not_allocate_for_a_shared_standard_library() {
    is_served("with_jemalloc", &[], "After the edit, jemalloc is not used", |devhost| {
        assert!(devhost.printed().contains("#[global_allocator] is not used"), "{}", devhost.printed());
        let env = devhost.get_page("/env").body;
        assert!(env.contains("[child PATH=") && env.contains("[CARGO_PKG_NAME=with_jemalloc]"), "{env}");
        assert!(!env.contains("TUNABLES"), "{env}");
    });
}

#[test]
#[ignore = "compiles jemalloc"]
fn jemalloc_allocates_where_nothing_is_shared() {
    is_served("with_jemalloc", &["--deps", "static"], "After the edit, jemalloc is used", |devhost| {
        assert!(!devhost.printed().contains("#[global_allocator] is not used"), "{}", devhost.printed());
    });
}

#[test]
#[ignore = "compiles jemalloc"]
fn a_users_own_settings_of_the_c_library_reach_the_app() {
    let _turn = cargo_turn();
    let app = PlainApp::new("zoo/with_jemalloc");
    let mut line = app.command_line();
    line.extend(["--port", "0"]);
    let own = "glibc.malloc.tcache_count=3";
    let devhost = Devhost::start_with(app.path("").as_path(), &line, |command| {
        command.env("GLIBC_TUNABLES", own);
    });
    devhost.wait_ready(1);
    let env = devhost.get_page("/env").body;
    for seen in ["[GLIBC_TUNABLES=", "[child GLIBC_TUNABLES="] {
        assert!(env.contains(&format!("{seen}{own}]")), "{env}");
    }
    assert!(!env.contains("DEVHOST_USER_TUNABLES"), "{env}");
    assert!(devhost.stop().success());
}

#[test]
#[ignore = "compiles C++"]
fn cxx_on_both_sides() {
    let shown = "After the edit: C+ speaks; there is nothing to squeeze";
    is_served("with_cxx", &[], shown, |_| {});
}

#[test]
#[ignore = "compiles several crates"]
fn a_mixture_of_packages() {
    let shown = "After the edit, by a build script, by the first macro, two dice";
    is_shared("with_mixture", &[], shown);
}

#[test]
#[ignore = "compiles several crates"]
fn what_a_build_script_and_a_macro_of_the_workspace_read_is_followed() {
    let _turn = cargo_turn();
    let app = PlainApp::new("zoo/with_mixture");
    let devhost = app.start(&[]).ready();
    for (file, from, to) in [
        ("zoo/with_mixture/words.txt", "by a build script", "by another run of it"),
        ("zoo/our_macros/src/lib.rs", "by the first macro", "by the second macro"),
        ("zoo/with_mixture/build.rs", "words.trim()", "words.trim().to_uppercase()"),
    ] {
        assert!(!devhost.get_page("/").body.contains(to));
        let generation = devhost.get_page("/").generation();
        app.edit(file, from, to);
        devhost.wait_ready(generation + 1);
    }
    let page = devhost.get_page("/").body;
    assert!(page.contains("BY ANOTHER RUN OF IT, by the second macro"), "{page}");
    assert!(devhost.stop().success());
}
