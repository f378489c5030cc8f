//! Child processes of the bench. Each has a process group of its own, which is killed when its owner is
//! dropped, and gets a signal from the kernel when the bench is gone. Every wait has a limit and ends early
//! if the user cancels.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::cancel::Cancel;
use super::gauge;
use devhost_sys::parent::end_with_parent;

/// Limit on a build from scratch.
pub(super) const COLD_BUILD_TIME_MAX: Duration = Duration::from_secs(3_600);

/// Limit on anything after an edit.
pub(super) const EDIT_TIME_MAX: Duration = Duration::from_secs(300);

/// How long a server may take to end when asked.
const END_TIME_MAX: Duration = Duration::from_secs(10);

/// How often to check whether a process has ended.
const END_POLL_TIME: Duration = Duration::from_millis(1);

/// How much of a log is shown on failure.
const LOG_SHOWN_BYTES_MAX: u64 = 2_000;

/// A command with the environment of a user's shell: without the variables of devhost, and of cargo if it
/// started this devhost.
pub(super) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    const OF_CARGO: [&str; 9] = [
        "CARGO",
        "CARGO_BIN_NAME",
        "CARGO_CRATE_NAME",
        "CARGO_MAKEFLAGS",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_TARGET_DIR",
        "CARGO_TARGET_TMPDIR",
        "MAKEFLAGS",
        "OUT_DIR",
    ];
    let by_cargo = std::env::var_os("CARGO_MANIFEST_DIR").is_some();
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let of_cargo = OF_CARGO.contains(&&*text)
            || ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_EXE_"]
                .iter()
                .any(|start| text.starts_with(start));
        let of_devhost = text.starts_with("DEVHOST_") && text != "DEVHOST_TEST_MARK";
        if of_cargo || of_devhost || (by_cargo && text == "LD_LIBRARY_PATH") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command, which must succeed. Returns when it ended.
pub(super) fn run(command: Command, log: &Path, limit: Duration, cancel: &Cancel) -> Result<Instant> {
    let name = name_of(&command);
    let mut running = Running::start(command, log, Signal::SIGKILL)?;
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = running.child.try_wait()? {
            let end = Instant::now();
            ensure!(status.success(), "{name} failed ({status}):\n{}", tail(log));
            return Ok(end);
        }
        cancel.check()?;
        ensure!(Instant::now() < deadline, "{name} takes longer than {limit:?}:\n{}", tail(log));
        std::thread::sleep(END_POLL_TIME);
    }
}

/// A process that is killed on drop.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a command with its output in a file. It gets `at_end` when the bench is gone.
    pub(crate) fn start(mut command: Command, log: &Path, at_end: Signal) -> Result<Self> {
        let name = name_of(&command);
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        end_with_parent(&mut command, at_end);
        let child = command.spawn().with_context(|| format!("cannot run {name}"))?;
        Ok(Self { child, log: log.to_owned() })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub(crate) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("it has ended ({status}):\n{}", tail(&self.log));
        }
        Ok(())
    }

    pub(crate) fn printed(&self) -> String {
        tail(&self.log)
    }

    /// Kills its group, and reaps it.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Ends it as Ctrl-C does, or kills it after a while, along with what it leaves behind.
    pub(crate) fn end(mut self) {
        let begun_by_it = gauge::offspring(self.pid());
        let _ = kill(group_of(&self.child), Signal::SIGINT);
        let deadline = Instant::now() + END_TIME_MAX;
        while Instant::now() < deadline && self.child.try_wait().is_ok_and(|status| status.is_none()) {
            std::thread::sleep(END_POLL_TIME);
        }
        // A tool may exit and leave behind what it started.
        for process in begun_by_it {
            process.kill();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Until it is reaped, its id, and so the group's, cannot be reused.
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let offspring = gauge::offspring(self.pid());
            let _ = killpg(group_of(&self.child), Signal::SIGKILL);
            let _ = self.child.wait();
            // Some are in groups of their own.
            for process in offspring {
                process.kill();
            }
        }
    }
}

fn name_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args().take(1));
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    format!("`{}`", words.join(" "))
}

fn group_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

pub(super) fn tail(log: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(LOG_SHOWN_BYTES_MAX)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    read().unwrap_or_default()
}
