//! The front's side of a launcher: starts a zygote or keeper, sends commands and returns reports. The two
//! differ only in how they are started ([`Role`]).

use std::cell::RefCell;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use devhost_link::LinkFds;
use devhost_model::Error;
use devhost_sys::keyboard::TerminalChange;
use devhost_sys::output::Output;
use devhost_sys::parent::{self, Ask};
use devhost_sys::trail::Trail;
use devhost_sys::{limits, seqpacket};

use crate::channel::Channel;
use crate::control::{Command, EntryPoint, Report, WorkerSpec};
use crate::handover::list_fds;
use crate::role::{
    self, APART, AT_TERMINAL, KEEPER_NAME, ROLE_FORKS, ROLE_FORKS_AT_TERMINAL, ROLE_ONE_PROCESS,
    TUNABLES_VARIABLE, USER_TUNABLES_VARIABLE, ZYGOTE_VARIABLE,
};

/// What the app's process sees of itself.
#[derive(Debug, Clone)]
pub struct Argv {
    /// The app's name, as `argv[0]`.
    pub name: String,
    /// The arguments after `--`.
    pub args: Vec<OsString>,
    /// Environment variables added to devhost's own.
    pub variables: Vec<(String, String)>,
    /// The app has devhost's terminal and stays in its session.
    pub at_terminal: bool,
    /// devhost's standard output is taken: the app prints to standard error instead.
    pub stdout_is_taken: bool,
    /// Where the app prints instead, if devhost reads it.
    pub output: Option<Arc<Streams>>,
}

/// The writing ends of two pipes.
#[derive(Debug)]
pub struct Streams {
    /// For standard output.
    pub stdout: OwnedFd,
    /// For standard error.
    pub stderr: OwnedFd,
}

/// How a generation gets its code. All but the first exist for `devhost bench`, as a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Loading {
    /// A fork of a zygote that has the dependencies loaded
    #[default]
    Preloaded,
    /// A fork of a zygote that has nothing loaded: the worker loads the dependencies, too
    Worker,
    /// A zygote of its own for each generation, started when it is needed, with nothing loaded
    Fresh,
    /// One process that loads the new code beside the old and then unloads that; for plugin apps only
    OneProcess,
}

/// Which launcher to start.
#[derive(Debug, Clone, Copy)]
pub enum Role<'r> {
    /// A zygote, which forks workers.
    Zygote {
        /// The libraries to load, in order.
        preload: &'r [PathBuf],
        /// How its workers get their code.
        loading: Loading,
    },
    /// A keeper, which starts programs.
    Keeper,
}

/// How a worker starts its app, and what that takes.
#[derive(Debug, Clone, Copy)]
pub enum AppStart<'l> {
    /// Through the plugin's descriptor, over a link.
    Plugin(&'l LinkFds),
    /// Call or execute its `main`.
    Plain {
        /// The port of the app's main listener, if known; 0 for its first listener.
        wanted_port: u16,
    },
}

/// What a worker is made from.
#[derive(Debug)]
pub struct ForkOrder<'l> {
    /// Its generation.
    pub generation: u64,
    /// The library to load, or the program to run.
    pub artifact: &'l Path,
    /// Libraries to load first, because the zygote has not.
    pub libraries: Vec<PathBuf>,
    /// How the app is started.
    pub start: AppStart<'l>,
    /// Environment variables to set unless they are set already.
    pub variables: Vec<(String, String)>,
    /// The worker's end of its control socket.
    pub worker: &'l OwnedFd,
    /// Memory for the tail of its output.
    pub output: &'l Output,
    /// Memory for what it does in the file system.
    pub trail: &'l Trail,
    /// Its standard input; `None` for /dev/null.
    pub stdin: Option<BorrowedFd<'l>>,
    /// The Unix socket files of earlier generations, comma-separated; `None` if this is the first generation.
    pub earlier: Option<String>,
}

/// A running launcher. Dropping it ends the launcher and its workers.
#[derive(Debug)]
pub struct LauncherClient {
    process: RefCell<Child>,
    control: Channel,
    name: &'static str,
}

