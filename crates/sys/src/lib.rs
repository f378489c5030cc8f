//! Thin, safe wrappers around what other crates lack or leave unsafe: SEQPACKET messages with descriptors,
//! closing all descriptors but a few, process attributes, descriptors on a runtime, unread file events. No policy here.
#![cfg(target_os = "linux")]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub mod content;
pub mod identity;
pub mod inherited;
pub mod inotify;
pub mod limits;
pub mod listen;
pub mod liveness;
pub mod network;
pub mod output;
pub mod parent;
pub mod process;
pub mod seqpacket;
pub mod sight;
pub mod steering;

/// Puts a descriptor on the current tokio runtime. It must be non-blocking.
pub fn register(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open and stays the same until it is dropped, and the AsyncFd owns it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}
