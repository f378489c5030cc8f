//! Compiles the plugins: each with its trait and without, in two versions, as libraries and, if wanted, as
//! programs. Uses only rustc: no cargo, no crates, no network.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::child::{self, End, Stream};
use super::kinds::{ArtifactKind, PLUGIN_SOURCE, SHARED_SOURCE};

/// How long one call of rustc may take.
const RUSTC_TIME_MAX: Duration = Duration::from_secs(120);

/// How often cancellation is checked.
const CANCEL_LOOK_INTERVAL: Duration = Duration::from_millis(50);

const RUSTC: &str = "rustc";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Plugin,
    /// A program, statically linked with its dependency.
    Program,
}

#[derive(Debug)]
pub(super) struct Compiled {
    work: PathBuf,
    pub std_dir: PathBuf,
}

impl Compiled {
    /// The library that stands for the dependencies.
    pub(super) fn shared(&self) -> PathBuf {
        self.work.join("libartifact_shared.so")
    }

    pub(super) fn shared_dir(&self) -> &Path {
        &self.work
    }

    pub(super) fn unit(&self, unit: Unit) -> PathBuf {
        unit.path(&self.work)
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Unit {
    pub kind: &'static ArtifactKind,
    /// With the trait under test.
    pub has_trait: bool,
    /// 1, or 2 for the edited one.
    pub version: u32,
    pub form: Form,
}

impl Unit {
    fn path(self, work: &Path) -> PathBuf {
        let traits = if self.has_trait { "with" } else { "without" };
        let name = match self.form {
            Form::Plugin => format!("plugin-{}.so", self.version),
            Form::Program => format!("program-{}", self.version),
        };
        work.join(self.kind.name).join(traits).join(name)
    }
}

/// Compiles all plugins in parallel. Returns `None` if cancelled.
///
/// # Errors
/// rustc is missing or refuses a plugin; a file cannot be written.
pub(super) fn compile(
    work: &Path,
    kinds: &'static [ArtifactKind],
    wants_programs: bool,
    progress: &mut dyn FnMut(&str),
    is_cancelled: &dyn Fn() -> bool,
) -> anyhow::Result<Option<Compiled>> {
    let Some(std_dir) = std_dir(is_cancelled)? else { return Ok(None) };
    let compiled = Compiled { work: work.to_owned(), std_dir };
    write_sources(work, kinds).context("failed to write the plugins' sources")?;
    progress("compiling the plugins' dependency");
    if !compile_shared(work, is_cancelled)? {
        return Ok(None);
    }
    let mut units = Vec::new();
    for kind in kinds {
        for has_trait in [true, false] {
            for version in [1, 2] {
                units.push(Unit { kind, has_trait, version, form: Form::Plugin });
                if wants_programs {
                    units.push(Unit { kind, has_trait, version, form: Form::Program });
                }
            }
        }
    }
    Ok(compile_units(work, units, progress, is_cancelled)?.then_some(compiled))
}

fn rustc() -> Command {
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| RUSTC.into()));
    // Warnings of other compiler versions do not matter.
    command.args(["--edition", "2024", "--cap-lints", "allow", "-C", "opt-level=0", "-C", "debuginfo=0"]);
    command
}

fn std_dir(is_cancelled: &dyn Fn() -> bool) -> anyhow::Result<Option<PathBuf>> {
    let mut command = rustc();
    command.args(["--print", "target-libdir"]);
    let (end, output) =
        child::run(command, Stream::Output, RUSTC_TIME_MAX, is_cancelled).context("failed to run rustc")?;
    match end {
        End::Exited(0) => Ok(Some(PathBuf::from(String::from_utf8_lossy(&output).trim()))),
        End::Cancelled => Ok(None),
        _ => bail!("rustc does not tell where its libraries are (`rustc --print target-libdir`)"),
    }
}

