//! The shared-memory link between the front and one worker: many streams at once, each a request with its
//! response, bodies streamed both ways with back-pressure.
//!
//! It knows bytes and streams, and no HTTP library. Two memfds (`down`, written by the front; `up`, written by the
//! worker) hold a ring each; frames go through the rings; an eventfd for each direction wakes the end that sleeps.
//! Neither end trusts the other: what a peer wrote is loaded once, validated, and copied out before it is used, and
//! a peer that breaks the protocol costs the link ([`PeerFault`]) and nothing else.
//!
//! The layers, from the bottom: `copy` (the only one that touches shared memory) and `region`, `layout`; `ring` and
//! `wake`; `frame`; `stream` (state machines without I/O); `link` (one end, without waiting); and on top the front's
//! asynchronous side ([`Client`]) and the worker's ([`WorkerLink`]), which has neither runtime nor thread.
#![cfg(target_os = "linux")]

mod client;
mod copy;
mod fault;
mod frame;
mod layout;
mod link;
mod region;
mod ring;
mod spin;
mod stream;
mod sync;
mod wake;
pub mod wire;
mod worker;

#[cfg(any(fuzzing, all(test, not(devhost_loom))))]
pub mod hostile;
#[cfg(all(test, devhost_loom))]
mod loom;
#[cfg(all(test, not(devhost_loom)))]
mod tests;

use std::os::fd::OwnedFd;

use nix::sys::eventfd::{EfdFlags, EventFd};

pub use client::{Client, RecvHalf, SendHalf, StreamError};
pub use fault::{PeerFault, RegionError};
pub use frame::{CREDIT_MAX_BYTES, DATA_LENGTH_MAX_BYTES, HEAD_LENGTH_MAX_BYTES, Kind};
pub use stream::STREAMS_COUNT_MAX;
pub use worker::{SendError, WorkerEvent, WorkerLink};

/// The four descriptors of a link, in the order in which they are passed to a worker. All are close-on-exec.
#[derive(Debug)]
pub struct LinkFds {
    /// The region that the front writes.
    pub down: OwnedFd,
    /// The region that the worker writes.
    pub up: OwnedFd,
    /// Wakes the front.
    pub front_event: OwnedFd,
    /// Wakes the worker.
    pub worker_event: OwnedFd,
}

impl LinkFds {
    /// Creates the regions, with all of their memory, and the eventfds of one link.
    ///
    /// The front attaches ([`Client::attach`]) before the descriptors are passed to the worker: that puts the last
    /// seals on `down`, without which the worker refuses it.
    ///
    /// # Errors
    ///
    /// Where the system refuses memory or descriptors; [`RegionError::hint`] says what to do about it.
    pub fn create(generation: u64) -> Result<Self, RegionError> {
        Self::create_with(generation, layout::RING_LENGTH_BYTES)
    }

    fn create_with(generation: u64, ring_length: usize) -> Result<Self, RegionError> {
        Ok(Self {
            down: region::create_region(region::Direction::Down, generation, ring_length)?,
            up: region::create_region(region::Direction::Up, generation, ring_length)?,
            front_event: create_event()?,
            worker_event: create_event()?,
        })
    }
}

fn create_event() -> Result<OwnedFd, RegionError> {
    EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
        .map(OwnedFd::from)
        .map_err(|errno| RegionError::Refused { action: "create an eventfd", errno })
}
