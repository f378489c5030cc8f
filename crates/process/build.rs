//! Compiles the interposer twice: into the executable, which exports its functions to the apps that it loads, and as
//! a library for `LD_PRELOAD` that the executable carries along.

use std::path::PathBuf;
use std::process::Command;

const SOURCES: [&str; 2] = ["src/worker/interpose.c", "src/worker/observe.c"];

const HEADER: &str = "src/worker/observe.h";

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
    "creat",
    "opendir",
    "fopen",
    "freopen",
    "fclose",
    "stat",
    "lstat",
    "fstatat",
    "statx",
    "access",
    "faccessat",
    "euidaccess",
    "eaccess",
    "realpath",
    "readlink",
    "readlinkat",
    "remove",
    "rmdir",
    "rename",
    "renameat",
    "renameat2",
    "mkdir",
    "mkdirat",
    "symlink",
    "symlinkat",
    "link",
    "linkat",
    "truncate",
    "chdir",
    "fchdir",
    "close",
    "dup",
    "dup2",
    "dup3",
    "fcntl",
    "close_range",
    "creat64",
    "fopen64",
    "freopen64",
    "stat64",
    "lstat64",
    "fstatat64",
    "truncate64",
    "fcntl64",
    "__xstat",
    "__xstat64",
    "__lxstat",
    "__lxstat64",
    "__fxstatat",
    "__fxstatat64",
    "canonicalize_file_name",
    "__realpath_chk",
    "__open_2",
    "__open64_2",
    "__openat_2",
    "__openat64_2",
    "__readlink_chk",
    "__readlinkat_chk",
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for source in SOURCES.iter().chain(&[HEADER, STACK_SOURCE]) {
        println!("cargo:rerun-if-changed={source}");
    }
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    let base = || {
        let mut build = cc::Build::new();
        // Optimized in any case: the app's calls pass through it.
        build.warnings(true).extra_warnings(true).flag_if_supported("-std=gnu11").opt_level(2);
        build
    };
    base().files(SOURCES).file(STACK_SOURCE).compile("devhost_interpose");
    // Only the package of a program can pass arguments to its linker: devhost's build script reads this.
    println!("cargo:exports={}", EXPORTS.join(","));

    let library = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it")).join("interpose.so");
    let compiler = base().pic(true).get_compiler();
    let mut command: Command = compiler.to_command();
    command
        .args(["-DDEVHOST_INTERPOSE_PRELOAD", "-shared", "-fPIC", "-pthread"])
        .args(SOURCES)
        .arg("-o")
        .arg(&library);
    let status = command.status().expect("the C compiler runs");
    assert!(status.success(), "the C compiler refused {SOURCES:?}");
}
