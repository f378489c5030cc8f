//! The front's side of the zygote: starts it, sends commands, hands its reports on.

use devhost_sys::parent::Ask;
use std::cell::RefCell;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::time::Duration;

use clap::ValueEnum;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{Shutdown, shutdown};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::control::{
    self, Command, Entry, ROLE_FORKS, ROLE_FORKS_AT_TERMINAL, ROLE_ONE_PROCESS, Report, TUNABLES_VARIABLE,
    USER_TUNABLES_VARIABLE, ZYGOTE_VARIABLE,
};
use devhost_link::LinkFds;
use devhost_model::Error;
use devhost_sys::output::Output;
use devhost_sys::{limits, parent, runtime, seqpacket};

/// How the app's process looks from inside.
#[derive(Debug, Clone)]
pub struct Argv {
    /// The app's name, as `argv[0]`.
    pub name: String,
    /// The arguments after `--`.
    pub args: Vec<OsString>,
    /// Environment variables that it gets besides devhost's own.
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

/// How a worker starts its app, and what it needs for it.
#[derive(Debug, Clone, Copy)]
pub enum Start<'l> {
    /// Through the plugin's descriptor, over a link.
    Plugin(&'l LinkFds),
    /// By a call of its `main`.
    Plain {
        /// The port that the app's own listener asks for, where it is known; 0 where the first one is it.
        wanted_port: u16,
    },
}

/// What a worker is made of.
#[derive(Debug)]
pub struct ForkOrder<'l> {
    /// Its generation.
    pub generation: u64,
    /// What it loads, or is.
    pub artifact: &'l Path,
    /// What it loads before that, because its zygote has not.
    pub libraries: Vec<PathBuf>,
    /// How.
    pub start: Start<'l>,
    /// Environment variables that are added to those there are and replace none of them.
    pub variables: Vec<(String, String)>,
    /// The worker's end of its control socket.
    pub worker: &'l OwnedFd,
    /// Where the last of its output is kept.
    pub output: &'l Output,
    /// Its standard input, if it is to have another than /dev/null.
    pub stdin: Option<BorrowedFd<'l>>,
    /// The files of Unix sockets that earlier generations have made, with commas; nothing if there was none.
    pub earlier: Option<String>,
}

/// A zygote that runs. Dropped, it ends, and its workers with it.
#[derive(Debug)]
pub struct Zygote {
    process: RefCell<Child>,
    control: Channel,
}

impl Zygote {
    /// Starts a zygote and tells it what to preload; [`Report::Preloaded`] is its first report.
    ///
    /// Must be called from the front's main thread: the kernel ends a zygote that is still preloading when the
    /// *thread* that started it does.
    pub fn start(devhost: &Path, argv: &Argv, preload: &[PathBuf], loading: Loading) -> Result<Self, Error> {
        let failed = |error: io::Error| Error::fault(format!("failed to start the zygote: {error}"));
        let (ours, theirs) = seqpacket::pair().map_err(failed)?;
        let role = match loading {
            Loading::OneProcess => ROLE_ONE_PROCESS,
            _ if argv.at_terminal => ROLE_FORKS_AT_TERMINAL,
            _ => ROLE_FORKS,
        };
        let mut command = Process::new(devhost);
        if argv.stdout_is_taken {
            command.stdout(io::stderr().as_fd().try_clone_to_owned().map_err(failed)?);
        }
        command
            .arg0(&argv.name)
            .args(&argv.args)
            .envs(argv.variables.iter().map(|(name, value)| (name, value)))
            .env(ZYGOTE_VARIABLE, role)
            .stdin(Stdio::from(theirs));
        let own = std::env::var_os(TUNABLES_VARIABLE);
        command.env(TUNABLES_VARIABLE, control::tunables(own.as_deref()));
        match own {
            Some(own) => command.env(USER_TUNABLES_VARIABLE, own),
            None => command.env_remove(USER_TUNABLES_VARIABLE),
        };
        parent::start_by_fork(&mut command);
        let process = command.spawn().map_err(failed)?;
        // Before its first command, so that each worker has it.
        limits::restore_descriptors_of(process.id().cast_signed());
        let zygote = Self { process: process.into(), control: Channel::new(ours).map_err(failed)? };
        zygote.control.send(&Command::Preload { libraries: preload.to_vec() }, &[]).map_err(failed)?;
        Ok(zygote)
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.process.borrow().id().cast_signed()
    }

