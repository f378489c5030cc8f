//! The devhost executable. It is also its own rustc wrapper, linker, build guard, zygote, keeper and artifact host: which
//! of them it is to be, it is told by its name or environment, and that is found out here before anything else runs.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    if devhost::zygote::process::is_requested() {
        return ExitCode::from(devhost::zygote::process::run());
    }
    if let Some(code) = dispatch() {
        return code;
    }
    devhost::commands::main()
}

/// devhost in one of its helping parts, if it was called by the name of one.
#[cfg(target_os = "linux")]
fn dispatch() -> Option<ExitCode> {
    let name = std::env::args_os().next()?;
    let name = std::path::Path::new(&name).file_name()?;
    let name = name.to_str()?;
    devhost::restart::keeper::dispatch(name)
        .or_else(|| devhost::runner::dispatch(name))
        .or_else(|| devhost::worker::artifact_host::dispatch(name))
        .or_else(|| devhost::zygote::cost::dispatch(name))
        .map(ExitCode::from)
        .or_else(|| devhost::build::dispatch(name))
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("error: devhost forks and shares memory in ways that only Linux has");
    eprintln!("hint: on Windows run it inside WSL2; on macOS inside a Linux container or virtual machine");
    ExitCode::from(2)
}
