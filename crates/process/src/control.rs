//! The control protocol between the front and a launcher, and between the front and a worker. JSON, one
//! message per packet.
//!
//! A launcher answers each [`Command::Preload`] and [`Command::Fork`], and reports each end. Timeouts are the
//! receiver's business: receiving here blocks if the socket does.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use devhost_sys::keyboard::TerminalChange;
use devhost_sys::parent::Ask;
use devhost_sys::seqpacket;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// From the front to a launcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command {
    /// Load these libraries, in order, for all later forks. Sent once, first. A keeper loads none, and its
    /// answer means that it is ready.
    Preload {
        /// Absolute paths.
        libraries: Vec<PathBuf>,
    },
    /// Launch a worker. Comes with the descriptors listed in [`handover`](crate::handover).
    Fork(WorkerSpec),
    /// Send a worker a signal asking it to end. A no-op if the pid is not a live worker's.
    Signal {
        /// The worker.
        pid: i32,
        /// Which signal.
        how: Ask,
    },
    /// Restore the terminal on standard output if the front ends without having done so. The last such command counts.
    Terminal {
        /// Its settings; `None` to leave it alone.
        changed: Option<TerminalChange>,
    },
    /// Kill a worker and its process group. A no-op if the pid is not a live worker's.
    Kill {
        /// The worker.
        pid: i32,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WorkerSpec {
    pub(crate) generation: u64,
    /// The cdylib to load, or the program to run.
    pub(crate) artifact: PathBuf,
    /// Libraries to load first, in order, because the zygote has not.
    pub(crate) libraries: Vec<PathBuf>,
    /// Where to enter it.
    pub(crate) entry: EntryPoint,
    /// Environment variables to set unless the launcher has them.
    pub(crate) variables: Vec<(String, String)>,
    /// The last descriptor is its standard input; otherwise /dev/null is.
    pub(crate) has_stdin: bool,
    /// The Unix socket files of earlier generations, comma-separated; `None` if this is the first generation.
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
        /// The port of the app's main listener, if known; 0 for its first listener.
        wanted_port: u16,
    },
}

/// Where a plain app listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// The requested address: `0.0.0.0:3000`, `[::]:3000` or a Unix socket's path.
    pub asked: String,
    /// The requested port; 0 if left to the kernel, and for a Unix socket.
    pub port: u16,
    /// Where it actually listens.
    pub private: SocketAddr,
}

impl Listening {
    /// Returns true if devhost could not move the listener.
    pub fn keeps_its_port(&self) -> bool {
        // A private listener has its own port and, within 127.0.0.0/8, its own address.
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
    /// A library failed to load, or started a thread.
    PreloadFailed {
        /// The library.
        library: PathBuf,
        /// Why.
        message: String,
    },
    /// A worker was forked.
    Forked {
        /// The generation.
        generation: u64,
        /// The worker's pid.
        pid: i32,
        /// How long `fork()` took, in microseconds.
        micros: u64,
    },
    /// Forking a worker failed.
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
        /// The GNU build id of the loaded code, in hex; empty if it has none.
        build_id: String,
        /// The plugin's own name and version.
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
    /// A plain app asks for its port at another address as well.
    Also {
        /// The address.
        asked: String,
    },
    /// A plain app has created a Unix socket file.
    Socket {
        /// Identifies the file.
        file: String,
    },
    /// A plain app listens on a Unix socket, and is ready unless it listens on a TCP port as well. Comes with
    /// a descriptor of the socket's file, if it has one.
    Unix {
        /// How long its start took so far, in microseconds.
        micros: u64,
        /// The socket; an abstract one starts with `@`.
        path: PathBuf,
    },
    /// A plain app has daemonized before listening.
    Detached {
        /// The daemon.
        pid: i32,
    },
    /// A plain app has asked for the terminal, but has none.
    NoTerminal,
    /// A plain app has another listener, which was left alone. Comes with the listener if others may
    /// share its address.
    Further {
        /// Its address.
        address: String,
    },
    /// Something the user should know.
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
    /// Stop the app and exit. For plugin apps only; plain ones get a signal.
    Stop,
}

pub(crate) fn send<M: Serialize>(socket: BorrowedFd<'_>, message: &M, fds: &[RawFd]) -> io::Result<()> {
    seqpacket::send(socket, &serde_json::to_vec(message)?, fds)
}

/// Sends a report. Succeeds if the front is gone: the caller sees the hang-up next.
pub(crate) fn report(socket: BorrowedFd<'_>, report: &Report) -> io::Result<()> {
    match send(socket, report, &[]) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Receives a message, or `None` if the peer is gone.
pub(crate) fn receive<M: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
    parse(seqpacket::receive(socket)?)
}

/// Parses what was received, if anything.
pub(crate) fn parse<M: DeserializeOwned>(
    received: Option<(Vec<u8>, Vec<OwnedFd>)>,
) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
    received.map(|(bytes, fds)| Ok((serde_json::from_slice(&bytes)?, fds))).transpose()
}