    /// Forks a worker; [`Report::Forked`] or [`Report::ForkFailed`] follows.
    ///
    /// # Errors
    /// The zygote is gone.
    pub fn fork(&self, order: ForkOrder<'_>) -> io::Result<()> {
        let ForkOrder { generation, artifact, libraries, start, variables, worker, output, stdin, earlier } =
            order;
        let (entry, mut fds) = match start {
            Start::Plugin(link) => {
                let LinkFds { down, up, front_event, worker_event } = link;
                let fds = [down, up, front_event, worker_event].map(|fd| fd.as_fd());
                (Entry::Plugin, fds.to_vec())
            }
            Start::Plain { wanted_port } => (Entry::Plain { wanted_port }, Vec::new()),
        };
        fds.extend([worker.as_fd(), output.as_fd()]);
        fds.extend(stdin);
        let fds: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let artifact = artifact.to_owned();
        let has_stdin = stdin.is_some();
        let command = Command::Fork { generation, artifact, libraries, entry, variables, has_stdin, earlier };
        self.control.send(&command, &fds)
    }

    /// Asks a worker to end; [`Report::Exited`] follows if it does.
    pub fn ask(&self, pid: i32, how: Ask) -> io::Result<()> {
        self.control.send(&Command::Signal { pid, how }, &[])
    }

    /// Kills a worker; [`Report::Exited`] follows if it was alive.
    pub fn kill(&self, pid: i32) -> io::Result<()> {
        self.control.send(&Command::Kill { pid }, &[])
    }

    /// The next report; `None` once the zygote is gone. Cancel-safe.
    pub async fn report(&self) -> Option<Report> {
        self.control.receive().await
    }

    /// Hangs up, upon which the zygote ends its workers and itself, and reaps it; after the limit it is killed. Says how it
    /// ended by itself.
    pub async fn end(&self, limit: Duration) -> Option<ExitStatus> {
        self.control.end_peer(&self.process, limit).await
    }
}

/// How often an ending peer is looked at.
const END_POLL_TIME: Duration = Duration::from_millis(2);

/// One end of a control socket, on the front's runtime.
#[derive(Debug)]
pub struct Channel(AsyncFd<OwnedFd>);

impl Channel {
    /// Takes over a socket and makes it non-blocking.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self(runtime::register(socket, Interest::READABLE)?))
    }

    /// Ends the conversation, whoever else holds the channel.
    pub fn hang_up(&self) {
        // It fails only where the peer has hung up already.
        let _ = shutdown(self.0.get_ref().as_raw_fd(), Shutdown::Both);
    }

    /// Hangs up, and reaps the peer's process once it has ended; after the limit it is killed. Says how it ended
    /// by itself.
    pub async fn end_peer(&self, process: &RefCell<Child>, limit: Duration) -> Option<ExitStatus> {
        self.hang_up();
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let ended = process.borrow_mut().try_wait();
            match ended {
                Ok(None) if tokio::time::Instant::now() < deadline => tokio::time::sleep(END_POLL_TIME).await,
                Ok(Some(status)) => return Some(status),
                Err(_) => return None,
                Ok(None) => {
                    let mut process = process.borrow_mut();
                    let _ = process.kill();
                    let _ = process.wait();
                    return None;
                }
            }
        }
    }

    /// Sends a message. The socket's buffer holds hundreds; a peer that lets it fill up is taken for dead.
    pub fn send<M: serde::Serialize>(&self, message: &M, fds: &[std::os::fd::RawFd]) -> io::Result<()> {
        control::send(self.0.get_ref().as_fd(), message, fds)
    }

    /// The next message; `None` once the peer is gone or talks nonsense. Cancel-safe.
    pub async fn receive<M: serde::de::DeserializeOwned>(&self) -> Option<M> {
        self.receive_with_fds().await.map(|(message, _)| message)
    }

    /// As [`Self::receive`], with the descriptors that came with the message.
    pub async fn receive_with_fds<M: serde::de::DeserializeOwned>(&self) -> Option<(M, Vec<OwnedFd>)> {
        loop {
            let mut ready = self.0.readable().await.ok()?;
            match ready.try_io(|socket| control::receive(socket.get_ref().as_fd())) {
                Ok(Ok(message)) => return message,
                Ok(Err(error)) => {
                    tracing::warn!("a control socket failed: {error}");
                    return None;
                }
                Err(_would_block) => {}
            }
        }
    }
}
