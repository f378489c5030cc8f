//! What front and zygote, and front and worker, say to each other: JSON, one message a packet.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::sys::seqpacket;

/// The environment variable that makes the devhost executable a zygote. The zygote removes it at once, so that
/// the app's environment is the user's.
pub const ZYGOTE_VARIABLE: &str = "DEVHOST_ZYGOTE";

/// From the front to the zygote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Load these libraries, in this order, for all later forks. Sent once, first.
    Preload {
        /// Absolute paths.
        libraries: Vec<PathBuf>,
    },
    /// Fork a worker. Comes with five descriptors: the four of the link and the worker's control socket.
    Fork {
        /// The generation.
        generation: u64,
        /// The cdylib to load.
        artifact: PathBuf,
    },
    /// Kill a worker and what it started. A pid that is no living worker is ignored.
    Kill {
        /// The worker.
        pid: i32,
    },
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
        /// How long fork() took, in microseconds.
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
    /// Stop the app and exit.
    Stop,
}

/// Sends a message.
pub fn send<M: Serialize>(socket: BorrowedFd<'_>, message: &M, fds: &[RawFd]) -> io::Result<()> {
    seqpacket::send(socket, &serde_json::to_vec(message)?, fds)
}

/// Receives a message; `None` when the peer is gone.
pub fn receive<M: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
    seqpacket::receive(socket)?.map(|(bytes, fds)| Ok((serde_json::from_slice(&bytes)?, fds))).transpose()
}
