//! Compiles the interposer twice: into the executable, which exports its functions to the apps that it loads, and as
//! a library for `LD_PRELOAD` that the executable carries along.

use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "src/worker/interpose.c";

/// Into the executable alone: a program of its own has the handler of its own std.
const STACK_SOURCE: &str = "src/worker/stack.c";

/// What an app's calls are to bind to instead of the C library.
const EXPORTS: &[&str] = &[
    "bind",
    "listen",
    "accept",
    "accept4",
    "connect",
    "getsockname",
    "getpeername",
    "open",
    "open64",
    "openat",
    "openat64",
    "unlink",
    "unlinkat",
    "setsid",
    "daemon",
    "pthread_create",
    "write",
    "writev",
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={SOURCE}");
    println!("cargo:rerun-if-changed={STACK_SOURCE}");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    let base = || {
        let mut build = cc::Build::new();
        build.warnings(true).extra_warnings(true).flag_if_supported("-std=gnu11");
        build
    };
    base().file(SOURCE).file(STACK_SOURCE).compile("devhost_interpose");
    // Only the package of a program can pass arguments to its linker: devhost's build script reads this.
    println!("cargo:exports={}", EXPORTS.join(","));

    let library = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it")).join("interpose.so");
    let compiler = base().pic(true).get_compiler();
    let mut command: Command = compiler.to_command();
    command.args(["-DDEVHOST_INTERPOSE_PRELOAD", "-shared", "-fPIC", "-pthread", SOURCE, "-o"]).arg(&library);
    let status = command.status().expect("the C compiler runs");
    assert!(status.success(), "the C compiler refused {SOURCE}");
}
