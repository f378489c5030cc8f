//! Child processes of the measurement, and the requests that are made of them. Every child has a process group of its
//! own, which is killed when its owner is dropped; every wait has a limit and ends early when the user interrupts.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// How long a build from nothing may take.
pub(crate) const COLD_BUILD_TIME_MAX: Duration = Duration::from_secs(3_600);

/// How long anything may take that follows an edit.
pub(crate) const EDIT_TIME_MAX: Duration = Duration::from_secs(300);

/// How long a server may take to end by itself once it is asked to.
const END_TIME_MAX: Duration = Duration::from_secs(20);

/// How often a wait looks whether the user interrupts.
const INTERRUPT_CHECK_TIME: Duration = Duration::from_millis(50);

/// How long it is until a server that has not answered as wanted is asked again.
const POLL_TIME: Duration = Duration::from_millis(1);

/// How much of a log is shown where something fails.
const LOG_SHOWN_BYTES_MAX: u64 = 4_000;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Notes Ctrl-C and SIGTERM from now on: waits then fail, and what is dropped on the way out cleans up.
///
/// # Errors
/// There is no thread or no signal handler to be had.
pub(crate) fn watch_for_interrupts() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            INTERRUPTED.store(true, Ordering::Relaxed);
        });
    })?;
    Ok(())
}

/// Whether the user has interrupted.
pub(crate) fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Fails once the user has interrupted.
pub(crate) fn check_interrupt() -> Result<()> {
    ensure!(!is_interrupted(), "interrupted");
    Ok(())
}

/// Lets time pass.
pub(crate) fn pause(time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        check_interrupt()?;
        std::thread::sleep(left.min(INTERRUPT_CHECK_TIME));
    }
    check_interrupt()
}

/// A command in the environment that a user's shell would give it: without what cargo has set for this program.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let of_cargo = text.starts_with("CARGO") && text != "CARGO_HOME" && !text.starts_with("CARGO_NET");
        if of_cargo
            || text.starts_with("DEVHOST_")
            || ["LD_LIBRARY_PATH", "MAKEFLAGS", "PORT"].contains(&&*text)
        {
            command.env_remove(name);
        }
    }
    command
}

/// A port on loopback that is free now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Runs a command to its end, which must be a good one, and says when that was.
pub(crate) fn run(mut command: Command, log: &Path, limit: Duration) -> Result<Instant> {
    let program = command.get_program().to_string_lossy().into_owned();
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
    let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
    let group = group_of(&child);
    let (sender, receiver) = mpsc::channel();
    let waiter = std::thread::spawn(move || {
        let status = child.wait();
        // Nobody listens any more where the wait was given up.
        let _ = sender.send((Instant::now(), status));
    });
    let deadline = Instant::now() + limit;
    let given_up = loop {
        match receiver.recv_timeout(INTERRUPT_CHECK_TIME) {
            Ok((end, status)) => {
                ensure!(status?.success(), "{program} failed:\n{}", tail(log));
                return Ok(end);
            }
            Err(RecvTimeoutError::Disconnected) => bail!("nobody waits for {program}"),
            Err(RecvTimeoutError::Timeout) if is_interrupted() => break "interrupted".to_owned(),
            Err(RecvTimeoutError::Timeout) if Instant::now() > deadline => {
                break format!("{program} takes longer than {limit:?}:\n{}", tail(log));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    };
    let _ = killpg(group, Signal::SIGKILL);
    let _ = waiter.join();
    bail!(given_up)
}

/// A server that runs until it is ended or dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a command; what it prints goes to a file.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot run {program}"))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Fails if it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the server has ended ({status}):\n{}", tail(&self.log));
        }
        Ok(())
    }

    /// What it has printed last.
    pub(crate) fn printed(&self) -> String {
        tail(&self.log)
    }

    /// Ends it at once.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Ends it as Ctrl-C does.
    pub(crate) fn end(mut self) -> Result<()> {
        let _ = kill(group_of(&self.child), Signal::SIGINT);
        let deadline = Instant::now() + END_TIME_MAX;
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "the server does not end:\n{}", tail(&self.log));
            std::thread::sleep(INTERRUPT_CHECK_TIME);
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Until it is reaped its id, and so the group's, cannot be another's.
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = killpg(group_of(&self.child), Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

fn group_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

fn tail(log: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(LOG_SHOWN_BYTES_MAX)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// When the head had arrived.
    pub first_byte: Instant,
    /// The status code.
    pub status: u16,
    /// Which generation devhost says has answered.
    pub generation: Option<u64>,
    /// The body.
    pub body: String,
}

/// Makes requests, each on a connection of its own.
#[derive(Debug, Clone)]
pub(crate) struct Client(ureq::Agent);

impl Client {
    /// A client whose requests take no longer than an edit may.
    pub(crate) fn new() -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(EDIT_TIME_MAX))
            .max_idle_connections(0)
            .build();
        Self(config.into())
    }

    /// One request.
    pub(crate) fn get(&self, url: &str) -> Result<Answer> {
        let mut response = self.0.get(url).call()?;
        let first_byte = Instant::now();
        let generation = response.headers().get("x-devhost-generation");
        let generation = generation.and_then(|value| value.to_str().ok()?.parse().ok());
        let status = response.status().as_u16();
        Ok(Answer { first_byte, status, generation, body: response.body_mut().read_to_string()? })
    }

    /// Asks until the answer is as wanted.
    pub(crate) fn poll(
        &self,
        url: &str,
        server: &mut Running,
        limit: Duration,
        mut wanted: impl FnMut(&Answer) -> Result<bool>,
    ) -> Result<Answer> {
        let deadline = Instant::now() + limit;
        loop {
            check_interrupt()?;
            if let Ok(answer) = self.get(url)
                && wanted(&answer)?
            {
                return Ok(answer);
            }
            server.check()?;
            ensure!(
                Instant::now() < deadline,
                "{url} does not answer as wanted within {limit:?}:\n{}",
                server.printed()
            );
            std::thread::sleep(POLL_TIME);
        }
    }
}
