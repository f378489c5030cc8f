//! What front and zygote, and front and worker, say to each other: JSON, one message a packet.

use devhost_sys::parent::Ask;
use std::ffi::{OsStr, OsString};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use devhost_sys::seqpacket;

/// The environment variable that makes the devhost executable a zygote. The zygote removes it at once, so that
/// the app's environment is the user's.
pub const ZYGOTE_VARIABLE: &str = "DEVHOST_ZYGOTE";

/// The value of [`ZYGOTE_VARIABLE`] for a process that forks.
pub const ROLE_FORKS: &str = "1";

/// The same, for one whose workers have devhost's terminal.
pub const ROLE_FORKS_AT_TERMINAL: &str = "terminal";

/// The value of [`ZYGOTE_VARIABLE`] for a process that loads each generation into itself.
pub const ROLE_ONE_PROCESS: &str = "one-process";

/// The environment variable in which the C library finds its settings, and only when a process starts.
pub const TUNABLES_VARIABLE: &str = "GLIBC_TUNABLES";

/// The environment variable that holds the user's own value of [`TUNABLES_VARIABLE`], if there is one.
pub const USER_TUNABLES_VARIABLE: &str = "DEVHOST_USER_TUNABLES";

/// Room for thread-local variables of libraries that are loaded later and are compiled to have them at a fixed
/// place, as allocators are (jemalloc's take some 2,600 bytes). The C library's own default is 512.
const STATIC_TLS_BYTES: usize = 65_536;

/// The value of [`TUNABLES_VARIABLE`] for a zygote. The last of several settings of the same name counts.
pub fn tunables(own: Option<&OsStr>) -> OsString {
    let mut value = OsString::new();
    if let Some(own) = own.filter(|own| !own.is_empty()) {
        value.push(own);
        value.push(":");
    }
    value.push(format!("glibc.rtld.optional_static_tls={STATIC_TLS_BYTES}"));
    value
}

/// From the front to the zygote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Load these libraries, in this order, for all later forks. Sent once, first.
    Preload {
        /// Absolute paths.
        libraries: Vec<PathBuf>,
    },
    /// Fork a worker. Comes with the four descriptors of the link (for a plugin app), the worker's control socket, the
    /// memory for the last of its output, and perhaps its standard input.
    Fork {
        /// The generation.
        generation: u64,
        /// The cdylib to load.
        artifact: PathBuf,
        /// What the worker loads before it, because the zygote has not: in this order.
        libraries: Vec<PathBuf>,
        /// What to do with it.
        entry: Entry,
        /// Environment variables that the worker gets besides the zygote's, and that do not replace any of those.
        variables: Vec<(String, String)>,
        /// The last descriptor is its standard input; else that is /dev/null.
        has_stdin: bool,
        /// The files of Unix sockets that earlier generations have made, with commas; nothing if there was none.
        earlier: Option<String>,
    },
    /// Send a worker a signal that asks it to end. A pid that is no living worker is ignored.
    Signal {
        /// The worker.
        pid: i32,
        /// Which signal.
        how: Ask,
    },
    /// Kill a worker and what it started. A pid that is no living worker is ignored.
    Kill {
        /// The worker.
        pid: i32,
    },
}

/// How a worker starts its app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// Through the plugin's descriptor.
    Plugin,
    /// By a call of its `main`.
    Plain {
        /// The port that the app's own listener asks for, where it is known; 0 where the first one is it.
        wanted_port: u16,
    },
}

/// Where a plain app listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// The address that it asked for: `0.0.0.0:3000`, `[::]:3000` or a Unix socket's path.
    pub asked: String,
    /// The port that it asked for; 0 where it left that to the kernel, and for a Unix socket.
    pub port: u16,
    /// Where it really listens.
    pub private: SocketAddr,
}

