//! Tool versions, and machine limits that a development server runs into.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;

use super::check::Check;
use super::closure::Closure;
use crate::commands::package::{self, Found};

/// The oldest rustc that builds devhost's generated code: all newer ones have `&raw`, `extern crate` of a
/// dylib with `-C prefer-dynamic`, and `cargo::` lines of build scripts.
const RUSTC_MINOR_MIN: u32 = 85;

/// Descriptors for a front with many browsers, and a build.
const DESCRIPTORS_COUNT_MIN: u64 = 1024;
/// Processes of cargo, the app and devhost.
const PROCESSES_COUNT_MIN: u64 = 256;
/// 256 full streams in both directions, for a few generations at once.
const SHARED_MEMORY_LEN_MIN: u64 = 64 * 1024 * 1024;
/// How many directories to count per root.
const DIRECTORIES_COUNT_MAX: usize = 200_000;

pub(super) fn versions(directory: &Path) -> Vec<Check> {
    let mut checks = vec![Check::ok("devhost", format!("devhost {}", env!("CARGO_PKG_VERSION")))];
    checks.push(check_rustc(directory));
    checks.push(match first_line("cargo", &["--version"], directory) {
        Some(line) => Check::ok("cargo", line),
        None => Check::fail("cargo", "`cargo --version` fails", "install Rust (https://rustup.rs)"),
    });
    checks.push(match first_line("cc", &["--version"], directory) {
        Some(line) => Check::ok("cc", line),
        None => Check::fail(
            "cc",
            "there is no C compiler `cc`, which rustc links with",
            "install one (Debian and Ubuntu: `apt install build-essential`)",
        ),
    });
    checks.push(match first_line("ld", &["--version"], directory) {
        Some(line) => Check::ok("linker", line),
        None => Check::warn(
            "linker",
            "there is no `ld` in PATH",
            "nothing is to be done if rustc's own linker is used",
        ),
    });
    checks
}

fn check_rustc(directory: &Path) -> Check {
    match package::first_line_after("rustc", directory, "release: ") {
        Ok(release) => {
            let minor: Option<u32> = release.split('.').nth(1).and_then(|minor| minor.parse().ok());
            match minor {
                Some(minor) if minor < RUSTC_MINOR_MIN => Check::fail(
                    "rustc",
                    format!("rustc {release} is too old"),
                    format!(
                        "use 1.{RUSTC_MINOR_MIN} or newer: `rustup update`, or raise rust-toolchain.toml"
                    ),
                ),
                _ => Check::ok("rustc", format!("rustc {release}")),
            }
        }
        Err(error) => Check::fail("rustc", error.message, error.hint),
    }
}

fn first_line(tool: &str, args: &[&str], directory: &Path) -> Option<String> {
    let output = Command::new(tool).args(args).current_dir(directory).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| text.lines().next().map(str::to_owned)).flatten()
}

pub(super) fn limits(found: &Found, closure: &Closure<'_>) -> Vec<Check> {
    let roots = closure.path.iter().filter_map(|package| package.manifest_path.as_std_path().parent());
    let needed = directories(roots.chain([found.root()]));
    vec![
        check_watches(needed, read_number("/proc/sys/fs/inotify/max_user_watches"), used().watches),
        check_instances(read_number("/proc/sys/fs/inotify/max_user_instances"), used().instances),
        check_descriptors(getrlimit(Resource::RLIMIT_NOFILE).map(|(soft, _)| soft).unwrap_or_default()),
        check_processes(getrlimit(Resource::RLIMIT_NPROC).map_or(u64::MAX, |(soft, _)| soft)),
        check_shared_memory(),
    ]
}

fn check_watches(needed: u64, limit: Option<u64>, used: u64) -> Check {
    let Some(limit) = limit else {
        return Check::warn("inotify-watches", "inotify is not available", "use `devhost run --poll`");
    };
    let left = limit.saturating_sub(used);
    let message = format!("inotify watches: about {needed} are needed, {used} of {limit} are in use");
    if needed > left {
        Check::fail(
            "inotify-watches",
            message,
            format!(
                "`sudo sysctl fs.inotify.max_user_watches={}`, or use `devhost run --poll`",
                (used + needed).saturating_mul(2)
            ),
        )
    } else {
        Check::ok("inotify-watches", message)
    }
}

