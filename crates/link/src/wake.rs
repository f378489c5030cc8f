//! Sleeping and waking: a word in shared memory that asks for a wake, and an eventfd that delivers it.
//!
//! Before an end sleeps, it announces a [`Want`] and checks once more for what it waits for. The other end
//! changes that, checks the word with a [`Notice`], and rings if it was announced. Each end has a
//! sequentially consistent fence between its store and its load, so at least one sees the other's store, and
//! no wake is lost (`Want::announce` and `Notice::take` are the two ends of the sync point *parked*). Futexes
//! and parkers rest on the same store-buffer pattern; the models in `loom.rs` try its orders.
//!
//! Release and acquire are not enough: on any machine, even x86-64, a store may still be in the store buffer
//! when a later load is done. The fences are `mfence` or a locked instruction on x86-64, and `dmb ish` on
//! arm64, a barrier for all processes that share the memory. The eventfd's system call is no substitute: an
//! end that decides not to ring makes none.
//!
//! A want carries a growing number, so that each announcement is answered by one ring, however many frames
//! follow.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use crate::copy::Words;
use crate::sync::{Ordering, fence};

/// The wanting side of a wake.
#[derive(Debug)]
pub(crate) struct Want {
    offset: usize,
    number: u64,
    announced: bool,
}

impl Want {
    /// Creates a want that is not announced. `offset` is that of its word in this end's region.
    pub(crate) fn new(offset: usize) -> Self {
        Self { offset, number: 0, announced: false }
    }

    pub(crate) fn is_announced(&self) -> bool {
        self.announced
    }

    /// Asks to be woken. The caller must check once more for what it waits for before it sleeps.
    pub(crate) fn announce(&mut self, own: &impl Words) {
        self.number += 1;
        self.announced = true;
        own.store(self.offset, self.number, Ordering::Relaxed);
        // SYNC POINT `parked`: this store before the caller's look at the peer's position, for everybody.
        fence(Ordering::SeqCst);
    }

    pub(crate) fn withdraw(&mut self, own: &impl Words) {
        if self.announced {
            self.announced = false;
            own.store(self.offset, 0, Ordering::Relaxed);
        }
    }
}

/// The answering side of a wake.
#[derive(Debug)]
pub(crate) struct Notice {
    offset: usize,
    answered: u64,
}

impl Notice {
    /// Creates a notice. `offset` is that of the want's word in the peer's region.
    pub(crate) fn new(offset: usize) -> Self {
        Self { offset, answered: 0 }
    }

    /// Returns whether the peer waits for what this end has just published and must be woken.
    ///
    /// A peer that writes nonsense only gets more or fewer wakes.
    pub(crate) fn take(&mut self, peer: &impl Words) -> bool {
        // SYNC POINT `parked`: the caller's store of its position before this look at the peer's word, for everybody.
        fence(Ordering::SeqCst);
        let number = peer.load(self.offset, Ordering::Relaxed);
        let is_new = number != 0 && number != self.answered;
        if is_new {
            self.answered = number;
        }
        is_new
    }
}

/// An eventfd on which one end sleeps and which the other one rings.
#[derive(Debug)]
pub(crate) struct Event(OwnedFd);

impl Event {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    pub(crate) fn ring(&self) {
        // Fails only if the counter is full, and then it is readable already.
        while nix::unistd::write(&self.0, &1_u64.to_ne_bytes()) == Err(Errno::EINTR) {}
    }

    /// Resets the counter, so that only the next ring makes it readable.
    pub(crate) fn clear(&self) {
        // EAGAIN if the counter is zero, as the descriptor does not block.
        while nix::unistd::read(&self.0, &mut [0; 8]) == Err(Errno::EINTR) {}
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