impl Listening {
    /// Whether devhost could not move the listener: it is where the app asked for.
    pub fn keeps_its_port(&self) -> bool {
        // A private listener has a port and, within 127.0.0.0/8, an address of its own.
        let is_asked = |asked: SocketAddr| asked.ip().is_unspecified() || asked.ip() == self.private.ip();
        self.port != 0
            && self.private.port() == self.port
            && self.asked.parse().is_ok_and(is_asked)
            && matches!(self.private.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST) | IpAddr::V6(_))
    }
}

/// From the zygote to the front.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The libraries are loaded.
    Preloaded {
        /// How long it took, in microseconds.
        micros: u64,
    },
    /// A library could not be loaded, or broke the rule that a zygote has one thread.
    PreloadFailed {
        /// Which.
        library: PathBuf,
        /// What the loader said.
        message: String,
    },
    /// A worker runs.
    Forked {
        /// The generation.
        generation: u64,
        /// Its pid.
        pid: i32,
        /// How long `fork()` took, in microseconds.
        micros: u64,
    },
    /// No worker could be forked.
    ForkFailed {
        /// The generation.
        generation: u64,
        /// Why.
        message: String,
    },
    /// A worker has ended and was reaped.
    Exited {
        /// Its pid.
        pid: i32,
        /// The exit code, where it exited.
        code: Option<i32>,
        /// The signal, where one ended it.
        signal: Option<i32>,
    },
}

/// From a worker to the front.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerReport {
    /// The artifact is loaded.
    Loaded {
        /// The GNU build id of what is in memory, in hex; empty where it has none.
        build_id: String,
        /// The name and version that the plugin gives itself.
        plugin: String,
        /// How long it took, in microseconds.
        micros: u64,
    },
    /// The artifact cannot be used.
    LoadFailed {
        /// Why.
        message: String,
        /// What to do about it, empty where unknown.
        hint: String,
    },
    /// The app has started.
    Ready {
        /// How long its start took, in microseconds.
        micros: u64,
        /// Where it listens: a plain app only.
        listening: Option<Listening>,
    },
    /// A plain app asks for its port at another address, too.
    Also {
        /// The address.
        asked: String,
    },
    /// A plain app has made the file of a Unix socket.
    Socket {
        /// What tells it from others.
        file: String,
    },
    /// A plain app listens on a Unix socket. It is ready, unless it listens on a TCP port as well. Comes with a descriptor of
    /// the socket's file, if there is one.
    Unix {
        /// How long its start took so far, in microseconds.
        micros: u64,
        /// The socket; an abstract one starts with `@`.
        path: PathBuf,
    },
    /// A plain app has made itself a daemon before it listened.
    Detached {
        /// The daemon.
        pid: i32,
    },
    /// A plain app has asked for the terminal, and has none.
    NoTerminal,
    /// A plain app has another listener, which was left as it is. Comes with the listener, if others may have the same
    /// address.
    Further {
        /// Its address.
        address: String,
    },
    /// Something that the user should know.
    Note {
        /// One line.
        message: String,
    },
    /// The app's start failed.
    StartFailed {
        /// What the app said.
        message: String,
    },
}

/// From the front to a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerCommand {
    /// Stop the app and exit. A plugin app only; a plain one gets [`Command::Signal`].
    Stop,
}

/// Sends a message.
pub fn send<M: Serialize>(socket: BorrowedFd<'_>, message: &M, fds: &[RawFd]) -> io::Result<()> {
    seqpacket::send(socket, &serde_json::to_vec(message)?, fds)
}

/// Tells the front, where it is there still; whoever tells sees the hang-up next.
pub fn report(socket: BorrowedFd<'_>, report: &Report) -> io::Result<()> {
    match send(socket, report, &[]) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Receives a message; `None` when the peer is gone.
pub fn receive<M: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
    seqpacket::receive(socket)?.map(|(bytes, fds)| Ok((serde_json::from_slice(&bytes)?, fds))).transpose()
}
