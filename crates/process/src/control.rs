//! The control protocol: what the front and a launcher, and the front and a worker, say to each other. JSON, one message per
//! packet.
//!
//! A launcher answers each [`Command::Preload`] and [`Command::Fork`], and reports each end. Who waits for a message, and for
//! how long, is the receiver's business: receiving here blocks as the socket does.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use devhost_sys::parent::Ask;
use devhost_sys::seqpacket;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// From the front to a launcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command {
    /// Load these libraries, in this order, for all later forks. Sent once, first. A keeper has no use for any, and says
    /// by its answer that it is ready.
    Preload {
        /// Absolute paths.
        libraries: Vec<PathBuf>,
    },
    /// Launch a worker. Comes with the descriptors that [`handover`](crate::handover) lists.
    Fork(WorkerSpec),
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

/// The worker that a launcher is to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WorkerSpec {
    /// Its generation.
    pub(crate) generation: u64,
    /// The cdylib to load, or the program to run.
    pub(crate) artifact: PathBuf,
    /// What the worker loads before it, because the zygote has not: in this order.
    pub(crate) libraries: Vec<PathBuf>,
    /// What to do with it.
    pub(crate) entry: EntryPoint,
    /// Environment variables that the worker gets, unless its launcher has them.
    pub(crate) variables: Vec<(String, String)>,
    /// The last descriptor is its standard input; otherwise that is /dev/null.
    pub(crate) has_stdin: bool,
    /// The files of the Unix sockets that earlier generations have made, separated by commas; `None` if there was no
    /// earlier generation.
    pub(crate) earlier: Option<String>,
}

/// Where a worker enters its app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EntryPoint {
    /// The plugin's descriptor.
    Plugin,
    /// The app's `main`.
    Plain {
        /// The port that the app's own listener asks for, if known; 0 if its first listener is the one.
        wanted_port: u16,
    },
}

/// Where a plain app listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// The address that it asked for: `0.0.0.0:3000`, `[::]:3000` or a Unix socket's path.
    pub asked: String,
    /// The port that it asked for; 0 if it left that to the kernel, and for a Unix socket.
    pub port: u16,
    /// Where it really listens.
    pub private: SocketAddr,
}

impl Listening {
    /// Returns true if devhost could not move the listener: it is where the app asked for.
    pub fn keeps_its_port(&self) -> bool {
        // A private listener has a port and, within 127.0.0.0/8, an address of its own.
        let is_asked = |asked: SocketAddr| asked.ip().is_unspecified() || asked.ip() == self.private.ip();
        self.port != 0
            && self.private.port() == self.port
            && self.asked.parse().is_ok_and(is_asked)
            && matches!(self.private.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST) | IpAddr::V6(_))
    }
}

/// From a launcher to the front.
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
        /// The exit code, if it exited.
        code: Option<i32>,
        /// The signal, if one ended it.
        signal: Option<i32>,
    },
}

/// From a worker to the front.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerReport {
    /// The artifact is loaded.
    Loaded {
        /// The GNU build id of what is in memory, in hex; empty if it has none.
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
        /// What to do about it; empty if unknown.
        hint: String,
    },
    /// The app has started.
    Ready {
        /// How long its start took, in microseconds.
        micros: u64,
        /// Where it listens; plain apps only.
        listening: Option<Listening>,
    },
    /// A plain app asks for its port at another address, too.
    Also {
        /// The address.
        asked: String,
    },
    /// A plain app has made the file of a Unix socket.
    Socket {
        /// What identifies it.
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
    /// Stop the app and exit. For plugin apps only; a plain one gets a signal.
    Stop,
}

/// Sends a message.
pub(crate) fn send<M: Serialize>(socket: BorrowedFd<'_>, message: &M, fds: &[RawFd]) -> io::Result<()> {
    seqpacket::send(socket, &serde_json::to_vec(message)?, fds)
}

/// Sends a report, unless the front is gone: the caller sees the hang-up next.
pub(crate) fn report(socket: BorrowedFd<'_>, report: &Report) -> io::Result<()> {
    match send(socket, report, &[]) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Receives a message, or `None` if the peer is gone.
pub(crate) fn receive<M: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
    seqpacket::receive(socket)?.map(|(bytes, fds)| Ok((serde_json::from_slice(&bytes)?, fds))).transpose()
}
