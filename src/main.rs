//! devhost: a development server for Rust web apps.
//!
//! # Theory of operation
//!
//! `devhost run` starts the *front*: an actix-web server that owns the port, watches the app's files, builds
//! the app with cargo, and supervises. The app's dependencies are linked once into a shared library, loaded
//! by a single-threaded *zygote* process. Each build of the app makes a small cdylib; the zygote forks a
//! *worker*, which loads it and serves over shared memory. A reload is a new worker: requests are held from
//! the save until it is ready, while the old one finishes its requests and is thrown away whole.
//!
//! Start reading at [`devhost_supervisor`], which decides everything and does nothing; [`runner`] does it.
//! See ARCHITECTURE.md for the map and the invariants.
//!
//! The executable is also its own rustc wrapper, linker, build guard, zygote, keeper and artifact host. First
//! of all, `main` decides by its name or environment which one it is.
#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
mod cli;
#[cfg(target_os = "linux")]
mod commands;
#[cfg(target_os = "linux")]
mod runner;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    if let Some(code) = devhost_process::zygote::dispatch() {
        return ExitCode::from(code);
    }
    if let Some(code) = dispatch() {
        return code;
    }
    commands::main()
}

/// Runs a helper program, if called by the name of one.
#[cfg(target_os = "linux")]
fn dispatch() -> Option<ExitCode> {
    let name = std::env::args_os().next()?;
    let name = std::path::Path::new(&name).file_name()?;
    let name = name.to_str()?;
    devhost_process::keeper::dispatch(name)
        .or_else(|| devhost_sides::dispatch(name))
        .or_else(|| runner::dispatch(name))
        .or_else(|| devhost_bench::dispatch(name))
        .map(ExitCode::from)
        .or_else(|| devhost_build::dispatch(name))
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("error: devhost forks and shares memory in ways that only Linux has");
    eprintln!("hint: on Windows run it inside WSL2; on macOS inside a Linux container or virtual machine");
    ExitCode::from(2)
}