fn write_sources(work: &Path, kinds: &[ArtifactKind]) -> io::Result<()> {
    std::fs::create_dir_all(work)?;
    std::fs::write(work.join("shared.rs"), SHARED_SOURCE)?;
    for kind in kinds {
        let dir = work.join(kind.name);
        for traits in ["with", "without"] {
            std::fs::create_dir_all(dir.join(traits))?;
        }
        std::fs::write(dir.join("plugin.rs"), PLUGIN_SOURCE)?;
        std::fs::write(dir.join("kind.rs"), kind.source)?;
    }
    Ok(())
}

fn compile_shared(work: &Path, is_cancelled: &dyn Fn() -> bool) -> anyhow::Result<bool> {
    let mut command = rustc();
    command.args(["--crate-name", "artifact_shared", "--crate-type", "dylib,rlib", "-C", "prefer-dynamic"]);
    command.arg("--out-dir").arg(work).arg(work.join("shared.rs"));
    run(command, "the plugins' dependency", is_cancelled)
}

fn compile_unit(work: &Path, unit: Unit, is_cancelled: &dyn Fn() -> bool) -> anyhow::Result<bool> {
    let Unit { kind, has_trait, version, form } = unit;
    let mut command = rustc();
    // All have the same name, like an app's versions, and so the same type ids.
    command.args(["--crate-name", "artifact_plugin", "--crate-type"]);
    let dependency = match form {
        Form::Plugin => {
            command.arg("cdylib");
            if !kind.has_own_std {
                command.args(["-C", "prefer-dynamic"]);
            }
            "libartifact_shared.so"
        }
        Form::Program => {
            command.args(["bin", "--cfg", "program"]);
            "libartifact_shared.rlib"
        }
    };
    if has_trait {
        command.args(["--cfg", "artifact_trait"]);
    }
    if version == 2 {
        command.args(["--cfg", "version_two"]);
    }
    let mut external = std::ffi::OsString::from("artifact_shared=");
    external.push(work.join(dependency));
    command.arg("--extern").arg(external).arg("-o").arg(unit.path(work));
    command.arg(work.join(kind.name).join("plugin.rs"));
    run(command, kind.name, is_cancelled)
}

/// Returns false if cancelled.
fn run(command: Command, what: &str, is_cancelled: &dyn Fn() -> bool) -> anyhow::Result<bool> {
    let (end, errors) = child::run(command, Stream::Error, RUSTC_TIME_MAX, is_cancelled)
        .with_context(|| format!("failed to run rustc for {what}"))?;
    match end {
        End::Exited(0) => Ok(true),
        End::Cancelled => Ok(false),
        End::TimedOut => bail!("rustc took more than {} s for {what}", RUSTC_TIME_MAX.as_secs()),
        End::Exited(_) | End::Signaled(_) => {
            bail!("rustc refused {what}: {}", String::from_utf8_lossy(&errors).trim())
        }
    }
}

/// Returns false if cancelled.
fn compile_units(
    work: &Path,
    units: Vec<Unit>,
    progress: &mut dyn FnMut(&str),
    is_cancelled: &dyn Fn() -> bool,
) -> anyhow::Result<bool> {
    let unit_count = units.len();
    let thread_count = std::thread::available_parallelism().map_or(1, usize::from).min(unit_count);
    let queue = Mutex::new(units.into_iter());
    let is_over = AtomicBool::new(false);
    let (sender, results) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..thread_count {
            let (sender, queue, is_over) = (sender.clone(), &queue, &is_over);
            scope.spawn(move || {
                let is_over = || is_over.load(Ordering::Relaxed);
                while !is_over() {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(unit) = next else { break };
                    if sender.send(compile_unit(work, unit, &is_over)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut done_count = 0;
        while done_count < unit_count {
            match results.recv_timeout(CANCEL_LOOK_INTERVAL) {
                Ok(Ok(true)) => {
                    done_count += 1;
                    progress(&format!("compiling plugins: {done_count} of {unit_count}"));
                }
                Ok(result) => {
                    is_over.store(true, Ordering::Relaxed);
                    return result;
                }
                Err(RecvTimeoutError::Timeout) if is_cancelled() => {
                    is_over.store(true, Ordering::Relaxed);
                    return Ok(false);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("a plugin was not compiled"),
            }
        }
        Ok(true)
    })
}
