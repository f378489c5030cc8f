//! The descriptors that a link is made of.

use std::os::fd::OwnedFd;

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::fault::RegionError;
use crate::layout::RING_LENGTH_BYTES;
use crate::region::{Direction, create_region};

/// The four descriptors of a link, in the order in which a worker gets them. All are close-on-exec.
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
    /// Creates the regions of one link, with all of their memory, and its eventfds.
    ///
    /// The front attaches ([`Client::attach`](crate::Client::attach)) before the descriptors are passed to the worker: that puts the last
    /// seals on `down`, which the worker insists on.
    ///
    /// # Errors
    ///
    /// The system refuses memory or descriptors; [`RegionError::hint`] says what to do about it.
    pub fn create(generation: u64) -> Result<Self, RegionError> {
        Self::create_with(generation, RING_LENGTH_BYTES)
    }

    pub(crate) fn create_with(generation: u64, ring_length: usize) -> Result<Self, RegionError> {
        Ok(Self {
            down: create_region(Direction::Down, generation, ring_length)?,
            up: create_region(Direction::Up, generation, ring_length)?,
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