fn check_instances(limit: Option<u64>, used: u64) -> Check {
    let Some(limit) = limit else {
        return Check::warn("inotify-instances", "inotify is not available", "use `devhost run --poll`");
    };
    let message = format!("inotify instances: {used} of {limit} are in use");
    if used >= limit {
        Check::fail(
            "inotify-instances",
            message,
            format!("`sudo sysctl fs.inotify.max_user_instances={}`", limit * 2),
        )
    } else {
        Check::ok("inotify-instances", message)
    }
}

fn check_descriptors(soft: u64) -> Check {
    let message = format!("a process may have {soft} files open");
    if soft < DESCRIPTORS_COUNT_MIN {
        Check::warn("descriptors", message, format!("`ulimit -n {DESCRIPTORS_COUNT_MIN}` or more"))
    } else {
        Check::ok("descriptors", message)
    }
}

fn check_processes(soft: u64) -> Check {
    if soft == u64::MAX {
        return Check::ok("processes", "the number of processes is not limited");
    }
    let message = format!("a user may have {soft} processes and threads");
    if soft < PROCESSES_COUNT_MIN {
        Check::warn("processes", message, format!("`ulimit -u {PROCESSES_COUNT_MIN}` or more"))
    } else {
        Check::ok("processes", message)
    }
}

fn check_shared_memory() -> Check {
    if let Err(error) = memfd_create(c"devhost-doctor", MFdFlags::MFD_CLOEXEC) {
        return Check::fail(
            "shared-memory",
            format!("memfd_create is refused: {error}"),
            "plugin apps need it; a container's seccomp profile may forbid it",
        );
    }
    match statvfs("/dev/shm") {
        Ok(stat) => {
            let len = stat.fragment_size().saturating_mul(stat.blocks_available());
            let message = format!("shared memory works; /dev/shm has {} MiB left", len / 1024 / 1024);
            // Only databases and the like use it: devhost's own memory has no files.
            if len < SHARED_MEMORY_LEN_MIN {
                Check::warn("shared-memory", message, "a container gets more with `--shm-size=256m`")
            } else {
                Check::ok("shared-memory", message)
            }
        }
        Err(_) => Check::ok(
            "shared-memory",
            "shared memory works; there is no /dev/shm, which devhost does not need",
        ),
    }
}

fn read_number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Counts the directories to watch.
fn directories<'r>(roots: impl Iterator<Item = &'r Path>) -> u64 {
    let mut count = 0;
    for root in roots {
        let walk = ignore::WalkBuilder::new(root).filter_entry(|entry| entry.file_name() != "target").build();
        count += walk
            .flatten()
            .filter(|entry| entry.file_type().is_some_and(|kind| kind.is_dir()))
            .take(DIRECTORIES_COUNT_MAX)
            .count() as u64;
    }
    count
}

struct Used {
    instances: u64,
    watches: u64,
}

/// Estimates the inotify instances and watches of this user's processes, which come and go.
fn used() -> Used {
    let mut used = Used { instances: 0, watches: 0 };
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        for file in files.flatten() {
            if !fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == "anon_inode:inotify") {
                continue;
            }
            used.instances += 1;
            let info = process.path().join("fdinfo").join(file.file_name());
            let text = fs::read_to_string(info).unwrap_or_default();
            used.watches += text.lines().filter(|line| line.starts_with("inotify ")).count() as u64;
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::super::check::Mark;
    use super::*;

    #[test]
    fn limits_that_are_too_low_say_what_to_do() {
        let watches = check_watches(100, Some(8192), 8_100);
        assert_eq!(watches.mark, Mark::Fail);
        assert!(watches.advice.contains("max_user_watches=16400"), "{}", watches.advice);
        assert_eq!(check_watches(10, Some(8192), 10).mark, Mark::Ok);
        assert_eq!(check_watches(10, None, 0).mark, Mark::Warn);
        assert_eq!(check_instances(Some(128), 128).mark, Mark::Fail);
        assert_eq!(check_instances(Some(128), 3).mark, Mark::Ok);
        assert_eq!(check_descriptors(256).mark, Mark::Warn);
        assert_eq!(check_descriptors(1024).mark, Mark::Ok);
        assert_eq!(check_processes(64).mark, Mark::Warn);
        assert_eq!(check_processes(u64::MAX).mark, Mark::Ok);
    }

    #[test]
    fn directories_are_counted_without_what_is_built() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["src/a", "target/debug/deps"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        assert_eq!(directories([dir.path()].into_iter()), 3);
    }
}