impl LauncherClient {
    /// Starts a launcher and tells it what to preload; its first report is [`Report::Preloaded`].
    ///
    /// Must be called on the front's main thread: the kernel kills a preloading zygote when the *thread* that
    /// started it ends. A keeper's programs inherit this process's environment and working directory.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(devhost: &Path, argv: &Argv, role: Role<'_>) -> Result<Self, Error> {
        let (name, preload) = match role {
            Role::Zygote { preload, .. } => ("zygote", preload),
            Role::Keeper => ("keeper", &[][..]),
        };
        let failed = |error: io::Error| Error::fault(format!("failed to start the {name}: {error}"));
        let (ours, theirs) = seqpacket::pair().map_err(failed)?;
        let mut command = Process::new(devhost);
        if let Some(Streams { stdout, stderr }) = argv.output.as_deref() {
            command.stdout(stdout.try_clone().map_err(failed)?).stderr(stderr.try_clone().map_err(failed)?);
        } else if argv.stdout_is_taken {
            command.stdout(io::stderr().as_fd().try_clone_to_owned().map_err(failed)?);
        }
        command.envs(argv.variables.iter().map(|(name, value)| (name, value))).stdin(Stdio::from(theirs));
        match role {
            Role::Zygote { loading, .. } => make_zygote(&mut command, argv, loading),
            Role::Keeper => make_keeper(&mut command, argv),
        }
        command.args(&argv.args);
        parent::start_by_fork(&mut command);
        let process = command.spawn().map_err(failed)?;
        // Before the first command, so that every worker gets them.
        limits::restore_descriptors_of(process.id().cast_signed());
        let client = Self { process: process.into(), control: Channel::new(ours).map_err(failed)?, name };
        client.control.send(&Command::Preload { libraries: preload.to_vec() }, &[]).map_err(failed)?;
        Ok(client)
    }

    /// Returns the kind of launcher, as a word.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns its pid.
    pub fn pid(&self) -> i32 {
        self.process.borrow().id().cast_signed()
    }

    /// Launches a worker, answered by [`Report::Forked`] or [`Report::ForkFailed`].
    ///
    /// # Errors
    /// The launcher is gone.
    pub fn fork(&self, order: ForkOrder<'_>) -> io::Result<()> {
        let ForkOrder {
            generation,
            artifact,
            libraries,
            start,
            variables,
            worker,
            output,
            trail,
            stdin,
            earlier,
        } = order;
        let (entry, link) = match start {
            AppStart::Plugin(link) => (EntryPoint::Plugin, Some(link)),
            AppStart::Plain { wanted_port } => (EntryPoint::Plain { wanted_port }, None),
        };
        let fds = list_fds(link, worker.as_fd(), output.as_fd(), trail.as_fd(), stdin);
        let artifact = artifact.to_owned();
        let has_stdin = stdin.is_some();
        let spec = WorkerSpec { generation, artifact, libraries, entry, variables, has_stdin, earlier };
        self.control.send(&Command::Fork(spec), &fds)
    }

    /// Asks a worker to end; [`Report::Exited`] follows once it does.
    ///
    /// # Errors
    /// The launcher is gone.
    pub fn ask(&self, pid: i32, how: Ask) -> io::Result<()> {
        self.control.send(&Command::Signal { pid, how }, &[])
    }

    /// Kills a worker and its process group; [`Report::Exited`] follows if it was alive.
    ///
    /// # Errors
    /// The launcher is gone.
    pub fn kill(&self, pid: i32) -> io::Result<()> {
        self.control.send(&Command::Kill { pid }, &[])
    }

    /// Has the terminal on standard output restored if this process dies; `None` to leave it alone.
    ///
    /// # Errors
    /// The launcher is gone.
    pub fn guard_terminal(&self, changed: Option<TerminalChange>) -> io::Result<()> {
        self.control.send(&Command::Terminal { changed }, &[])
    }

    /// Returns the next report, or `None` once the launcher is gone. Cancel-safe.
    pub async fn report(&self) -> Option<Report> {
        self.control.receive().await
    }

    /// Hangs up, so that the launcher ends its workers and exits, and reaps it; kills it after `limit`.
    /// Returns its status if it ended by itself.
    pub async fn end(&self, limit: Duration) -> Option<ExitStatus> {
        // This is not the end of the front, which still has the terminal.
        let _ = self.guard_terminal(None);
        self.control.end_peer(&self.process, limit).await
    }
}

fn make_zygote(command: &mut Process, argv: &Argv, loading: Loading) {
    let role = match loading {
        Loading::OneProcess => ROLE_ONE_PROCESS,
        _ if argv.at_terminal => ROLE_FORKS_AT_TERMINAL,
        _ => ROLE_FORKS,
    };
    let own = std::env::var_os(TUNABLES_VARIABLE);
    command
        .arg0(&argv.name)
        .env(ZYGOTE_VARIABLE, role)
        .env(TUNABLES_VARIABLE, role::tunables(own.as_deref()));
    match own {
        Some(own) => command.env(USER_TUNABLES_VARIABLE, own),
        None => command.env_remove(USER_TUNABLES_VARIABLE),
    };
}

fn make_keeper(command: &mut Process, argv: &Argv) {
    command.arg0(KEEPER_NAME).arg(if argv.at_terminal { AT_TERMINAL } else { APART }).arg(&argv.name);
}
