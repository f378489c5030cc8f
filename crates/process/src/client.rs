//! The front's side of a launcher: starts a zygote or a keeper, sends it commands and returns its reports. The two differ in
//! how they are started ([`Role`]) and in nothing else.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::time::Duration;

use clap::ValueEnum;
use devhost_link::LinkFds;
use devhost_model::Error;
use devhost_sys::output::Output;
use devhost_sys::parent::{self, Ask};
use devhost_sys::{limits, seqpacket};

use crate::channel::Channel;
use crate::control::{Command, EntryPoint, Report, WorkerSpec};
use crate::handover::list_fds;
use crate::role::{
    self, APART, AT_TERMINAL, KEEPER_NAME, ROLE_FORKS, ROLE_FORKS_AT_TERMINAL, ROLE_ONE_PROCESS,
    TUNABLES_VARIABLE, USER_TUNABLES_VARIABLE, ZYGOTE_VARIABLE,
};

/// How the app's process looks from inside.
#[derive(Debug, Clone)]
pub struct Argv {
    /// The app's name, as `argv[0]`.
    pub name: String,
    /// The arguments after `--`.
    pub args: Vec<OsString>,
    /// Environment variables that it gets in addition to devhost's own.
    pub variables: Vec<(String, String)>,
    /// It has devhost's terminal, in whose session it stays.
    pub at_terminal: bool,
    /// devhost's standard output is not the app's to write to: what it prints goes to standard error.
    pub stdout_is_taken: bool,
}

/// How a generation comes to its code. All but the first are for `devhost bench`, which shows what the first is worth.
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
    /// A zygote.
    Zygote {
        /// The libraries that it loads, in order.
        preload: &'r [PathBuf],
        /// How its workers come to their code.
        loading: Loading,
    },
    /// A keeper.
    Keeper,
}

/// How a worker starts its app, and what it needs for that.
#[derive(Debug, Clone, Copy)]
pub enum AppStart<'l> {
    /// Through the plugin's descriptor, over a link.
    Plugin(&'l LinkFds),
    /// By calling its `main`, or by running it.
    Plain {
        /// The port that the app's own listener asks for, if known; 0 if its first listener is the one.
        wanted_port: u16,
    },
}

/// What a worker is made of.
#[derive(Debug)]
pub struct ForkOrder<'l> {
    /// Its generation.
    pub generation: u64,
    /// What it loads, or the program that it is.
    pub artifact: &'l Path,
    /// What it loads before that, because its zygote has not.
    pub libraries: Vec<PathBuf>,
    /// How its app is started.
    pub start: AppStart<'l>,
    /// Environment variables that it gets, unless they are set already.
    pub variables: Vec<(String, String)>,
    /// The worker's end of its control socket.
    pub worker: &'l OwnedFd,
    /// Where the last of its output is kept.
    pub output: &'l Output,
    /// Its standard input, if it is to have another than /dev/null.
    pub stdin: Option<BorrowedFd<'l>>,
    /// The files of the Unix sockets that earlier generations have made, separated by commas; `None` if there was no
    /// earlier generation.
    pub earlier: Option<String>,
}

/// A launcher that runs. When it is dropped, the launcher ends, and its workers with it.
#[derive(Debug)]
pub struct LauncherClient {
    process: RefCell<Child>,
    control: Channel,
    name: &'static str,
}

impl LauncherClient {
    /// Starts a launcher and tells it what to preload; [`Report::Preloaded`] is its first report.
    ///
    /// Must be called from the front's main thread: the kernel ends a zygote that is still preloading when the
    /// *thread* that started it ends. A keeper's programs get its environment and working directory, which are this
    /// process's.
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
        if argv.stdout_is_taken {
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
        // Before its first command, so that each worker has it.
        limits::restore_descriptors_of(process.id().cast_signed());
        let client = Self { process: process.into(), control: Channel::new(ours).map_err(failed)?, name };
        client.control.send(&Command::Preload { libraries: preload.to_vec() }, &[]).map_err(failed)?;
        Ok(client)
    }

    /// Says what the launcher is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns its pid.
    pub fn pid(&self) -> i32 {
        self.process.borrow().id().cast_signed()
    }

    /// Launches a worker; [`Report::Forked`] or [`Report::ForkFailed`] follows.
    ///
    /// # Errors
    /// The launcher is gone.
    pub fn fork(&self, order: ForkOrder<'_>) -> io::Result<()> {
        let ForkOrder { generation, artifact, libraries, start, variables, worker, output, stdin, earlier } =
            order;
        let (entry, link) = match start {
            AppStart::Plugin(link) => (EntryPoint::Plugin, Some(link)),
            AppStart::Plain { wanted_port } => (EntryPoint::Plain { wanted_port }, None),
        };
        let fds = list_fds(link, worker.as_fd(), output.as_fd(), stdin);
        let artifact = artifact.to_owned();
        let has_stdin = stdin.is_some();
        let spec = WorkerSpec { generation, artifact, libraries, entry, variables, has_stdin, earlier };
        self.control.send(&Command::Fork(spec), &fds)
    }

    /// Asks a worker to end; [`Report::Exited`] follows if it does.
    ///
    /// # Errors
    /// The launcher is gone.
    pub fn ask(&self, pid: i32, how: Ask) -> io::Result<()> {
        self.control.send(&Command::Signal { pid, how }, &[])
    }

    /// Kills a worker and what it started; [`Report::Exited`] follows if it was alive.
    ///
    /// # Errors
    /// The launcher is gone.
    pub fn kill(&self, pid: i32) -> io::Result<()> {
        self.control.send(&Command::Kill { pid }, &[])
    }

    /// Returns the next report, or `None` once the launcher is gone. Cancel-safe.
    pub async fn report(&self) -> Option<Report> {
        self.control.receive().await
    }

    /// Hangs up, upon which the launcher ends its workers and itself, and reaps it; after the limit it is killed. Returns
    /// how it ended, if it did so by itself.
    pub async fn end(&self, limit: Duration) -> Option<ExitStatus> {
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
